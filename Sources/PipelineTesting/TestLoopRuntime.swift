public import Pipeline
import Synchronization

/// What ``ManualServices`` gives to a task on a loop: time that a test moves, upstreams from a ``MockNetwork``.
///
/// It runs where its caller runs; streams in memory belong to its task alone.
final class TestLoopRuntime: LoopRuntime {
  private let services: ManualServices
  private let index: Int
  let parked = TestBell()
  /// The far ends of what was dialled; held until the task is over.
  private var peers: [AnyObject] = []

  init(_ services: ManualServices, index: Int) {
    self.services = services
    self.index = index
    super.init()
  }

  override var shard: Int { index }
  override var now: Instant { services.clock.now }
  override var bell: any LoopBell { parked }
  override func randomBits() -> UInt64 { services.randomBits() }
  override func log(_ level: LogLevel, _ message: @autoclosure () -> String) { services.log(level, message()) }
  override func resolve(_ name: DomainName) async throws -> [IPAddress] { try services.network.resolve(name) }
  override func sleep(until instant: Instant) async throws { try await park(until: instant) { _ in true } }

  override func wait(for stream: (any ByteStream)?, writing: Bool, until limit: Instant) async throws {
    guard let stream else { return try await park(until: limit, hearsBell: true) { _ in true } }
    try await wait(for: stream, [.readable] + (writing ? [.writable] : []), until: limit, hearsBell: true)
  }

  override func wait(for stream: any ByteStream, _ interest: Interest) async throws {
    try await wait(for: stream, [interest], until: .distantFuture, hearsBell: false)
  }

  private func wait(
    for stream: any ByteStream, _ interests: [Interest], until limit: Instant, hearsBell: Bool
  ) async throws {
    guard let stream = stream as? MemoryStream else {
      preconditionFailure("a TestLoopRuntime waits for a MemoryStream, not for \(type(of: stream))")
    }
    let waker = HandleWaker()
    try await park(until: limit, hearsBell: hearsBell) { handle in
      waker.handle = handle
      stream.waker = waker
      return !interests.contains { stream.isReady(for: $0) }
    }
    withExtendedLifetime(waker) {}
  }

  override func connect(to destination: ApprovedDestination, timeout: Duration) async throws -> any ByteStream {
    switch services.network.dial(destination) {
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

  override func dial(_ destination: ApprovedDestination, by way: Way, timeout: Duration) async throws -> Dialled {
    let stream = try await connect(to: destination, timeout: timeout)
    return Dialled(stream, at: stream.remoteAddress)
  }

  private func park(until instant: Instant, hearsBell: Bool = false, _ begin: (WakeHandle) -> Bool) async throws {
    if parked.isCancelled { throw CancellationError() }
    if deadline <= now { throw DeadlineExceeded(deadline: deadline) }
    let handle = services.clock.newHandle()
    if begin(handle), parked.began(handle, hearsBell: hearsBell) {
      let limit = min(instant, deadline)
      _ = await services.clock.park(handle, until: limit, isSleep: limit != .distantFuture, on: nil)
    }
    parked.ended(hearsBell: hearsBell)
    if parked.isCancelled { throw CancellationError() }
    if deadline <= now, deadline <= instant { throw DeadlineExceeded(deadline: deadline) }
  }
}

final class TestBell: LoopBell {
  private struct State {
    var isRung = false
    var isCancelled = false
    var hearsBell = false
    var handle: WakeHandle?
  }

  private let state = Mutex(State())

  var isCancelled: Bool { state.withLock { $0.isCancelled } }

  func ring() {
    let handle = state.withLock { state in
      state.isRung = true
      return state.hearsBell ? state.handle : nil
    }
    handle?.wake()
  }

  /// Ends the present wait, and every later one.
  func cancel() {
    let handle = state.withLock { state in
      state.isCancelled = true
      return state.handle
    }
    handle?.wake()
  }

  /// False: there is nothing to wait for.
  func began(_ handle: WakeHandle, hearsBell: Bool) -> Bool {
    state.withLock { state in
      if state.isCancelled || (hearsBell && state.isRung) { return false }
      state.handle = handle
      state.hearsBell = hearsBell
      return true
    }
  }

  func ended(hearsBell: Bool) {
    state.withLock { state in
      state.handle = nil
      if hearsBell { state.isRung = false }
    }
  }
}

extension ManualServices {
  public var loops: Int { loopCount }

  public func run(on loop: Int, _ body: @escaping @Sendable (LoopRuntime) async throws -> Void) async throws {
    let runtime = TestLoopRuntime(self, index: loop)
    let parked = runtime.parked
    try await withTaskCancellationHandler {
      try await body(runtime)
    } onCancel: {
      parked.cancel()
    }
  }
}
