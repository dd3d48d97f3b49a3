public import Pipeline
import Synchronization

/// What the engine is to a real connection: time that a test moves, random numbers that a seed decides, names and upstreams
/// from a ``MockNetwork``.
///
/// Blocking work (``offload(_:)``) runs at once, in place.
public final class TestRuntime: ConnectionRuntime {
  public let clock: ManualClock
  public let network: MockNetwork
  public let control: ConnectionControl
  private let loop: ManualLoop?
  private let shardIndex: Int
  private let log: LogRecorder
  private var random: SeededRandom
  /// The far ends of what was dialled; held until the connection is over.
  private var peers: [AnyObject] = []

  public init(
    clock: ManualClock = ManualClock(), loop: ManualLoop? = nil, network: MockNetwork = MockNetwork(),
    seed: UInt64 = 1, shard: Int = 0, log: LogRecorder = LogRecorder(),
    control: ConnectionControl = ConnectionControl()
  ) {
    self.clock = clock
    self.loop = loop
    self.network = network
    self.log = log
    self.control = control
    random = SeededRandom(seed: seed)
    shardIndex = shard
    super.init()
  }

  public override var shard: Int { shardIndex }
  public override var now: Instant { clock.now }
  public override func randomBits() -> UInt64 { random.next() }

  public override func sleep(until instant: Instant) async throws {
    _ = try await park(until: instant, isSleep: true) { _ in true }
  }

  public override func wait(for stream: any ByteStream, _ interest: Interest) async throws {
    guard let stream = stream as? MemoryStream else {
      preconditionFailure("a TestRuntime waits for a MemoryStream, not for \(type(of: stream))")
    }
    let waker = HandleWaker()
    let before = stream.waker
    defer { stream.waker = before }
    _ = try await park { handle in
      waker.handle = handle
      stream.waker = waker
      return !stream.isReady(for: interest)
    }
    withExtendedLifetime(waker) {}
  }

  public override func wait(for signal: Signal) async throws {
    var waiter: HandleSignalWaiter?
    defer { if let waiter { signal.remove(waiter) } }
    _ = try await park { handle in
      let mine = HandleSignalWaiter(handle)
      waiter = mine
      return signal.add(mine)
    }
  }

  public override func resolve(_ name: DomainName) async throws -> [IPAddress] { try network.resolve(name) }

  public override func connect(
    to destination: ApprovedDestination, timeout: Duration
  ) async throws -> any ByteStream {
    switch network.dial(destination) {
    case .fails(let rejection): throw rejection
    case .hangs:
      try await sleep(until: now + timeout)
      throw Rejection(.connectTimeout, detail: "after \(timeout)")
    case .connects(let peer):
      let (near, far) = MemoryStream.pair()
      near.remoteAddress = destination.addresses.first
      peers.append(peer.attach(to: far))
      return near
    }
  }

  /// The ways by which was dialled, as they describe themselves, where it was no plain dial. What a proxy on the way would say
  /// is not played: the network says at once what the destination does.
  public private(set) var ways: [String] = []

  public override func dial(
    _ destination: ApprovedDestination, by way: Way, timeout: Duration
  ) async throws -> Dialled {
    ways.append(way.description)
    let stream = try await connect(to: destination, timeout: timeout)
    return Dialled(stream, at: stream.remoteAddress)
  }

  /// The versions of the PROXY protocol with which upstreams were told of the client, in order; nothing is written.
  public private(set) var introductions: [ProxyProtocolVersion] = []

  public override func introduce(
    _ exchange: Exchange, to upstream: any ByteStream, as version: ProxyProtocolVersion
  ) async throws { introductions.append(version) }

  public override func offload<Result: Sendable>(
    _ work: @escaping @Sendable () throws -> Result
  ) async throws -> Result {
    try work()
  }

  public override func log(_ level: LogLevel, _ message: @autoclosure () -> String) {
    log.record(level, message())
  }

  public override func relay(
    client: any ByteStream, upstream: any ByteStream, for exchange: Exchange
  ) async throws -> Summary {
    defer { upstream.close() }
    guard let client = client as? MemoryStream, let upstream = upstream as? MemoryStream else {
      preconditionFailure("a TestRuntime relays between MemoryStreams")
    }
    var relay = MemoryRelay(client: client, upstream: upstream)
    var lease = try exchange.renewLease()
    while true {
      let moved = try relay.step(exchange, lease)
      if let ended = relay.endedBy {
        _ = try exchange.renewLease()
        return Summary(traffic: exchange.traffic, endedBy: ended)
      }
      if moved {
        lease = try exchange.renewLease()
        continue
      }
      let asking = relay.wanting(lease).subtracting(lease.resting)
      if !asking.isEmpty {
        lease = try exchange.renewLease(wanting: relay.wanting(lease))
        continue
      }
      let waker = HandleWaker()
      let wake = try await park(until: lease.renewBy) { handle in
        waker.handle = handle
        client.waker = waker
        upstream.waker = waker
        return !relay.canMove(lease) && relay.wanting(lease).subtracting(lease.resting).isEmpty
      }
      client.waker = nil
      upstream.waker = nil
      if wake == .time { lease = try exchange.renewLease(wanting: relay.wanting(lease)) }
    }
  }

  /// The one wait of the connection: until `instant`, the deadline, a cut, or a call of the handle's `wake`.
  ///
  /// - Parameter begin: hooks the handle up; false: there is nothing to wait for.
  private func park(
    until instant: Instant = .distantFuture, isSleep: Bool = false, _ begin: (WakeHandle) throws -> Bool
  ) async throws -> ManualClock.Wake {
    try control.check()
    if deadline <= now { throw DeadlineExceeded(deadline: deadline) }
    let handle = clock.newHandle()
    guard try begin(handle) else { return .event }
    control.began(handle)
    let wake = await clock.park(
      handle, until: min(instant, deadline), isSleep: isSleep || instant != .distantFuture, on: loop)
    control.ended()
    try control.check()
    if wake == .time, deadline <= now, deadline <= instant { throw DeadlineExceeded(deadline: deadline) }
    return wake
  }

  /// Waits until a test says something.
  func waitForTest(_ begin: (WakeHandle) -> Bool) async throws { _ = try await park(begin) }
}

/// Cuts a connection from outside: a client that went away, a drain.
public final class ConnectionControl: Sendable {
  private struct State {
    var cut: Rejection?
    var parked: WakeHandle?
  }

  private let state = Mutex(State())

  public init() {}

  /// Ends whatever the connection waits for, now or later, with this error.
  public func cut(_ kind: Rejection.Kind) {
    let parked = state.withLock { state in
      state.cut = state.cut ?? Rejection(kind)
      return state.parked
    }
    parked?.wake()
  }

  func check() throws {
    if let cut = state.withLock({ $0.cut }) { throw cut }
  }

  func began(_ handle: WakeHandle) {
    let isCut = state.withLock { state in
      precondition(state.parked == nil, "a connection waits for one thing at a time")
      state.parked = handle
      return state.cut != nil
    }
    if isCut { handle.wake() }
  }

  func ended() { state.withLock { $0.parked = nil } }
}

final class HandleWaker: StreamWaker {
  var handle: WakeHandle?
  func wake(_ stream: any ByteStream) { handle?.wake() }
}

private final class HandleSignalWaiter: SignalWaiter {
  private let handle: WakeHandle
  init(_ handle: WakeHandle) { self.handle = handle }
  func signalled() { handle.wake() }
}

extension MemoryStream {
  func isReady(for interest: Interest) -> Bool {
    switch interest {
    case .readable: readableCount > 0 || hasEnded || isReset
    case .writable: hasRoom || isReset
    }
  }
}

extension Lease {
  /// The ways that must not ask before `renewBy`.
  fileprivate var resting: Directions {
    var resting: Directions = []
    if up == 0 { resting.insert(.up) }
    if down == 0 { resting.insert(.down) }
    return resting
  }
}

/// A pump over two streams in memory, with leases: what the engine's relay does, without its speed.
private struct MemoryRelay {
  let client: MemoryStream
  let upstream: MemoryStream
  var upEnded = false
  var downEnded = false
  var endedBy: Party?
  private var firstToEnd: Party?

  init(client: MemoryStream, upstream: MemoryStream) {
    self.client = client
    self.upstream = upstream
  }

  mutating func step(_ exchange: Exchange, _ lease: Lease) throws -> Bool {
    let up = upEnded ? 0 : try move(.client, from: client, to: upstream, atMost: lease.up)
    let down = downEnded ? 0 : try move(.upstream, from: upstream, to: client, atMost: lease.down)
    if up > 0 || down > 0 { exchange.isCommitted = true }
    exchange.traffic.up += UInt64(up)
    exchange.traffic.down += UInt64(down)
    if upEnded, downEnded { endedBy = firstToEnd }
    return up > 0 || down > 0
  }

  /// The ways that have bytes and no lease.
  func wanting(_ lease: Lease) -> Directions {
    var wanting: Directions = []
    if !upEnded, lease.up <= 0, client.readableCount > 0 { wanting.insert(.up) }
    if !downEnded, lease.down <= 0, upstream.readableCount > 0 { wanting.insert(.down) }
    return wanting
  }

  /// Whether a step would move something: a peer may have answered while the last one was under way.
  func canMove(_ lease: Lease) -> Bool {
    func ready(_ source: MemoryStream, _ sink: MemoryStream, _ limit: Int) -> Bool {
      (source.readableCount > 0 && limit > 0 && sink.hasRoom) || source.hasEnded || source.isReset || sink.isReset
    }
    return (!upEnded && ready(client, upstream, lease.up)) || (!downEnded && ready(upstream, client, lease.down))
  }

  private mutating func move(
    _ party: Party, from source: MemoryStream, to sink: MemoryStream, atMost limit: Int
  ) throws -> Int {
    let other: Party = party == .client ? .upstream : .client
    let bytes = try blaming(party) { try source.take(atMost: min(max(limit, 0), sink.room)) }
    if !bytes.isEmpty { try blaming(other) { _ = try sink.write(bytes) } }
    if source.hasEnded {
      if party == .client { upEnded = true } else { downEnded = true }
      firstToEnd = firstToEnd ?? party
      try blaming(other) { try sink.finishWriting() }
    }
    return bytes.count
  }

  /// Says whose stream it was that was reset.
  private func blaming<Result>(_ party: Party, _ body: () throws -> Result) throws -> Result {
    do {
      return try body()
    } catch StreamError.reset {
      throw Rejection(party == .client ? .clientGone : .upstreamReset)
    }
  }
}
