internal import Pipeline

/// A task on a loop that serves no client: the parking place of what an element runs there for all exchanges of the loop.
///
/// It waits as a `Connection` does, by one continuation and one lazy timer, and can be woken from any thread.
final class LoopTask: LoopRuntime, ParkedTask, LoopBell, LoopMessage, TimerTarget, RequeuedWork, @unchecked Sendable {
  // Sound as Sendable: everything that changes is used on the loop's thread alone (see `Loop`); `ring` and `cancel` go there.

  /// What the task is parked on, which says what may wake it.
  private enum Parking {
    /// The task runs.
    case running
    /// The others' turn, of its own accord.
    case turn
    /// A stream, or the bell.
    case stream(writing: Bool)
    /// Any stream: attempts to connect.
    case streams
    case time
    /// Work elsewhere, which comes back with the ticket of this wait.
    case work
  }

  /// What ended a wait.
  private enum Wake {
    case event
    /// The wait's own limit, not the deadline.
    case time
    case deadline
    case cancelled
  }

  /// Operations that may go on without waiting before the task lets others run.
  private static let operationsPerTurn = 32

  let loop: Loop
  private let engine: Engine
  private let label = StallLabel.named("background task")
  private var parking = Parking.running
  private var continuation: UnsafeContinuation<Void, Never>?
  private var wake = Wake.event
  private var awaited: (any ByteStream)?
  private var waitEnds = Instant.distantFuture
  /// Counts waits, so that late results of an earlier one wake nobody.
  private var ticket: UInt64 = 0
  private var operations = LoopTask.operationsPerTurn
  private var timer = LazyTimer()
  private var isRung = false
  private var isCancelled = false

  private init(_ loop: Loop, _ engine: Engine) {
    self.loop = loop
    self.engine = engine
    super.init()
  }

  /// Runs `body` on the loop and waits for its end.
  static func run(
    on loop: Loop, of engine: Engine, _ body: @escaping @Sendable (LoopRuntime) async throws -> Void
  ) async throws {
    let parked = LoopTask(loop, engine)
    let task = Task(executorPreference: loop) {
      loop.stall.setLabel(parked.label)
      defer { parked.ended() }
      try await body(parked)
    }
    try await withTaskCancellationHandler {
      try await task.value
    } onCancel: {
      task.cancel()
      parked.cancel()
    }
  }

  private func ended() {
    timer.cancel(on: loop)
    awaited?.waker = nil
    awaited = nil
  }

  private func cancel() {
    loop.post { [self] _ in
      isCancelled = true
      resume(.cancelled)
    }
  }

  // MARK: The bell

  override var bell: any LoopBell { self }

  func ring() {
    if loop.isCurrent { rung() } else { loop.post(self) }
  }

  func received(on loop: Loop) { rung() }

  private func rung() {
    if case .stream = parking { resume(.event) } else { isRung = true }
  }

  // MARK: Parking

  private func checkBeforeWaiting() throws {
    if isCancelled { throw CancellationError() }
    if deadline <= loop.now { throw DeadlineExceeded(deadline: deadline) }
  }

  /// True when the awaited happened, false when `limit` passed.
  private func park(_ parking: Parking, until limit: Instant) async throws -> Bool {
    self.parking = parking
    waitEnds = limit
    timer.ensure(by: min(limit, deadline), on: loop, self)
    await suspend { self.continuation = $0 }
    operations = Self.operationsPerTurn
    loop.stall.setLabel(label)
    switch wake {
    case .event: return true
    case .time: return false
    case .deadline: throw DeadlineExceeded(deadline: deadline)
    case .cancelled: throw CancellationError()
    }
  }

  private func resume(_ wake: Wake) {
    guard let continuation else { return }
    if case .turn = parking { return }
    finish(continuation, wake)
  }

  private func finish(_ continuation: UnsafeContinuation<Void, Never>, _ wake: Wake) {
    self.continuation = nil
    self.wake = wake
    parking = .running
    ticket &+= 1
    continuation.resume()
  }

  /// A task that finds everything ready never waits, and the loop would never poll: now and then it steps back.
  private func spendOperation() async {
    operations -= 1
    if operations > 0 { return }
    operations = Self.operationsPerTurn
    parking = .turn
    loop.requeue(self)
    await suspend { self.continuation = $0 }
    loop.stall.setLabel(label)
  }

  func resumeWork() {
    if case .turn = parking, let continuation { finish(continuation, .event) }
  }

  // MARK: What wakes

  func wake(_ stream: any ByteStream) {
    switch parking {
    case .running, .turn, .time, .work: return
    case .streams: resume(.event)
    case .stream(let writing):
      if stream === awaited, isReady(stream, writing: writing) { resume(.event) }
    }
  }

  func timerFired() {
    timer.fired()
    switch parking {
    case .running, .turn: return
    case .stream, .streams, .time, .work: break
    }
    let nearest = min(waitEnds, deadline)
    if loop.now < nearest { return timer.ensure(by: nearest, on: loop, self) }
    resume(deadline <= loop.now ? .deadline : .time)
  }

  func workEnded(_ ticket: UInt64) {
    if self.ticket == ticket, case .work = parking { resume(.event) }
  }

  /// A stream that is no socket only says that something may have changed: whoever waits looks again.
  private func isReady(_ stream: any ByteStream, writing: Bool) -> Bool {
    guard let socket = stream as? Socket else { return true }
    return socket.mayRead || (writing && socket.mayWrite) || socket.isBroken || socket.descriptor < 0
  }

  // MARK: What the task sees

  override var shard: Int { loop.index }

  override var now: Instant { loop.now }

  override func randomBits() -> UInt64 { loop.randomBits() }

  override func log(_ level: LogLevel, _ message: @autoclosure () -> String) { engine.log(level, message()) }

  override func sleep(until instant: Instant) async throws {
    try checkBeforeWaiting()
    if instant <= Loop.preciseNow { return await spendOperation() }
    _ = try await park(.time, until: instant)
  }

  override func wait(for stream: (any ByteStream)?, writing: Bool, until limit: Instant) async throws {
    try checkBeforeWaiting()
    watch(stream)
    let isReady = (stream as? Socket).map { self.isReady($0, writing: writing) } ?? false
    if isRung || isReady || limit <= loop.now {
      isRung = false
      return await spendOperation()
    }
    _ = try await park(.stream(writing: writing), until: limit)
    isRung = false
  }

  override func wait(for stream: any ByteStream, _ interest: Interest) async throws {
    while true {
      try checkBeforeWaiting()
      watch(stream)
      guard let socket = stream as? Socket else {
        _ = try await park(.stream(writing: interest == .writable), until: .distantFuture)
        return
      }
      switch interest {
      case .readable where socket.mayRead: return await spendOperation()
      case .writable where socket.mayWrite: return await spendOperation()
      case .readable, .writable: break
      }
      if socket.isBroken || socket.descriptor < 0 { return }
      // The bell wakes this wait, too; it is heard again by the next one that listens to it.
      _ = try await park(.stream(writing: interest == .writable), until: .distantFuture)
      if !isReady(socket, writing: interest == .writable) { isRung = true }
    }
  }

  private func watch(_ stream: (any ByteStream)?) {
    if let old = awaited, old !== stream { old.waker = nil }
    stream?.waker = self
    awaited = stream
  }

  override func wait(for signal: Signal) async throws {
    if signal.hasFired { return await spendOperation() }
    try await awaitSignal(signal)
  }

  override func resolve(_ name: DomainName) async throws -> [IPAddress] {
    try await engine.resolver.resolve(name, for: self)
  }

  override func connect(to destination: ApprovedDestination, timeout: Duration) async throws -> any ByteStream {
    try await Dialer(self, engine.dialing, timeout: timeout).dial(destination.addresses)
  }

  override func dial(_ destination: ApprovedDestination, by way: Way, timeout: Duration) async throws -> Dialled {
    try await WayDialer(self, engine.dialing, way).dial(destination, timeout: timeout)
  }

  override func offload<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await awaitOffloaded(work, on: engine.offloadPool)
  }

  // MARK: For the dialer and the resolver

  func awaitWork(_ start: (_ ticket: UInt64) throws -> Bool) async throws {
    try checkBeforeWaiting()
    guard try start(ticket) else { return await spendOperation() }
    _ = try await park(.work, until: .distantFuture)
  }

  func awaitSockets(until limit: Instant) async throws -> Bool {
    try checkBeforeWaiting()
    if limit <= loop.now { return false }
    return try await park(.streams, until: limit)
  }
}
