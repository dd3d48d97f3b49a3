#if PostgreSQL
  internal import Middlewares

  /// The tables, in the schema `sluice`. `Docs/Ledger.md` explains them.
  enum PostgreSQLSchema {
    static let version: Int64 = 1

    private static let usage = """
      requests bigint NOT NULL, connections bigint NOT NULL, refused bigint NOT NULL, failed bigint NOT NULL,
      up bigint NOT NULL, down bigint NOT NULL
      """

    /// What makes the tables of each version into those of the next, beginning with none.
    private static let steps: [[String]] = [
      [
        "CREATE TABLE sluice.version (version bigint NOT NULL)",
        "INSERT INTO sluice.version VALUES (0)",
        """
        CREATE TABLE sluice.accounts (
          id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
          kind smallint NOT NULL, name text COLLATE "C" NOT NULL, \(usage), first_seen bigint, last_seen bigint,
          blocked boolean NOT NULL DEFAULT false, plan text, UNIQUE (kind, name)
        )
        """,
        "CREATE INDEX accounts_with_state ON sluice.accounts (id) WHERE blocked OR plan IS NOT NULL",
        """
        CREATE TABLE sluice.windows (
          account bigint NOT NULL, unit smallint NOT NULL, start bigint NOT NULL, ends bigint NOT NULL, \(usage),
          PRIMARY KEY (account, unit, start)
        )
        """,
        "CREATE INDEX windows_by_end ON sluice.windows (unit, ends)",
        """
        CREATE TABLE sluice.counters (
          account bigint NOT NULL, name text COLLATE "C" NOT NULL, start bigint NOT NULL, ends bigint,
          used bigint NOT NULL, PRIMARY KEY (account, name, start)
        )
        """,
        "CREATE INDEX counters_by_end ON sluice.counters (ends) WHERE ends IS NOT NULL",
        """
        CREATE TABLE sluice.writers (
          high bigint NOT NULL, low bigint NOT NULL, sequence bigint NOT NULL, seen timestamptz NOT NULL,
          PRIMARY KEY (high, low)
        )
        """,
      ]
    ]

    /// Makes the tables where there are none, and brings older ones up to date.
    ///
    /// - Throws: ``LedgerError``.
    static func prepare(_ connection: PostgreSQLConnection, _ name: String) throws {
      if try found(connection, name) == version { return }
      try connection.transaction("BEGIN") {
        // One process at a time: CREATE … IF NOT EXISTS of two at once fails in one of them. "Sluc"
        try connection.run("SELECT pg_advisory_xact_lock(1399616867)")
        let old = try found(connection, name)
        if old == version { return }
        try connection.run("CREATE SCHEMA IF NOT EXISTS sluice")
        for step in steps[Int(old)...] { for statement in step { try connection.run(statement) } }
        try connection.run("UPDATE sluice.version SET version = \(version)")
      }
    }

    /// - Throws: ``LedgerError/rejected(_:)`` where there are no tables, or others than this program knows.
    static func check(_ connection: PostgreSQLConnection, _ name: String) throws {
      guard try found(connection, name) == version else {
        throw LedgerError.rejected("\(name) holds no ledger, or an older one: a server that writes to it makes it")
      }
    }

    private static func found(_ connection: PostgreSQLConnection, _ name: String) throws -> Int64 {
      // Not to_regclass: it may remember from before the lock that there was none.
      let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'sluice' AND tablename = 'version'"
      guard try connection.integer(tables) == 1 else { return 0 }
      let found = try connection.integer("SELECT version FROM sluice.version") ?? 0
      guard (0...version).contains(found) else {
        throw LedgerError.rejected(
          "\(name) has version \(found) of the tables; this program knows versions up to \(version)")
      }
      return found
    }
  }
#endif
