#if PostgreSQL
  internal import CPostgreSQL
  internal import Glibc
  internal import Middlewares

  /// What one statement has found, row by row.
  struct PostgreSQLRow {
    fileprivate let result: OpaquePointer
    fileprivate let row: Int32

    func isNull(_ column: Int32) -> Bool { PQgetisnull(result, row, column) == 1 }

    func text(_ column: Int32) -> String {
      guard let bytes = PQgetvalue(result, row, column) else { return "" }
      let count = Int(PQgetlength(result, row, column))
      return bytes.withMemoryRebound(to: UInt8.self, capacity: count) {
        String(decoding: UnsafeBufferPointer(start: $0, count: count), as: UTF8.self)
      }
    }

    /// - Throws: ``LedgerError/rejected(_:)`` where the table holds something else.
    func integer(_ column: Int32) throws -> Int64 {
      let text = text(column)
      guard let value = Int64(text) else {
        throw LedgerError.rejected("a column of the ledger holds \(text), no number")
      }
      return value
    }

    func int(_ column: Int32) throws -> Int { Int(try integer(column)) }
  }

  /// One connection to a server. libpq's calls that do not block, and a poll with a limit: a server that hangs must not hold a
  /// thread of the pool, and the end of the process, for ever.
  final class PostgreSQLConnection: @unchecked Sendable {
    // Sound as Sendable: a desk (`PostgreSQLDesk`) holds it, and uses it under its lock alone.

    private let handle: OpaquePointer
    private let name: String
    private let limit: Duration
    /// When the present call has to be over.
    private var deadline: ContinuousClock.Instant

    /// - Parameters:
    ///   - name: for errors; without a password.
    ///   - limit: of one call, and of connecting.
    /// - Throws: ``LedgerError``.
    init(url: String, name: String, limit: Duration) throws {
      self.name = name
      self.limit = limit
      deadline = ContinuousClock.now + limit
      let keywords = ["dbname", "client_encoding", "fallback_application_name"]
      let values = [url, "UTF8", "sluice"]
      let opened = withCStrings(keywords) { keywords in
        withCStrings(values) { values in PQconnectStartParams(keywords, values, 1) }
      }
      guard let opened else { throw LedgerError.unavailable("\(name): there is no memory left") }
      handle = opened
      guard PQstatus(handle) != CONNECTION_BAD else { throw unreachable() }
      PQsetNoticeProcessor(handle, { _, _ in }, nil)
      var waitsFor = PGRES_POLLING_WRITING
      while waitsFor != PGRES_POLLING_OK {
        try wait(Int16(waitsFor == PGRES_POLLING_READING ? POLLIN : POLLOUT), until: deadline)
        waitsFor = PQconnectPoll(handle)
        if waitsFor == PGRES_POLLING_FAILED { throw unreachable() }
      }
      guard PQsetnonblocking(handle, 1) == 0 else { throw unreachable() }
      // On the server's side, too: a statement of a connection that is gone must not go on.
      let milliseconds = Int(limit.components.seconds) * 1000
      try run("SET statement_timeout = \(milliseconds)")
      try run("SET idle_in_transaction_session_timeout = \(milliseconds * 2)")
    }

    deinit { PQfinish(handle) }

    /// The time of a new call begins.
    func beginCall() { deadline = ContinuousClock.now + limit }

    /// Runs a statement and hands over each row.
    ///
    /// - Parameter isLong: hands over rows as they come, and may take long as long as they do.
    /// - Throws: ``LedgerError``, or what `each` throws; the connection is of no use then.
    func run(
      _ sql: String, _ values: [String?] = [], isLong: Bool = false, each: (PostgreSQLRow) throws -> Void = { _ in }
    ) throws {
      let sent = withCStrings(values) {
        PQsendQueryParams(handle, sql, Int32(values.count), nil, $0, nil, nil, 0)
      }
      guard sent == 1 else { throw unreachable() }
      if isLong { PQsetSingleRowMode(handle) }
      try flush()
      while let result = try nextResult(isLong: isLong) {
        defer { PQclear(result) }
        switch PQresultStatus(result) {
        case PGRES_COMMAND_OK, PGRES_EMPTY_QUERY: break
        case PGRES_TUPLES_OK, PGRES_SINGLE_TUPLE:
          for row in 0..<PQntuples(result) { try each(PostgreSQLRow(result: result, row: row)) }
        // Every other status is an error, or an answer to something that is never sent (COPY, pipelines).
        default: throw error(result)
        }
      }
    }

    /// The first column of the first row.
    func integer(_ sql: String, _ values: [String?] = []) throws -> Int64? {
      var found: Int64?
      try run(sql, values) { row in if found == nil { found = try row.integer(0) } }
      return found
    }

    /// Runs `body` in a transaction. An error leaves it open: the connection is closed then, which undoes it.
    func transaction<Result>(_ begin: String, _ body: () throws -> Result) throws -> Result {
      try run(begin)
      let result = try body()
      try run("COMMIT")
      return result
    }

    // MARK: Waiting

    private func flush() throws {
      while true {
        switch PQflush(handle) {
        case 0: return
        case 1:
          // The server may have to be read before it reads on.
          try wait(Int16(POLLIN | POLLOUT), until: deadline)
          guard PQconsumeInput(handle) == 1 else { throw unreachable() }
        default: throw unreachable()
        }
      }
    }

    private func nextResult(isLong: Bool) throws -> OpaquePointer? {
      while PQisBusy(handle) == 1 {
        try wait(Int16(POLLIN), until: isLong ? ContinuousClock.now + .seconds(60) : deadline)
        guard PQconsumeInput(handle) == 1 else { throw unreachable() }
      }
      return PQgetResult(handle)
    }

    private func wait(_ events: Int16, until end: ContinuousClock.Instant) throws {
      while true {
        let left = end - ContinuousClock.now
        let milliseconds = left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000 + 1
        guard left > .zero else { throw LedgerError.unavailable("\(name) does not answer within \(limit)") }
        var descriptor = pollfd(fd: PQsocket(handle), events: events, revents: 0)
        let count = poll(&descriptor, 1, Int32(clamping: milliseconds))
        if count > 0 { return }
        if count < 0, errno != EINTR {
          throw LedgerError.unavailable("\(name): poll: \(String(cString: strerror(errno)))")
        }
      }
    }

    // MARK: Errors

    /// libpq's own words name host, port and user, never the password.
    private func unreachable() -> LedgerError {
      .unavailable("\(name): \(Self.line(PQerrorMessage(handle)))")
    }

    private func error(_ result: OpaquePointer) -> LedgerError {
      let state = PQresultErrorField(result, Int32(UInt8(ascii: "C"))).map { String(cString: $0) } ?? ""
      let said = Self.line(PQresultErrorMessage(result))
      // SQLSTATE (PostgreSQL, Appendix A): the first two characters are the class.
      switch state {
      case "3F000", "42P01": return .rejected("\(name) holds no ledger, or an older one: \(said)")
      // A lock that is held, a deadlock, a standby or `default_transaction_read_only`, rights that are not granted yet.
      case "55P03", "25006", "42501": return .unavailable("\(name): \(said)")
      case _ where ["08", "40", "53", "57", "58", ""].contains(String(state.prefix(2))):
        return .unavailable("\(name): \(said)")
      // All others say that the statement or the tables are not what this program has made.
      default: return .rejected("\(name): \(said) (SQLSTATE \(state))")
      }
    }

    private static func line(_ text: UnsafeMutablePointer<CChar>?) -> String {
      let words = text.map { String(cString: $0) } ?? ""
      return words.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }
  }

  /// An array of C strings for the length of a call; `nil` stays NULL.
  private func withCStrings<Result>(
    _ strings: [String?], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result
  ) -> Result {
    let copies = strings.map { string in string.map { strdup($0) } ?? nil }
    defer { for copy in copies { free(copy) } }
    return (copies.map { UnsafePointer($0) } + [nil]).withUnsafeBufferPointer { body($0.baseAddress!) }
  }
#endif
