public import Middlewares
public import Pipeline
internal import Synchronization

/// A ledger in a SQLite file: one process or several of one machine, no server.
///
/// ```swift
/// let ledger = SQLiteLedger("/var/lib/sluice/usage.db")
/// ```
/// The file is made with mode 0600 when it is first needed; its directory must exist. It is kept in WAL mode with
/// `synchronous = FULL`: a batch that was added survives a kill and a power cut. At one transaction a second its one `fsync`
/// costs nothing to speak of.
///
/// Opening it fails with the first call, not here, and is tried again with every call: so a ledger may be out when the program
/// starts. A call waits at most `busyTimeout` for a file that another program has locked.
public final class SQLiteLedger: UsageLedger {
  /// What may be done with the file.
  public enum Access: Sendable, Hashable {
    case readWrite
    /// For who only looks: adds nothing, makes nothing. May be used while a server writes.
    case readOnly
  }

  public let path: String
  public let access: Access
  private let busyTimeout: Duration
  private let maxBytes: Int?
  private let writing: SQLiteDesk
  /// A connection of its own: questions are answered while a batch waits for a lock.
  private let reading: SQLiteDesk

  /// - Parameters:
  ///   - busyTimeout: how long a call waits for a lock of another program, 0 to 60 s.
  ///   - maxBytes: how large the file may become, 64 KiB or more; `nil`: as the disk allows. Beyond it the ledger is out
  ///     (``LedgerError/unavailable(_:)``).
  public init(
    _ path: String, access: Access = .readWrite, busyTimeout: Duration = .seconds(2), maxBytes: Int? = nil
  ) {
    precondition(!path.isEmpty, "SQLiteLedger: the path is empty")
    precondition(
      (.zero ... .seconds(60)).contains(busyTimeout),
      "SQLiteLedger: busyTimeout is \(busyTimeout); allowed is 0 to 60 s")
    if let maxBytes {
      precondition(maxBytes >= 65_536, "SQLiteLedger: maxBytes is \(maxBytes); allowed is 65536 or more")
    }
    self.path = path
    self.access = access
    self.busyTimeout = busyTimeout
    self.maxBytes = maxBytes
    writing = SQLiteDesk()
    reading = SQLiteDesk()
  }

  public var name: String { "sqlite \(path)" }

  public func add(_ batch: LedgerBatch) throws {
    guard access == .readWrite else { throw LedgerError.unavailable("\(path) was opened for reading only") }
    try writing.use(open: openForWriting) { try SQLiteBatch.add(batch, $0) }
  }

  public func load(at time: UnixTime, each: (LedgerRow) throws -> Void) throws {
    try read { try SQLiteQueries.load(at: time, $0, each) }
  }

  public func account(_ account: UsageAccount, at time: UnixTime) throws -> LedgerAccount? {
    try read { try SQLiteQueries.account(account, at: time, $0) }
  }

  public func global(at time: UnixTime) throws -> LedgerAccount? {
    try read { try SQLiteQueries.global(at: time, $0) }
  }

  public func accounts(after account: UsageAccount?, limit: Int, at time: UnixTime) throws -> [LedgerAccount] {
    precondition((1...10_000).contains(limit), "accounts: the limit is \(limit); allowed is 1 to 10000")
    return try read { try SQLiteQueries.accounts(after: account, limit: limit, at: time, $0) }
  }

  public func prune(_ retention: LedgerRetention, at time: UnixTime) throws {
    guard access == .readWrite else { throw LedgerError.unavailable("\(path) was opened for reading only") }
    try writing.use(open: openForWriting) { try SQLiteBatch.prune(retention, at: time, $0) }
  }

  public func close() {
    reading.close()
    writing.close()
  }

  /// Reads what is there as of one moment.
  private func read<Result: Sendable>(_ body: (SQLiteConnection) throws -> Result) throws -> Result {
    try reading.use(open: openForReading) { connection in
      try connection.transaction("BEGIN") { try body(connection) }
    }
  }

  private func openForWriting() throws -> SQLiteConnection {
    let connection = try SQLiteConnection(path: path, isReadOnly: false, busyTimeout: busyTimeout)
    // Before anything is changed in a file that may be another program's.
    _ = try SQLiteSchema.check(connection)
    var mode = ""
    try connection.runAlone("PRAGMA journal_mode = WAL") { mode = $0.text(0) }
    guard mode == "wal" else {
      throw LedgerError.unavailable("\(path): its file system cannot share memory between programs, which WAL needs")
    }
    try connection.run("PRAGMA synchronous = FULL")
    // After a long reader or a burst the journal shrinks again.
    try connection.run("PRAGMA journal_size_limit = 67108864")
    if let maxBytes {
      let page = try connection.integer("PRAGMA page_size") ?? 4096
      try connection.run("PRAGMA max_page_count = \(max(1, Int64(maxBytes) / page))")
    }
    try SQLiteSchema.prepare(connection)
    return connection
  }

  private func openForReading() throws -> SQLiteConnection {
    // The tables must be there.
    if access == .readWrite { try writing.use(open: openForWriting) { _ in } }
    let connection = try SQLiteConnection(path: path, isReadOnly: true, busyTimeout: busyTimeout)
    guard try SQLiteSchema.check(connection) == SQLiteSchema.version else {
      throw LedgerError.rejected(
        "\(path) is empty, or of an older version: a server that writes to it brings it up to date")
    }
    return connection
  }
}

/// Holds one connection, which one thread at a time uses; opens it when it is needed, and anew after an error.
private final class SQLiteDesk: Sendable {
  private struct State {
    var connection: SQLiteConnection?
    var isClosed = false
  }

  private let state = Mutex(State())

  /// - Throws: ``LedgerError``, or what `body` throws.
  func use<Result: Sendable>(
    open: () throws -> SQLiteConnection, _ body: (SQLiteConnection) throws -> Result
  ) throws -> Result {
    try state.withLock { state in
      if state.isClosed { throw LedgerError.closed }
      if let connection = state.connection, connection.hasMoved {
        state.connection = nil
        throw LedgerError.unavailable("\(connection.path) was moved or deleted; the next attempt opens it anew")
      }
      do {
        let connection = try state.connection ?? open()
        state.connection = connection
        return try body(connection)
      } catch {
        // A file that was repaired, made writable or replaced is only seen by a new connection.
        state.connection = nil
        throw error
      }
    }
  }

  func close() {
    state.withLock { state in
      state.connection = nil
      state.isClosed = true
    }
  }
}
