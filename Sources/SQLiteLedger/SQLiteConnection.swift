internal import CSQLite
internal import Glibc
internal import Middlewares
internal import Pipeline

/// What a statement is given.
enum SQLiteValue {
  case integer(Int64)
  case text(String)
  case null

  static func int(_ value: Int) -> SQLiteValue { .integer(Int64(value)) }
}

/// What a statement has found, until its next step.
struct SQLiteRow {
  fileprivate let statement: OpaquePointer

  func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }

  func int(_ column: Int32) -> Int { Int(integer(column)) }

  func isNull(_ column: Int32) -> Bool { sqlite3_column_type(statement, column) == SQLITE_NULL }

  func text(_ column: Int32) -> String {
    guard let bytes = sqlite3_column_text(statement, column) else { return "" }
    let count = Int(sqlite3_column_bytes(statement, column))
    return String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
  }
}

/// One open database file, with its prepared statements.
final class SQLiteConnection: @unchecked Sendable {
  // Sound as Sendable: a desk (`SQLiteDesk`) holds it, and uses it under its lock alone.

  let path: String
  private let handle: OpaquePointer
  private var statements: [String: OpaquePointer] = [:]
  /// The code of the last error.
  private var failure = SQLITE_OK
  private let busyTimeout: Duration
  /// Which file it was when it was opened.
  private let file: FileIdentity?

  /// - Throws: ``LedgerError``.
  init(path: String, isReadOnly: Bool, busyTimeout: Duration) throws {
    self.path = path
    self.busyTimeout = busyTimeout
    if !isReadOnly { try Self.create(path) }
    var opened: OpaquePointer?
    // NOMUTEX: the ledger's own lock sees to it that one thread at a time uses the connection.
    let flags = (isReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX
    let code = sqlite3_open_v2(path, &opened, flags, nil)
    guard code == SQLITE_OK, let opened else {
      let error = Self.error(code, opened, path, busyTimeout)
      sqlite3_close_v2(opened)
      throw error
    }
    handle = opened
    file = FileIdentity(path)
    sqlite3_extended_result_codes(handle, 1)
    sqlite3_busy_timeout(handle, Int32(clamping: busyTimeout.nanosecondsClamped / 1_000_000))
  }

  deinit {
    for statement in statements.values { sqlite3_finalize(statement) }
    // The last connection to a file writes its journal back and removes it.
    sqlite3_close_v2(handle)
  }

  /// Makes a new file readable for its owner alone; SQLite would follow the umask. Its journal gets the same mode.
  ///
  /// Only where there is none: closing a file that is there would drop every POSIX lock that this process holds on it.
  private static func create(_ path: String) throws {
    let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    if descriptor >= 0 {
      close(descriptor)
      return
    }
    let code = errno
    if code == EEXIST { return }
    throw LedgerError.unavailable("\(path) cannot be made: \(reason(code, path))")
  }

  /// Whether the file that was opened is no longer the one under this path: what is written to it would be lost.
  var hasMoved: Bool { FileIdentity(path) != file }

  // MARK: Statements

  /// Runs a statement to its end and hands over each row.
  ///
  /// - Throws: ``LedgerError``, or what `each` throws.
  func run(_ sql: String, _ values: [SQLiteValue] = [], each: (SQLiteRow) throws -> Void = { _ in }) throws {
    let statement = try prepared(sql)
    defer {
      sqlite3_reset(statement)
      sqlite3_clear_bindings(statement)
    }
    for (index, value) in values.enumerated() { try check(bind(value, to: statement, at: Int32(index + 1))) }
    while true {
      let code = sqlite3_step(statement)
      if code == SQLITE_DONE { return }
      guard code == SQLITE_ROW else { throw error(code) }
      try each(SQLiteRow(statement: statement))
    }
  }

  /// Runs a statement that needs the file alone for a moment, and for which SQLite does not wait by itself, as it does for
  /// others: tries again until the busy timeout is over.
  func runAlone(_ sql: String, each: (SQLiteRow) throws -> Void) throws {
    let clock = ContinuousClock()
    let end = clock.now + busyTimeout
    while true {
      do {
        return try run(sql, each: each)
      } catch  where failure & 0xff == SQLITE_BUSY && clock.now < end {
        sqlite3_sleep(5)
      }
    }
  }

  /// The first column of the first row.
  func integer(_ sql: String, _ values: [SQLiteValue] = []) throws -> Int64? {
    var result: Int64?
    try run(sql, values) { row in if result == nil { result = row.integer(0) } }
    return result
  }

  /// Rows that the last statement changed.
  var changes: Int { Int(sqlite3_changes64(handle)) }

  /// Runs `body` in a transaction: all of it, or nothing. An error leaves it open: the connection is closed then, which undoes it.
  ///
  /// - Parameter begin: `BEGIN IMMEDIATE` where it writes: a transaction that reads first and then wants to write would be
  ///   refused without any waiting.
  func transaction<Result>(_ begin: String, _ body: () throws -> Result) throws -> Result {
    try run(begin)
    let result = try body()
    try run("COMMIT")
    return result
  }

  private func prepared(_ sql: String) throws -> OpaquePointer {
    if let statement = statements[sql] { return statement }
    var statement: OpaquePointer?
    try check(sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil))
    guard let statement else { throw LedgerError.rejected("\(path): an empty statement") }
    statements[sql] = statement
    return statement
  }

  private func bind(_ value: SQLiteValue, to statement: OpaquePointer, at index: Int32) -> Int32 {
    switch value {
    case .integer(let number): return sqlite3_bind_int64(statement, index, number)
    case .null: return sqlite3_bind_null(statement, index)
    case .text(var text):
      // With its length: a name may hold a zero byte.
      return text.withUTF8 { bytes in
        bytes.withMemoryRebound(to: CChar.self) { bytes in
          // An empty buffer may have no address, which would bind NULL.
          guard let start = bytes.baseAddress else { return csqlite_bind_text(statement, index, "", 0) }
          return csqlite_bind_text(statement, index, start, Int32(clamping: bytes.count))
        }
      }
    }
  }

  // MARK: Errors

  private func check(_ code: Int32) throws {
    if code != SQLITE_OK { throw error(code) }
  }

  private func error(_ code: Int32) -> LedgerError {
    failure = code
    return Self.error(code, handle, path, busyTimeout)
  }

  private static func error(_ code: Int32, _ handle: OpaquePointer?, _ path: String, _ busy: Duration) -> LedgerError {
    let said =
      handle.flatMap { sqlite3_errmsg($0) }.map { String(cString: $0) } ?? String(cString: sqlite3_errstr(code))
    let system = handle.map { sqlite3_system_errno($0) } ?? 0
    switch code & 0xff {
    case SQLITE_BUSY, SQLITE_LOCKED:
      return .unavailable("\(path) is locked by another program, for longer than \(busy)")
    case SQLITE_READONLY, SQLITE_PERM:
      return .unavailable("\(path) is read-only for this user: the file and its directory must be writable (\(said))")
    case SQLITE_FULL:
      return .unavailable("there is no room for \(path): the disk is full, or the ledger as large as it may be")
    case SQLITE_IOERR:
      let detail = system == 0 ? "\(said), SQLite code \(code)" : reason(system, path)
      return .unavailable("\(path) cannot be read or written: \(detail)")
    case SQLITE_CANTOPEN:
      return .unavailable("\(path) cannot be opened: \(system == 0 ? said : reason(system, path))")
    case SQLITE_NOMEM:
      return .unavailable("\(path): there is no memory left")
    case SQLITE_NOTADB:
      return .rejected("\(path) is no SQLite database")
    case SQLITE_CORRUPT:
      return .rejected("\(path) is damaged (\(said)): restore a copy, or recover it with `sqlite3 FILE .recover`")
    // All other codes say that the statement or the tables are not what this program has made.
    default:
      return .rejected("\(path): SQLite error \(code): \(said)")
    }
  }

  private static func reason(_ code: Int32, _ path: String) -> String {
    let text = String(cString: strerror(code))
    guard code == ENOENT else { return text }
    let directory = path.lastIndex(of: "/").map { path[..<$0] }.map { $0.isEmpty ? "/" : String($0) } ?? "."
    var status = stat()
    return stat(directory, &status) == 0 ? "the file does not exist" : "the directory \(directory) does not exist"
  }
}

/// Tells one file from another that was put in its place.
private struct FileIdentity: Equatable {
  let device: UInt
  let inode: UInt

  init?(_ path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    device = UInt(status.st_dev)
    inode = UInt(status.st_ino)
  }
}
