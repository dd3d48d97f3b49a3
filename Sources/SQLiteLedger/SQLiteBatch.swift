internal import CSQLite
internal import Middlewares
internal import Pipeline

/// What a ledger writes.
enum SQLiteBatch {
  /// A batch in one transaction.
  static func add(_ batch: LedgerBatch, _ connection: SQLiteConnection) throws {
    try connection.transaction("BEGIN IMMEDIATE") {
      try connection.run(
        """
        INSERT INTO writers (high, low, sequence, seen) VALUES (?1, ?2, ?3, CAST(strftime('%s', 'now') AS INTEGER))
        ON CONFLICT (high, low) DO UPDATE SET sequence = excluded.sequence, seen = excluded.seen
        WHERE excluded.sequence > sequence
        """,
        [
          .integer(Int64(bitPattern: batch.writer.high)), .integer(Int64(bitPattern: batch.writer.low)),
          .integer(Int64(clamping: batch.sequence)),
        ])
      // The batch is in the ledger already; its writer has missed the answer.
      if connection.changes == 0 { return }
      try add(rowsOf: batch.merged(), connection)
    }
  }

  private static func add(rowsOf batch: LedgerBatch, _ connection: SQLiteConnection) throws {
    var places: [UsageAccount: Int64] = [:]
    for usage in batch.usage {
      places[usage.account] = try add(usage, kind: usage.account.ledgerKind, usage.account.ledgerName, connection)
    }
    if let global = batch.global { _ = try add(global, kind: UsageAccount.ledgerGlobalKind, "", connection) }
    for counter in batch.counters {
      let account = try places[counter.account] ?? place(of: counter.account, connection)
      places[counter.account] = account
      try connection.run(
        """
        INSERT INTO counters (account, name, start, ends, used) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (account, name, start) DO UPDATE SET used = used + excluded.used, ends = excluded.ends
        """,
        [
          .integer(account), .text(counter.name), .integer(counter.start.ledgerNanoseconds),
          counter.end.map { .integer($0.ledgerNanoseconds) } ?? .null, .int(counter.used),
        ])
    }
    for state in batch.states {
      let account = try places[state.account] ?? place(of: state.account, connection)
      try connection.run(
        "UPDATE accounts SET blocked = ?2, plan = ?3 WHERE id = ?1",
        [.integer(account), .int(state.isBlocked ? 1 : 0), state.plan.map { .text($0) } ?? .null])
    }
  }

  /// Where the row of an account is.
  private static func add(
    _ usage: LedgerUsage, kind: Int, _ name: String, _ connection: SQLiteConnection
  ) throws -> Int64 {
    let total = usage.total
    let place = try connection.integer(
      """
      INSERT INTO accounts (kind, name, requests, connections, refused, failed, up, down, first_seen, last_seen)
      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
      ON CONFLICT (kind, name) DO UPDATE SET
        requests = requests + excluded.requests, connections = connections + excluded.connections,
        refused = refused + excluded.refused, failed = failed + excluded.failed,
        up = up + excluded.up, down = down + excluded.down,
        first_seen = min(coalesce(first_seen, excluded.first_seen), excluded.first_seen),
        last_seen = max(coalesce(last_seen, excluded.last_seen), excluded.last_seen)
      RETURNING id
      """,
      [
        .int(kind), .text(name), .int(total.requests), .int(total.connections), .int(total.refused), .int(total.failed),
        .int(total.up), .int(total.down), .integer(usage.firstSeen.ledgerNanoseconds),
        .integer(usage.lastSeen.ledgerNanoseconds),
      ])
    guard let place else {
      throw LedgerError.rejected("\(connection.path): the row of an account could not be written")
    }
    for window in usage.windows {
      let used = window.usage
      try connection.run(
        """
        INSERT INTO windows (account, unit, start, ends, requests, connections, refused, failed, up, down)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
        ON CONFLICT (account, unit, start) DO UPDATE SET
          requests = requests + excluded.requests, connections = connections + excluded.connections,
          refused = refused + excluded.refused, failed = failed + excluded.failed,
          up = up + excluded.up, down = down + excluded.down
        """,
        [
          .integer(place), .int(window.unit.ledgerCode), .integer(window.start.ledgerNanoseconds),
          .integer(window.end.ledgerNanoseconds), .int(used.requests), .int(used.connections), .int(used.refused),
          .int(used.failed), .int(used.up), .int(used.down),
        ])
    }
    return place
  }

  /// Where the row of an account is that has perhaps used nothing yet.
  private static func place(of account: UsageAccount, _ connection: SQLiteConnection) throws -> Int64 {
    let key: [SQLiteValue] = [.int(account.ledgerKind), .text(account.ledgerName)]
    if let known = try connection.integer("SELECT id FROM accounts WHERE kind = ?1 AND name = ?2", key) { return known }
    let place = try connection.integer(
      """
      INSERT INTO accounts (kind, name, requests, connections, refused, failed, up, down)
      VALUES (?1, ?2, 0, 0, 0, 0, 0, 0) RETURNING id
      """, key)
    guard let place else {
      throw LedgerError.rejected("\(connection.path): the row of an account could not be written")
    }
    return place
  }

  // MARK: Forgetting

  /// In pieces, so that another process gets its turn in between, and for 2 s at most; the rest goes next time.
  static func prune(_ retention: LedgerRetention, at time: UnixTime, _ connection: SQLiteConnection) throws {
    let clock = ContinuousClock()
    let end = clock.now + .seconds(2)
    func inPieces(_ sql: String, _ values: [SQLiteValue]) throws {
      repeat { try connection.run(sql, values) } while connection.changes > 0 && clock.now < end
    }
    for unit in CalendarUnit.allCases {
      try inPieces(
        """
        DELETE FROM windows WHERE (account, unit, start) IN
          (SELECT account, unit, start FROM windows WHERE unit = ?1 AND ends < ?2 LIMIT 5000)
        """,
        [.int(unit.ledgerCode), .integer(retention.horizon(unit, at: time).ledgerNanoseconds)])
    }
    try inPieces(
      """
      DELETE FROM counters WHERE (account, name, start) IN
        (SELECT account, name, start FROM counters WHERE ends IS NOT NULL AND ends < ?1 LIMIT 5000)
      """, [.integer(retention.counterHorizon(at: time).ledgerNanoseconds)])
    try connection.run("DELETE FROM writers WHERE seen < CAST(strftime('%s', 'now') AS INTEGER) - 30 * 86400")
  }
}
