internal import Glibc
internal import Pipeline

/// What the engine offers to the exchanges of one client connection: the parking place of its task.
///
/// One task serves a connection, so at most one wait is under way, and one continuation is enough. Whatever is waited
/// for (a stream, an instant, a thread of the offload pool, a look-up, attempts to connect, a relay), the wait also ends
/// by the deadline, by the loss of the client, and by a cut. Waiting allocates nothing: the continuation is stored here,
/// carries no value, and what woke the task is read afterwards. The deadline's timer is shared by all waits (see
/// `LazyTimer`).
final class Connection: ConnectionRuntime, ParkedTask, TimerTarget, RequeuedWork, @unchecked Sendable {
  // Sound as Sendable: everything here is used on the loop's thread alone (see `Loop`).

  /// What the task is parked on, which says what may wake it.
  private enum Parking {
    /// The task runs.
    case running
    /// The others' turn, of its own accord.
    case turn
    case stream(Interest)
    /// The client's next request. Nothing is under way, so a drain ends this wait.
    case idle
    /// Either of two streams.
    case pair(StreamInterest, StreamInterest)
    /// Any stream but the client's: attempts to connect.
    case streams
    case time
    /// Work elsewhere, which comes back with the ticket of this wait.
    case work
    case relay(Relay)
  }

  /// What ended a wait.
  enum Wake {
    case event
    /// The wait's own limit, not the deadline.
    case time
    case deadline
    case clientGone
    case cut
  }

  /// Operations that may go on without waiting before the task lets others run.
  private static let operationsPerTurn = 32

  let loop: Loop
  let engine: Engine
  let client: Socket
  /// The name under which the watchdog reports a stall in this connection's task.
  let label: StallLabel
  /// The place in `loop.connections`.
  var place = -1
  /// Whether a FIN of the client counts as its loss while the task waits for something else. Not in a tunnel, where it is
  /// half-close.
  var finishedClientIsGone = false

  /// The address that the client connected to, where a PROXY protocol header names another than our own.
  var announcedDestination: SocketAddress?
  /// As whom it is counted, where connections per client are limited.
  var countedAs: ClientKey?
  /// Whether the work for the client goes on when it has left: it has its answer already.
  var outlivesClient = false
  /// Who accepted it; a drain is asked for by it.
  private let owner: ObjectIdentifier?
  /// What is under way may end, and nothing new should begin.
  private(set) var isDraining = false

  /// Who serves the next exchange; set by a reload, taken by the transport.
  var successor: (any ConnectionHandler)?
  /// What is served at present, for the list of open exchanges; set and cleared by the transport.
  var exchange: Exchange?

  private(set) var isCut = false
  private var task: ConnectionTask?
  private var body: (@Sendable (Connection) async -> Void)?
  private var parking = Parking.running
  private var continuation: UnsafeContinuation<Void, Never>?
  private var wake = Wake.event
  private var awaited: ObjectIdentifier?
  private var waitEnds = Instant.distantFuture
  /// Counts waits, so that late results of an earlier one wake nobody.
  private var ticket: UInt64 = 0
  private var operations = Connection.operationsPerTurn
  private var timer = LazyTimer()

  private init(_ client: Socket, engine: Engine, label: StallLabel, owner: ObjectIdentifier?) {
    self.client = client
    self.owner = owner
    self.loop = client.loop
    self.engine = engine
    self.label = label
    super.init()
    client.setWaker(self)
  }

  /// Starts the task that serves an accepted socket. The socket is closed when `body` has returned, if it is not by then.
  ///
  /// To be called on the socket's loop.
  @discardableResult
  static func serve(
    _ client: Socket, on engine: Engine, label: StallLabel, owner: ObjectIdentifier? = nil,
    _ body: @escaping @Sendable (Connection) async -> Void
  ) -> Connection {
    let connection = Connection(client, engine: engine, label: label, owner: owner)
    let loop = client.loop
    loop.connections.insert(connection)
    loop.counters.connections.add(1)
    connection.body = body
    connection.task = ConnectionTask.serve(connection)
    return connection
  }

  /// From the first byte to the end of the connection. In its task.
  func serve() async {
    if let body { await body(self) }
    ended()
  }

  private func ended() {
    exchange = nil
    client.close()
    client.waker = nil
    timer.cancel(on: loop)
    loop.connections.remove(self)
    loop.counters.connections.add(-1)
    task = nil
    body = nil
  }

  /// Ends the present wait, and every later one at once, with `Rejection(.draining)`; what the task awaits elsewhere sees
  /// its cancellation. To be called on the loop.
  func cut() {
    guard !isCut else { return }
    isCut = true
    task?.cancel()
    if case .relay(let relay) = parking { relay.cut() } else { resume(.cut) }
  }

  /// Lets what is under way end. A connection that waits for its client's next request ends at once. To be called on the loop.
  func drain(_ owner: ObjectIdentifier) {
    guard self.owner == owner, !isDraining else { return }
    isDraining = true
    if case .idle = parking { resume(.time) }
  }

  /// Lets another handler serve what comes next. To be called on the loop.
  func handOver(_ owner: ObjectIdentifier, to successor: any ConnectionHandler) {
    guard self.owner == owner, !isDraining else { return }
    self.successor = successor
    // It waits for its client by the limits of the new configuration from now on.
    if case .idle = parking { resume(.event) }
  }

  // MARK: Parking

  /// Throws what would end a wait at once.
  private func checkBeforeWaiting(mayLoseClient: Bool) throws {
    if isCut { throw Self.cutRejection }
    if mayLoseClient, isClientGone { throw Rejection(.clientGone) }
    if deadline <= loop.now { throw DeadlineExceeded(deadline: deadline) }
  }

  static var cutRejection: Rejection { Rejection(.draining, detail: "the connection was cut") }

  private var isClientGone: Bool {
    if outlivesClient { return false }
    return client.isBroken || (finishedClientIsGone && client.readiness.contains(.hangUp))
  }

  /// Parks the task until something wakes it, at most until `limit`.
  ///
  /// - Returns: true when the awaited happened, false when `limit` passed.
  @inline(__always)
  private func park(_ parking: Parking, on awaited: AnyObject?, until limit: Instant) async throws -> Bool {
    self.parking = parking
    self.awaited = awaited.map(ObjectIdentifier.init)
    waitEnds = limit
    timer.ensure(by: min(limit, deadline), on: loop, self)
    await suspend { self.continuation = $0 }
    operations = Self.operationsPerTurn
    loop.stall.setLabel(label)
    switch wake {
    case .event: return true
    case .time: return false
    case .deadline: throw DeadlineExceeded(deadline: deadline)
    case .clientGone: throw Rejection(.clientGone)
    case .cut: throw Self.cutRejection
    }
  }

  @inline(__always)
  private func resume(_ wake: Wake) {
    guard let continuation else { return }
    self.continuation = nil
    self.wake = wake
    parking = .running
    awaited = nil
    ticket &+= 1
    continuation.resume()
  }

  /// A task that finds everything ready never waits, and the loop would never poll: now and then it steps back.
  @inline(__always)
  private func spendOperation() async {
    operations -= 1
    if operations > 0 { return }
    await stepBack()
  }

  /// Goes on after everything that is ready to run now.
  private func stepBack() async {
    operations = Self.operationsPerTurn
    parking = .turn
    loop.requeue(self)
    // A continuation that is resumed before the task has stopped lets it run on; hence the way through the loop.
    await suspend { self.continuation = $0 }
    loop.stall.setLabel(label)
  }

  func resumeWork() {
    if case .turn = parking { resume(.event) }
  }

  // MARK: What wakes

  func wake(_ stream: any ByteStream) { wake(ObjectIdentifier(stream), stream as? Socket) }

  func wake(_ socket: Socket) { wake(ObjectIdentifier(socket), socket) }

  /// - Parameter socket: `nil`: the stream is none, and only says that something may have changed: whoever waits looks again.
  @inline(__always)
  private func wake(_ stream: ObjectIdentifier, _ socket: Socket?) {
    let isOfClient = stream == ObjectIdentifier(client)
    switch parking {
    case .running, .turn, .relay:
      return
    case .stream(let interest) where stream == awaited:
      if socket.map({ isReady($0, interest) }) ?? true { return resume(.event) }
    case .streams where !isOfClient:
      return resume(.event)
    case .idle:
      return resume(.event)
    case .pair(let first, let second):
      if first.isReady || second.isReady { return resume(.event) }
      if isOfClient, !first.reads(client), !second.reads(client), isClientGone { resume(.clientGone) }
      return
    case .stream, .streams, .time, .work:
      break
    }
    if isOfClient, awaited != stream, isClientGone { resume(.clientGone) }
  }

  func timerFired() {
    timer.fired()
    switch parking {
    // A relay keeps its own time; the others begin with a look at the clock.
    case .relay, .running, .turn: return
    case .stream, .idle, .pair, .streams, .time, .work: break
    }
    let nearest = min(waitEnds, deadline)
    if loop.now < nearest { return timer.ensure(by: nearest, on: loop, self) }
    resume(deadline <= loop.now ? .deadline : .time)
  }

  /// Work elsewhere has ended. To be called on the loop.
  func workEnded(_ ticket: UInt64) {
    if self.ticket == ticket, case .work = parking { resume(.event) }
  }

  private func isReady(_ socket: Socket, _ interest: Interest) -> Bool {
    switch interest {
    case .readable: return socket.mayRead || socket.descriptor < 0
    case .writable: return socket.mayWrite || socket.descriptor < 0
    }
  }

  // MARK: What the chain sees

  override var shard: Int { loop.index }

  override var current: CurrentElement? { loop.stall.current }

  override var now: Instant { loop.now }

  override func randomBits() -> UInt64 { loop.randomBits() }

  override func log(_ level: LogLevel, _ message: @autoclosure () -> String) { engine.log(level, message()) }

  override func sleep(until instant: Instant) async throws {
    try checkBeforeWaiting(mayLoseClient: true)
    // The turn may have begun a while ago; a sleep that is over by the clock is not entered.
    if instant <= Loop.preciseNow { return await spendOperation() }
    _ = try await park(.time, on: nil, until: instant)
  }

  override func wait(for stream: any ByteStream, _ interest: Interest) async throws {
    try checkBeforeWaiting(mayLoseClient: stream !== client)
    if let socket = stream as? Socket {
      if isReady(socket, interest) { return await spendOperation() }
    } else {
      stream.waker = self
    }
    _ = try await park(.stream(interest), on: stream, until: .distantFuture)
  }

  // MARK: For transports that look after two streams

  /// Waits until a socket may be read or written, at most until `limit`: false when that passed first.
  ///
  /// Inlined as `waitIdle` is: each return through an async layer asks the runtime where its caller belongs.
  @inline(__always)
  func wait(for socket: Socket, _ interest: Interest, until limit: Instant) async throws -> Bool {
    try checkBeforeWaiting(mayLoseClient: socket !== client)
    if isReady(socket, interest) {
      await spendOperation()
      return true
    }
    if limit <= loop.now { return false }
    return try await park(.stream(interest), on: socket, until: limit)
  }

  /// Waits until either stream is ready for what is wanted of it, at most until `limit`: false when that passed first.
  ///
  /// A stream of which nothing is wanted wakes nobody. The loss of the client ends the wait, unless its bytes are wanted:
  /// then its end is what the reader finds.
  func wait(for first: StreamInterest, or second: StreamInterest, until limit: Instant) async throws -> Bool {
    try checkBeforeWaiting(mayLoseClient: !first.reads(client) && !second.reads(client))
    first.setWaker(self)
    second.setWaker(self)
    if first.isKnownReady || second.isKnownReady {
      await spendOperation()
      return true
    }
    if limit <= loop.now { return false }
    return try await park(.pair(first, second), on: nil, until: limit)
  }

  /// Waits for the first byte of the client's next request, at most until `limit` or until a drain: false then.
  @inline(__always)
  func waitIdle(until limit: Instant) async throws -> Bool {
    try checkBeforeWaiting(mayLoseClient: false)
    if client.mayRead {
      await spendOperation()
      return true
    }
    if isDraining || limit <= loop.now { return false }
    return try await park(.idle, on: client, until: limit)
  }

  /// Lets the others run, now and then: to be called by whoever goes on for long without having to wait.
  @inline(__always)
  func passTurn() async { await spendOperation() }

  override func resolve(_ name: DomainName) async throws -> [IPAddress] {
    try await engine.resolver.resolve(name, for: self)
  }

  override func connect(to destination: ApprovedDestination, timeout: Duration) async throws -> any ByteStream {
    try await Dialer(self, engine.dialing, timeout: timeout).dial(destination.addresses)
  }

  override func dial(_ destination: ApprovedDestination, by way: Way, timeout: Duration) async throws -> Dialled {
    try await WayDialer(self, engine.dialing, way).dial(destination, timeout: timeout)
  }

  override func introduce(
    _ exchange: Exchange, to upstream: any ByteStream, as version: ProxyProtocolVersion
  ) async throws {
    try await sendProxyHeader(of: exchange, to: upstream, as: version)
  }

  override func relay(
    client: any ByteStream, upstream: any ByteStream, for exchange: Exchange
  ) async throws -> Summary {
    do {
      // The relay itself sees a client that is gone; it also knows who was it.
      try checkBeforeWaiting(mayLoseClient: false)
    } catch {
      upstream.abort()
      throw error
    }
    let relay = Relay(client: client, upstream: upstream, exchange: exchange, connection: self)
    // A relay may end in its first turn, before there is anything to wait for.
    if !relay.begin() {
      parking = .relay(relay)
      await suspend { self.continuation = $0 }
      operations = Self.operationsPerTurn
      loop.stall.setLabel(label)
    }
    client.waker = self
    return try relay.result()
  }

  /// The relay has ended.
  func relayEnded() { resume(.event) }

  override func wait(for signal: Signal) async throws {
    if signal.hasFired { return await spendOperation() }
    try await awaitSignal(signal)
  }

  override func offload<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await awaitOffloaded(work, on: engine.offloadPool)
  }

  // MARK: For the dialer and the resolver

  /// Starts work elsewhere, which calls `workEnded` with the ticket on this loop, and waits for it; `start` returns false
  /// when there is nothing to wait for.
  func awaitWork(_ start: (_ ticket: UInt64) throws -> Bool) async throws {
    try checkBeforeWaiting(mayLoseClient: true)
    guard try start(ticket) else { return await spendOperation() }
    _ = try await park(.work, on: nil, until: .distantFuture)
  }

  /// Waits until one of the sockets that are being connected has news. False when `limit` passed first.
  func awaitSockets(until limit: Instant) async throws -> Bool {
    try checkBeforeWaiting(mayLoseClient: true)
    if limit <= loop.now { return false }
    return try await park(.streams, on: nil, until: limit)
  }
}
