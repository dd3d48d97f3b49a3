internal import Middlewares
internal import Pipeline

/// What a ledger is asked.
enum SQLiteQueries {
  private static let totals = "requests, connections, refused, failed, up, down"

  static func account(
    _ account: UsageAccount, at time: UnixTime, _ connection: SQLiteConnection
  ) throws -> LedgerAccount? {
    try one(account, kind: account.ledgerKind, account.ledgerName, at: time, connection)
  }

  static func global(at time: UnixTime, _ connection: SQLiteConnection) throws -> LedgerAccount? {
    try one(.others, kind: UsageAccount.ledgerGlobalKind, "", at: time, connection)
  }

  private static func one(
    _ account: UsageAccount, kind: Int, _ name: String, at time: UnixTime, _ connection: SQLiteConnection
  ) throws -> LedgerAccount? {
    var found: (place: Int64, LedgerAccount)?
    try connection.run(
      """
      SELECT id, \(totals), coalesce(first_seen, 0), coalesce(last_seen, 0), blocked, plan FROM accounts
      WHERE kind = ?1 AND name = ?2
      """, [.int(kind), .text(name)]
    ) { row in found = (row.integer(0), ledgerAccount(row, account)) }
    guard let found else { return nil }
    return try completed(found.1, at: found.place, time, connection)
  }

  static func accounts(
    after account: UsageAccount?, limit: Int, at time: UnixTime, _ connection: SQLiteConnection
  ) throws -> [LedgerAccount] {
    var page: [(Int64, LedgerAccount)] = []
    try connection.run(
      """
      SELECT id, \(totals), coalesce(first_seen, 0), coalesce(last_seen, 0), blocked, plan, kind, name FROM accounts
      WHERE (kind, name) > (?1, ?2) AND kind < ?3 ORDER BY kind, name LIMIT ?4
      """,
      [
        .int(account?.ledgerKind ?? -1), .text(account?.ledgerName ?? ""), .int(UsageAccount.ledgerGlobalKind),
        .int(limit),
      ]
    ) { row in
      page.append((row.integer(0), ledgerAccount(row, try self.account(row.int(11), row.text(12), connection))))
    }
    return try page.map { try completed($0.1, at: $0.0, time, connection) }
  }

  /// From columns 1 to 10.
  private static func ledgerAccount(_ row: SQLiteRow, _ account: UsageAccount) -> LedgerAccount {
    let totals = UsageTotals(
      change(row, 1), firstSeen: UnixTime(ledgerNanoseconds: row.integer(7)),
      lastSeen: UnixTime(ledgerNanoseconds: row.integer(8)))
    let isBlocked = row.int(9) != 0
    let plan = row.isNull(10) ? nil : row.text(10)
    return LedgerAccount(
      account: account, totals: totals,
      state: isBlocked || plan != nil ? LedgerState(account: account, isBlocked: isBlocked, plan: plan) : nil)
  }

  /// With windows and counters.
  private static func completed(
    _ row: LedgerAccount, at place: Int64, _ time: UnixTime, _ connection: SQLiteConnection
  ) throws -> LedgerAccount {
    var account = row
    let key: [SQLiteValue] = [.integer(place), .integer(time.ledgerNanoseconds)]
    try connection.run(
      "SELECT unit, start, ends, \(totals) FROM windows WHERE account = ?1 AND ends > ?2 ORDER BY unit, start", key
    ) { account.windows.append(try window($0, 0, connection)) }
    try connection.run(
      """
      SELECT name, start, ends, used FROM counters WHERE account = ?1 AND (ends IS NULL OR ends > ?2)
      ORDER BY name, start
      """, key
    ) { account.counters.append(counter($0, 0, row.account)) }
    return account
  }

  // MARK: The start

  static func load(
    at time: UnixTime, _ connection: SQLiteConnection, _ each: (LedgerRow) throws -> Void
  ) throws {
    try connection.run(
      "SELECT kind, name, blocked, plan FROM accounts WHERE (blocked <> 0 OR plan IS NOT NULL) AND kind < ?1",
      [.int(UsageAccount.ledgerGlobalKind)]
    ) { row in
      try each(
        .state(
          LedgerState(
            account: try account(row.int(0), row.text(1), connection), isBlocked: row.int(2) != 0,
            plan: row.isNull(3) ? nil : row.text(3))))
    }
    try connection.run(
      """
      SELECT kind, accounts.name, counters.name, start, ends, used FROM counters JOIN accounts ON id = account
      WHERE ends IS NULL OR ends > ?1
      """, [.integer(time.ledgerNanoseconds)]
    ) { row in
      try each(.counter(counter(row, 2, try account(row.int(0), row.text(1), connection))))
    }
    if let global = try global(at: time, connection) {
      try each(
        .global(
          LedgerUsage(
            account: .others, total: global.totals.sum, firstSeen: global.totals.firstSeen,
            lastSeen: global.totals.lastSeen, windows: global.windows)))
    }
    try loadUsage(at: time, connection, each)
  }

  /// Accounts with open windows, one by one: the windows of an account stand together.
  private static func loadUsage(
    at time: UnixTime, _ connection: SQLiteConnection, _ each: (LedgerRow) throws -> Void
  ) throws {
    var current: LedgerUsage?
    var place: Int64 = -1
    try connection.run(
      """
      SELECT id, \(totals.qualified("accounts")), coalesce(first_seen, 0), coalesce(last_seen, 0), kind, name,
        unit, start, ends, \(totals.qualified("windows"))
      FROM windows JOIN accounts ON id = account WHERE ends > ?1 AND kind < ?2 ORDER BY account, unit, start
      """, [.integer(time.ledgerNanoseconds), .int(UsageAccount.ledgerGlobalKind)]
    ) { row in
      if row.integer(0) != place {
        if let current { try each(.usage(current)) }
        place = row.integer(0)
        current = LedgerUsage(
          account: try account(row.int(9), row.text(10), connection), total: change(row, 1),
          firstSeen: UnixTime(ledgerNanoseconds: row.integer(7)), lastSeen: UnixTime(ledgerNanoseconds: row.integer(8)))
      }
      current?.windows.append(try window(row, 11, connection))
    }
    if let current { try each(.usage(current)) }
  }

  // MARK: Columns

  private static func change(_ row: SQLiteRow, _ column: Int32) -> UsageChange {
    UsageChange(
      requests: row.int(column), connections: row.int(column + 1), refused: row.int(column + 2),
      failed: row.int(column + 3), up: row.int(column + 4), down: row.int(column + 5))
  }

  private static func window(_ row: SQLiteRow, _ column: Int32, _ connection: SQLiteConnection) throws -> LedgerWindow {
    guard let unit = CalendarUnit(ledgerCode: row.int(column)) else {
      throw LedgerError.rejected("\(connection.path): a window has the unit \(row.int(column)); allowed is 1 to 4")
    }
    return LedgerWindow(
      unit: unit, start: UnixTime(ledgerNanoseconds: row.integer(column + 1)),
      end: UnixTime(ledgerNanoseconds: row.integer(column + 2)), usage: change(row, column + 3))
  }

  private static func counter(_ row: SQLiteRow, _ column: Int32, _ account: UsageAccount) -> LedgerCounter {
    LedgerCounter(
      name: row.text(column), account: account, start: UnixTime(ledgerNanoseconds: row.integer(column + 1)),
      end: row.isNull(column + 2) ? nil : UnixTime(ledgerNanoseconds: row.integer(column + 2)),
      used: row.int(column + 3))
  }

  private static func account(_ kind: Int, _ name: String, _ connection: SQLiteConnection) throws -> UsageAccount {
    guard let account = UsageAccount(ledgerKind: kind, name: name) else {
      throw LedgerError.rejected("\(connection.path): an account is of the kind \(kind); allowed is 0 to 4")
    }
    return account
  }
}

extension String {
  /// `a, b` as `table.a, table.b`.
  fileprivate func qualified(_ table: String) -> String {
    split(separator: ", ").map { "\(table).\($0)" }.joined(separator: ", ")
  }
}
