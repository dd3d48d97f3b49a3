#if PostgreSQL
  internal import Middlewares
  internal import Pipeline

  /// What a ledger is asked.
  enum PostgreSQLQueries {
    private static let totals = "requests, connections, refused, failed, up, down"
    private static let account = """
      id, \(totals), coalesce(first_seen, 0), coalesce(last_seen, 0), blocked, plan, kind, name
      """

    static func account(
      _ account: UsageAccount, at time: UnixTime, _ connection: PostgreSQLConnection
    ) throws -> LedgerAccount? {
      try page(
        "WHERE kind = $1 AND name = $2", ["\(account.ledgerKind)", PostgreSQLName.encoded(account.ledgerName)],
        at: time,
        connection
      ).first
    }

    static func global(at time: UnixTime, _ connection: PostgreSQLConnection) throws -> LedgerAccount? {
      try page("WHERE kind = $1 AND name = ''", ["\(UsageAccount.ledgerGlobalKind)"], at: time, connection).first
    }

    static func accounts(
      after account: UsageAccount?, limit: Int, at time: UnixTime, _ connection: PostgreSQLConnection
    ) throws -> [LedgerAccount] {
      try page(
        "WHERE (kind, name) > ($1::smallint, $2 COLLATE \"C\") AND kind < $3 ORDER BY kind, name LIMIT $4",
        [
          "\(account?.ledgerKind ?? -1)", PostgreSQLName.encoded(account?.ledgerName ?? ""),
          "\(UsageAccount.ledgerGlobalKind)", "\(limit)",
        ], at: time, connection)
    }

    /// Accounts with their windows and counters: three statements, however many.
    private static func page(
      _ condition: String, _ values: [String?], at time: UnixTime, _ connection: PostgreSQLConnection
    ) throws -> [LedgerAccount] {
      var found: [LedgerAccount] = []
      var places: [Int64: Int] = [:]
      try connection.run("SELECT \(account) FROM sluice.accounts \(condition)", values) { row in
        let account = try Self.account(row.int(11), row.text(12))
        let isBlocked = row.text(9) == "t"
        let plan = row.isNull(10) ? nil : PostgreSQLName.decoded(row.text(10))
        places[try row.integer(0)] = found.count
        found.append(
          LedgerAccount(
            account: account,
            totals: UsageTotals(
              try change(row, 1), firstSeen: UnixTime(ledgerNanoseconds: try row.integer(7)),
              lastSeen: UnixTime(ledgerNanoseconds: try row.integer(8))),
            state: isBlocked || plan != nil ? LedgerState(account: account, isBlocked: isBlocked, plan: plan) : nil))
      }
      if found.isEmpty { return [] }
      let keys = ["{" + places.keys.map { "\($0)" }.joined(separator: ",") + "}", "\(time.ledgerNanoseconds)"]
      try connection.run(
        """
        SELECT account, unit, start, ends, \(totals) FROM sluice.windows WHERE account = ANY ($1::bigint[]) AND ends > $2
        ORDER BY unit, start
        """, keys
      ) { row in
        if let index = places[try row.integer(0)] { found[index].windows.append(try window(row, 1)) }
      }
      try connection.run(
        """
        SELECT account, name, start, ends, used FROM sluice.counters
        WHERE account = ANY ($1::bigint[]) AND (ends IS NULL OR ends > $2) ORDER BY name, start
        """, keys
      ) { row in
        if let index = places[try row.integer(0)] {
          found[index].counters.append(try counter(row, 1, found[index].account))
        }
      }
      return found
    }

    // MARK: The start

    static func load(
      at time: UnixTime, _ connection: PostgreSQLConnection, _ each: (LedgerRow) throws -> Void
    ) throws {
      let global = "\(UsageAccount.ledgerGlobalKind)"
      try connection.run(
        "SELECT kind, name, blocked, plan FROM sluice.accounts WHERE (blocked OR plan IS NOT NULL) AND kind < $1",
        [global], isLong: true
      ) { row in
        let plan = row.isNull(3) ? nil : PostgreSQLName.decoded(row.text(3))
        try each(
          .state(
            LedgerState(account: try account(row.int(0), row.text(1)), isBlocked: row.text(2) == "t", plan: plan)))
      }
      try connection.run(
        """
        SELECT kind, a.name, c.name, start, ends, used FROM sluice.counters AS c JOIN sluice.accounts AS a ON id = account
        WHERE ends IS NULL OR ends > $1
        """, ["\(time.ledgerNanoseconds)"], isLong: true
      ) { row in
        try each(.counter(try counter(row, 2, try account(row.int(0), row.text(1)))))
      }
      connection.beginCall()
      if let sum = try Self.global(at: time, connection) {
        try each(
          .global(
            LedgerUsage(
              account: .others, total: sum.totals.sum, firstSeen: sum.totals.firstSeen, lastSeen: sum.totals.lastSeen,
              windows: sum.windows)))
      }
      try loadUsage(at: time, connection, each)
      connection.beginCall()
    }

    /// Accounts with open windows, one by one: the windows of an account stand together.
    private static func loadUsage(
      at time: UnixTime, _ connection: PostgreSQLConnection, _ each: (LedgerRow) throws -> Void
    ) throws {
      var current: LedgerUsage?
      var place: Int64 = -1
      func qualified(_ table: String) -> String {
        totals.split(separator: ", ").map { "\(table).\($0)" }.joined(separator: ", ")
      }
      try connection.run(
        """
        SELECT id, \(qualified("a")), coalesce(first_seen, 0), coalesce(last_seen, 0), kind, name, unit, start, ends,
          \(qualified("w"))
        FROM sluice.windows AS w JOIN sluice.accounts AS a ON id = account
        WHERE ends > $1 AND kind < $2 ORDER BY account, unit, start
        """, ["\(time.ledgerNanoseconds)", "\(UsageAccount.ledgerGlobalKind)"], isLong: true
      ) { row in
        let id = try row.integer(0)
        if id != place {
          if let current { try each(.usage(current)) }
          place = id
          current = LedgerUsage(
            account: try account(row.int(9), row.text(10)), total: try change(row, 1),
            firstSeen: UnixTime(ledgerNanoseconds: try row.integer(7)),
            lastSeen: UnixTime(ledgerNanoseconds: try row.integer(8)))
        }
        current?.windows.append(try window(row, 11))
      }
      if let current { try each(.usage(current)) }
    }

    // MARK: Columns

    private static func change(_ row: PostgreSQLRow, _ column: Int32) throws -> UsageChange {
      UsageChange(
        requests: try row.int(column), connections: try row.int(column + 1), refused: try row.int(column + 2),
        failed: try row.int(column + 3), up: try row.int(column + 4), down: try row.int(column + 5))
    }

    private static func window(_ row: PostgreSQLRow, _ column: Int32) throws -> LedgerWindow {
      guard let unit = CalendarUnit(ledgerCode: try row.int(column)) else {
        throw LedgerError.rejected("a window of the ledger has the unit \(row.text(column)); allowed is 1 to 4")
      }
      return LedgerWindow(
        unit: unit, start: UnixTime(ledgerNanoseconds: try row.integer(column + 1)),
        end: UnixTime(ledgerNanoseconds: try row.integer(column + 2)), usage: try change(row, column + 3))
    }

    private static func counter(
      _ row: PostgreSQLRow, _ column: Int32, _ account: UsageAccount
    ) throws -> LedgerCounter {
      LedgerCounter(
        name: PostgreSQLName.decoded(row.text(column)), account: account,
        start: UnixTime(ledgerNanoseconds: try row.integer(column + 1)),
        end: row.isNull(column + 2) ? nil : UnixTime(ledgerNanoseconds: try row.integer(column + 2)),
        used: try row.int(column + 3))
    }

    /// The row of the sum is nobody's.
    private static func account(_ kind: Int, _ name: String) throws -> UsageAccount {
      if kind == UsageAccount.ledgerGlobalKind { return .others }
      guard let account = UsageAccount(ledgerKind: kind, name: PostgreSQLName.decoded(name)) else {
        throw LedgerError.rejected("an account of the ledger is of the kind \(kind); allowed is 0 to 4")
      }
      return account
    }
  }
#endif
