/// What to wait for on a stream.
public enum Interest: Sendable, Hashable {
  case readable, writable
}

/// How important a line of the operational log is.
public enum LogLevel: String, Sendable, Hashable, Comparable, CaseIterable {
  case debug, info, notice, warning, error

  public static func < (a: LogLevel, b: LogLevel) -> Bool {
    allCases.firstIndex(of: a)! < allCases.firstIndex(of: b)!
  }
}

/// What the outside offers to the exchanges of one connection: time, waiting, randomness, names, dialling, relaying.
///
/// The engine implements it over its loop, `PipelineTesting` over a manual clock. It belongs to the connection's task:
/// at most one wait is under way at a time. Every wait ends early, with an error, when
/// - the deadline passes: ``DeadlineExceeded`` with that deadline,
/// - the client is gone for good (reset, not merely half-closed): `Rejection(.clientGone)`,
/// - the connection is cut, by a drain or an operator: `Rejection(.draining)`.
open class ConnectionRuntime {
  // Unchecked as the plain numbers of `Exchange` are.
  /// Absolute. Whatever the connection waits for, it waits no longer than this.
  @exclusivity(unchecked) public final var deadline = Instant.distantFuture

  public init() {}

  /// The index of the loop that serves the connection, 0 ..< number of loops.
  open var shard: Int { 0 }

  /// Where the exchanges of this loop say which element they enter; `nil`: nobody asks.
  open var current: CurrentElement? { nil }

  /// Monotonic time.
  open var now: Instant { abstract() }

  /// 64 uniformly random bits. Not for keys or tokens.
  open func randomBits() -> UInt64 { abstract() }

  /// Waits until `instant`.
  open func sleep(until instant: Instant) async throws { abstract() }

  /// Waits until `stream` may be read or written.
  open func wait(for stream: any ByteStream, _ interest: Interest) async throws { abstract() }

  /// Waits until `signal` has fired; returns at once if it has. ``Signal`` says how to implement it.
  open func wait(for signal: Signal) async throws { abstract() }

  /// The addresses of `name`, in the order in which they should be tried.
  ///
  /// - Throws: `Rejection(.nameNotFound)`, or `.overloaded` when too many look-ups are waiting.
  open func resolve(_ name: DomainName) async throws -> [IPAddress] { abstract() }

  /// Connects to one of the approved addresses (RFC 8305, Happy Eyeballs) within `timeout`.
  ///
  /// - Throws: a ``Rejection`` of kind `connectionRefused`, `networkUnreachable`, `hostUnreachable` or `connectTimeout`.
  open func connect(to destination: ApprovedDestination, timeout: Duration) async throws -> any ByteStream {
    abstract()
  }

  /// Connects by `way`: from its addresses, through its proxies. All of it, the handshakes with the proxies included, takes no
  /// longer than `timeout`.
  ///
  /// - Throws: as ``connect(to:timeout:)``; and for what a proxy answers `forbidden`, `nameNotFound`, `overloaded`,
  ///   `upstreamReset`, `upstreamProtocol` (it refuses our login, too). Its `detail` names the proxy.
  open func dial(_ destination: ApprovedDestination, by way: Way, timeout: Duration) async throws -> Dialled {
    abstract()
  }

  /// As ``dial(_:by:timeout:)``, for callers who need no more than the stream.
  public final func connect(
    to destination: ApprovedDestination, by way: Way, timeout: Duration
  ) async throws -> any ByteStream {
    if way.isPlain { return try await connect(to: destination, timeout: timeout) }
    return try await dial(destination, by: way, timeout: timeout).stream
  }

  /// Tells `upstream`, which was just dialled, who the client of `exchange` is (PROXY protocol).
  ///
  /// - Throws: `Rejection(.upstreamReset)`, safe to retry: nothing of the exchange was sent.
  open func introduce(
    _ exchange: Exchange, to upstream: any ByteStream, as version: ProxyProtocolVersion
  ) async throws { abstract() }

  /// Moves bytes both ways until both directions have ended, and returns how they did.
  ///
  /// Keeps `exchange.traffic` current and renews its leases. Closes `upstream` on every path; the client's stream stays
  /// the transport's. Sets `exchange.isCommitted` when the first byte moves.
  open func relay(client: any ByteStream, upstream: any ByteStream, for exchange: Exchange) async throws -> Summary {
    abstract()
  }

  /// Runs blocking or long work on the bounded offload pool and comes back.
  ///
  /// - Throws: what `work` throws, or `Rejection(.overloaded)` when the pool's queue is full. When the wait ends early the
  ///   work still runs to its end and its result is dropped.
  open func offload<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
    abstract()
  }

  /// Writes a line to the operational log.
  open func log(_ level: LogLevel, _ message: @autoclosure () -> String) { abstract() }

  private func abstract(_ function: StaticString = #function) -> Never {
    preconditionFailure("\(type(of: self)) does not override \(function)")
  }
}
