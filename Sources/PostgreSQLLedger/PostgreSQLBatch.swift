#if PostgreSQL
  internal import Middlewares
  internal import Pipeline

  /// What a ledger writes. One statement a table, whatever the number of rows: they go over as arrays.
  enum PostgreSQLBatch {
    /// A batch in one transaction.
    static func add(_ batch: LedgerBatch, _ connection: PostgreSQLConnection) throws {
      try connection.transaction("BEGIN") {
        // Locks the row of the writer: where the connection was lost, the same batch may still be under way on the old one, and
        // this waits for its end.
        let isNew = try connection.integer(
          """
          INSERT INTO sluice.writers AS w (high, low, sequence, seen) VALUES ($1, $2, $3, now())
          ON CONFLICT (high, low) DO UPDATE SET sequence = excluded.sequence, seen = excluded.seen
          WHERE excluded.sequence > w.sequence RETURNING 1
          """,
          [
            "\(Int64(bitPattern: batch.writer.high))", "\(Int64(bitPattern: batch.writer.low))",
            "\(Int64(clamping: batch.sequence))",
          ])
        // The batch is in the ledger already; its writer has missed the answer.
        if isNew == nil { return }
        let merged = batch.merged()
        try add(merged.usage.map { Row($0.account, $0) }, connection)
        try add(merged.counters, connection)
        try add(merged.states, connection)
        // Last: every process writes this row, and holds it until it commits.
        if let global = merged.global {
          try add([Row(kind: UsageAccount.ledgerGlobalKind, name: "", usage: global)], connection)
        }
      }
    }

    private struct Row {
      let kind: Int
      let name: String
      let usage: LedgerUsage

      init(kind: Int, name: String, usage: LedgerUsage) {
        self.kind = kind
        self.name = name
        self.usage = usage
      }

      init(_ account: UsageAccount, _ usage: LedgerUsage) {
        self.init(kind: account.ledgerKind, name: PostgreSQLName.encoded(account.ledgerName), usage: usage)
      }
    }

    private static func add(_ rows: [Row], _ connection: PostgreSQLConnection) throws {
      if rows.isEmpty { return }
      try connection.run(
        """
        INSERT INTO sluice.accounts AS a
          (kind, name, requests, connections, refused, failed, up, down, first_seen, last_seen)
        SELECT * FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
          $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
        ON CONFLICT (kind, name) DO UPDATE SET
          requests = a.requests + excluded.requests, connections = a.connections + excluded.connections,
          refused = a.refused + excluded.refused, failed = a.failed + excluded.failed,
          up = a.up + excluded.up, down = a.down + excluded.down,
          first_seen = least(a.first_seen, excluded.first_seen), last_seen = greatest(a.last_seen, excluded.last_seen)
        """,
        [list(rows) { "\($0.kind)" }, list(rows) { quoted($0.name) }] + changes(rows.map(\.usage.total)) + [
          list(rows) { "\($0.usage.firstSeen.ledgerNanoseconds)" },
          list(rows) { "\($0.usage.lastSeen.ledgerNanoseconds)" },
        ])
      let windows = rows.flatMap { row in row.usage.windows.map { (row: row, window: $0) } }
      if windows.isEmpty { return }
      try connection.run(
        """
        INSERT INTO sluice.windows AS w
          (account, unit, start, ends, requests, connections, refused, failed, up, down)
        SELECT id, n.unit, n.start, n.ends, n.requests, n.connections, n.refused, n.failed, n.up, n.down
        FROM unnest($1::smallint[], $2::text[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
          $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[]) WITH ORDINALITY
          AS n (kind, name, unit, start, ends, requests, connections, refused, failed, up, down, place)
        JOIN sluice.accounts AS a ON a.kind = n.kind AND a.name = n.name ORDER BY n.place
        ON CONFLICT (account, unit, start) DO UPDATE SET
          requests = w.requests + excluded.requests, connections = w.connections + excluded.connections,
          refused = w.refused + excluded.refused, failed = w.failed + excluded.failed,
          up = w.up + excluded.up, down = w.down + excluded.down
        """,
        [
          list(windows) { "\($0.row.kind)" }, list(windows) { quoted($0.row.name) },
          list(windows) { "\($0.window.unit.ledgerCode)" }, list(windows) { "\($0.window.start.ledgerNanoseconds)" },
          list(windows) { "\($0.window.end.ledgerNanoseconds)" },
        ] + changes(windows.map(\.window.usage)))
    }

    private static func add(_ counters: [LedgerCounter], _ connection: PostgreSQLConnection) throws {
      if counters.isEmpty { return }
      try makePlaces(counters.map(\.account), connection)
      try connection.run(
        """
        INSERT INTO sluice.counters AS c (account, name, start, ends, used)
        SELECT id, n.counter, n.start, n.ends, n.used
        FROM unnest($1::smallint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) WITH ORDINALITY
          AS n (kind, name, counter, start, ends, used, place)
        JOIN sluice.accounts AS a ON a.kind = n.kind AND a.name = n.name ORDER BY n.place
        ON CONFLICT (account, name, start) DO UPDATE SET used = c.used + excluded.used, ends = excluded.ends
        """,
        [
          list(counters) { "\($0.account.ledgerKind)" },
          list(counters) { quoted(PostgreSQLName.encoded($0.account.ledgerName)) },
          list(counters) { quoted(PostgreSQLName.encoded($0.name)) },
          list(counters) { "\($0.start.ledgerNanoseconds)" },
          list(counters) { $0.end.map { "\($0.ledgerNanoseconds)" } ?? "NULL" }, list(counters) { "\($0.used)" },
        ])
    }

    private static func add(_ states: [LedgerState], _ connection: PostgreSQLConnection) throws {
      if states.isEmpty { return }
      try makePlaces(states.map(\.account), connection)
      try connection.run(
        """
        UPDATE sluice.accounts AS a SET blocked = n.blocked, plan = n.plan
        FROM unnest($1::smallint[], $2::text[], $3::boolean[], $4::text[]) AS n (kind, name, blocked, plan)
        WHERE a.kind = n.kind AND a.name = n.name
        """,
        [
          list(states) { "\($0.account.ledgerKind)" },
          list(states) { quoted(PostgreSQLName.encoded($0.account.ledgerName)) },
          list(states) { $0.isBlocked ? "t" : "f" },
          list(states) { $0.plan.map { quoted(PostgreSQLName.encoded($0)) } ?? "NULL" },
        ])
    }

    /// Rows of accounts that have perhaps used nothing yet.
    private static func makePlaces(_ accounts: [UsageAccount], _ connection: PostgreSQLConnection) throws {
      try connection.run(
        """
        INSERT INTO sluice.accounts (kind, name, requests, connections, refused, failed, up, down)
        SELECT kind, name, 0, 0, 0, 0, 0, 0 FROM unnest($1::smallint[], $2::text[]) AS n (kind, name)
        ON CONFLICT (kind, name) DO NOTHING
        """,
        [list(accounts) { "\($0.ledgerKind)" }, list(accounts) { quoted(PostgreSQLName.encoded($0.ledgerName)) }])
    }

    // MARK: Arrays

    private static func changes(_ rows: [UsageChange]) -> [String?] {
      [\UsageChange.requests, \.connections, \.refused, \.failed, \.up, \.down].map { field in
        list(rows) { "\($0[keyPath: field])" }
      }
    }

    /// PostgreSQL's text form of an array (PostgreSQL, 8.15.6).
    private static func list<Row>(_ rows: [Row], _ element: (Row) -> String) -> String? {
      "{" + rows.map(element).joined(separator: ",") + "}"
    }

    private static func quoted(_ text: String) -> String {
      var bytes: [UInt8] = [UInt8(ascii: "\"")]
      for byte in text.utf8 {
        if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { bytes.append(UInt8(ascii: "\\")) }
        bytes.append(byte)
      }
      bytes.append(UInt8(ascii: "\""))
      return String(decoding: bytes, as: UTF8.self)
    }

    // MARK: Forgetting

    /// In pieces, for 2 s at most; the rest goes next time.
    static func prune(_ retention: LedgerRetention, at time: UnixTime, _ connection: PostgreSQLConnection) throws {
      let end = ContinuousClock.now + .seconds(2)
      func inPieces(_ sql: String, _ values: [String?]) throws {
        repeat { if try connection.integer(sql, values) == 0 { return } } while ContinuousClock.now < end
      }
      for unit in CalendarUnit.allCases {
        try inPieces(
          """
          WITH gone AS (DELETE FROM sluice.windows WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM sluice.windows WHERE unit = $1 AND ends < $2 LIMIT 5000)) RETURNING 1)
          SELECT count(*) FROM gone
          """, ["\(unit.ledgerCode)", "\(retention.horizon(unit, at: time).ledgerNanoseconds)"])
      }
      try inPieces(
        """
        WITH gone AS (DELETE FROM sluice.counters WHERE ctid = ANY (ARRAY(
          SELECT ctid FROM sluice.counters WHERE ends < $1 LIMIT 5000)) RETURNING 1)
        SELECT count(*) FROM gone
        """, ["\(retention.counterHorizon(at: time).ledgerNanoseconds)"])
      try connection.run("DELETE FROM sluice.writers WHERE seen < now() - interval '30 days'")
    }
  }

  /// Names as PostgreSQL can keep them: its text holds no zero byte. `\` stands as `\\` and a zero byte as `\0`.
  enum PostgreSQLName {
    static func encoded(_ name: String) -> String {
      guard name.utf8.contains(where: { $0 == 0 || $0 == UInt8(ascii: "\\") }) else { return name }
      var bytes: [UInt8] = []
      for byte in name.utf8 {
        switch byte {
        case 0: bytes += [UInt8(ascii: "\\"), UInt8(ascii: "0")]
        case UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), UInt8(ascii: "\\")]
        default: bytes.append(byte)
        }
      }
      return String(decoding: bytes, as: UTF8.self)
    }

    static func decoded(_ name: String) -> String {
      guard name.utf8.contains(UInt8(ascii: "\\")) else { return name }
      var bytes: [UInt8] = []
      var isEscaped = false
      for byte in name.utf8 {
        if isEscaped {
          bytes.append(byte == UInt8(ascii: "0") ? 0 : byte)
          isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
          isEscaped = true
        } else {
          bytes.append(byte)
        }
      }
      return String(decoding: bytes, as: UTF8.self)
    }
  }
#endif
