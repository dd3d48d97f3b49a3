#if PostgreSQL
  internal import CPostgreSQL
  public import Middlewares
  public import Pipeline
  internal import Synchronization

  /// A ledger in PostgreSQL, through libpq: for several machines, or where there is a database anyway. Needs the package trait
  /// `PostgreSQL` and version 12 of the server or newer.
  ///
  /// ```swift
  /// let ledger = try PostgreSQLLedger("postgres://sluice:secret@10.0.0.5:5432/usage")
  /// ```
  /// Its tables are in the schema `sluice`, which it makes where it is not there. It connects with the first call, not here, and
  /// anew after every error, so a server may be out when the program starts. A call takes at most `limit`, also where the server
  /// hangs (``load(at:each:)``: as long as rows come). The password is in no log and no error.
  public final class PostgreSQLLedger: UsageLedger {
    /// What may be done.
    public enum Access: Sendable, Hashable {
      case readWrite
      /// For who only looks: adds nothing, makes nothing.
      case readOnly
    }

    public let name: String
    public let access: Access
    private let url: Secret<String>
    private let limit: Duration
    private let writing = PostgreSQLDesk()
    /// A connection of its own: questions are answered while a batch waits for a lock.
    private let reading = PostgreSQLDesk()

    /// - Parameters:
    ///   - url: as libpq understands it: `postgres://user:password@host:port/database?sslmode=require`. What it leaves out comes
    ///     from libpq's environment and password file.
    ///   - limit: of one call, 1 to 60 s.
    /// - Throws: ``LedgerError/rejected(_:)`` for something else.
    public init(_ url: String, access: Access = .readWrite, limit: Duration = .seconds(5)) throws(LedgerError) {
      precondition(
        (.seconds(1) ... .seconds(60)).contains(limit), "PostgreSQLLedger: the limit is \(limit); allowed is 1 to 60 s")
      // libpq's own message may repeat a part of the URL that is the password.
      let problem = LedgerError.rejected(
        "the URL of the ledger is none of the form postgres://user:password@host:port/database")
      guard url.hasPrefix("postgres://") || url.hasPrefix("postgresql://"), let parts = PQconninfoParse(url, nil) else {
        throw problem
      }
      defer { PQconninfoFree(parts) }
      var found: [String: String] = [:]
      var part = parts
      while let keyword = part.pointee.keyword {
        if let value = part.pointee.val { found[String(cString: keyword)] = String(cString: value) }
        part += 1
      }
      let user = found["user"].map { "\($0)@" } ?? ""
      let port = found["port"].map { ":\($0)" } ?? ""
      name = "postgres \(user)\(found["host"] ?? "")\(port)/\(found["dbname"] ?? "")"
      self.url = Secret(url)
      self.access = access
      self.limit = limit
    }

    public func add(_ batch: LedgerBatch) throws {
      guard access == .readWrite else { throw LedgerError.unavailable("\(name) was opened for reading only") }
      try writing.use(open: openForWriting) { try PostgreSQLBatch.add(batch, $0) }
    }

    public func load(at time: UnixTime, each: (LedgerRow) throws -> Void) throws {
      try read { connection in
        try connection.run("SET LOCAL statement_timeout = 0")
        try PostgreSQLQueries.load(at: time, connection, each)
      }
    }

    public func account(_ account: UsageAccount, at time: UnixTime) throws -> LedgerAccount? {
      try read { try PostgreSQLQueries.account(account, at: time, $0) }
    }

    public func global(at time: UnixTime) throws -> LedgerAccount? {
      try read { try PostgreSQLQueries.global(at: time, $0) }
    }

    public func accounts(after account: UsageAccount?, limit: Int, at time: UnixTime) throws -> [LedgerAccount] {
      precondition((1...10_000).contains(limit), "accounts: the limit is \(limit); allowed is 1 to 10000")
      return try read { try PostgreSQLQueries.accounts(after: account, limit: limit, at: time, $0) }
    }

    public func prune(_ retention: LedgerRetention, at time: UnixTime) throws {
      guard access == .readWrite else { throw LedgerError.unavailable("\(name) was opened for reading only") }
      try writing.use(open: openForWriting) { try PostgreSQLBatch.prune(retention, at: time, $0) }
    }

    public func close() {
      reading.close()
      writing.close()
    }

    /// Reads what is there as of one moment.
    private func read<Result: Sendable>(_ body: (PostgreSQLConnection) throws -> Result) throws -> Result {
      // The tables must be there.
      if access == .readWrite { try writing.use(open: openForWriting) { _ in } }
      return try reading.use(open: connect) { connection in
        try connection.transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") {
          try PostgreSQLSchema.check(connection, name)
          return try body(connection)
        }
      }
    }

    private func connect() throws -> PostgreSQLConnection {
      try PostgreSQLConnection(url: url.reveal(), name: name, limit: limit)
    }

    private func openForWriting() throws -> PostgreSQLConnection {
      let connection = try connect()
      try PostgreSQLSchema.prepare(connection, name)
      return connection
    }
  }

  /// Holds one connection, which one thread at a time uses; opens it when it is needed, and anew after an error.
  private final class PostgreSQLDesk: Sendable {
    private struct State {
      var connection: PostgreSQLConnection?
      var isClosed = false
    }

    private let state = Mutex(State())

    /// - Throws: ``LedgerError``, or what `body` throws.
    func use<Result: Sendable>(
      open: () throws -> PostgreSQLConnection, _ body: (PostgreSQLConnection) throws -> Result
    ) throws -> Result {
      try state.withLock { state in
        if state.isClosed { throw LedgerError.closed }
        do {
          let connection = try state.connection ?? open()
          state.connection = connection
          connection.beginCall()
          return try body(connection)
        } catch {
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
#endif
