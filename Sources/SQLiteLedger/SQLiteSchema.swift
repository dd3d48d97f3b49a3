internal import Middlewares

/// The tables, and what stands in the file's header about them. `Docs/Ledger.md` explains them.
enum SQLiteSchema {
  /// "Sluc" in the header of the file (`PRAGMA application_id`), so that a file of another program is not written to.
  static let application: Int64 = 0x536C_7563
  /// `PRAGMA user_version`.
  static let version: Int64 = 1

  /// What makes a file of each version into one of the next, beginning with an empty one.
  private static let steps: [[String]] = [
    [
      """
      CREATE TABLE accounts (
        id INTEGER PRIMARY KEY,
        kind INTEGER NOT NULL, name TEXT NOT NULL,
        requests INTEGER NOT NULL, connections INTEGER NOT NULL, refused INTEGER NOT NULL, failed INTEGER NOT NULL,
        up INTEGER NOT NULL, down INTEGER NOT NULL, first_seen INTEGER, last_seen INTEGER,
        blocked INTEGER NOT NULL DEFAULT 0, plan TEXT,
        UNIQUE (kind, name)
      ) STRICT
      """,
      "CREATE INDEX accounts_with_state ON accounts (id) WHERE blocked <> 0 OR plan IS NOT NULL",
      """
      CREATE TABLE windows (
        account INTEGER NOT NULL, unit INTEGER NOT NULL, start INTEGER NOT NULL, ends INTEGER NOT NULL,
        requests INTEGER NOT NULL, connections INTEGER NOT NULL, refused INTEGER NOT NULL, failed INTEGER NOT NULL,
        up INTEGER NOT NULL, down INTEGER NOT NULL,
        PRIMARY KEY (account, unit, start)
      ) STRICT, WITHOUT ROWID
      """,
      "CREATE INDEX windows_by_end ON windows (unit, ends)",
      """
      CREATE TABLE counters (
        account INTEGER NOT NULL, name TEXT NOT NULL, start INTEGER NOT NULL, ends INTEGER, used INTEGER NOT NULL,
        PRIMARY KEY (account, name, start)
      ) STRICT, WITHOUT ROWID
      """,
      "CREATE INDEX counters_by_end ON counters (ends) WHERE ends IS NOT NULL",
      """
      CREATE TABLE writers (
        high INTEGER NOT NULL, low INTEGER NOT NULL, sequence INTEGER NOT NULL, seen INTEGER NOT NULL,
        PRIMARY KEY (high, low)
      ) STRICT, WITHOUT ROWID
      """,
    ]
  ]

  /// Makes the tables where there are none, and brings older ones up to date.
  ///
  /// - Throws: ``LedgerError``.
  static func prepare(_ connection: SQLiteConnection) throws {
    if try check(connection) == version { return }
    try connection.transaction("BEGIN IMMEDIATE") {
      // Another process may have been faster.
      let found = try look(connection)
      for step in steps[Int(found)...] { for statement in step { try connection.run(statement) } }
      try connection.run("PRAGMA application_id = \(application)")
      try connection.run("PRAGMA user_version = \(version)")
    }
  }

  /// The version of the tables in the file; 0: it is empty.
  ///
  /// - Throws: ``LedgerError/rejected(_:)`` where they are not ours, or newer than this program.
  static func check(_ connection: SQLiteConnection) throws -> Int64 {
    // In one transaction: another process may be making the tables between two questions.
    var found: Int64 = 0
    try connection.transaction("BEGIN") { found = try look(connection) }
    return found
  }

  private static func look(_ connection: SQLiteConnection) throws -> Int64 {
    let owner = try connection.integer("PRAGMA application_id") ?? 0
    let found = try connection.integer("PRAGMA user_version") ?? 0
    let tables = try connection.integer("SELECT count(*) FROM sqlite_schema") ?? 0
    if owner != application, tables > 0 || owner != 0 {
      throw LedgerError.rejected("\(connection.path) is a database of another program")
    }
    guard (0...version).contains(found) else {
      throw LedgerError.rejected(
        "\(connection.path) has version \(found) of the tables; this program knows versions up to \(version)")
    }
    return found
  }
}
