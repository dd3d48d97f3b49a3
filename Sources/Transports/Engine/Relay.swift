internal import Glibc
internal import Pipeline

/// Moves bytes both ways between two streams until both directions have ended: a state machine that the loop calls back,
/// with one continuation for its whole life. A round trip through it costs no task switch and no allocation.
///
/// It ends
/// - by itself: both sides have finished (FIN each way, half-close in between), or one side has reset: a `Summary`,
/// - by a limit: `Rejection(.idleTimeout)`, `.lifetimeExceeded`, what a meter throws, or `DeadlineExceeded`,
/// - by a cut of its connection: `Rejection(.draining)`.
///
/// A reset is passed on as a reset, after what had been received before it. What ends a tunnel in the middle by our will
/// resets the upstream, too, so that nobody takes a truncated stream for a whole one; the idle limit, where both sides
/// are silent, closes it in order.
final class Relay: StreamWaker, TimerTarget, RequeuedWork, GatheredOwner {
  /// How often meters hear of a tunnel that moves, at least.
  static let tick = Duration.seconds(1)
  /// Renewals of a small lease within one turn, so that a meter that grants crumbs does not hold the loop.
  private static let roundsPerTurn = 16

  private let connection: Connection
  private let loop: Loop
  private let exchange: Exchange
  private let client: RelaySide
  private let upstream: RelaySide
  private let isMetered: Bool
  private let idleTimeout: Duration?
  private let lifetimeEnds: Instant
  private let before: Traffic

  private var up: RelayDirection
  private var down: RelayDirection
  private var endPassedUp = false
  private var endPassedDown = false
  private var timer = LazyTimer()
  private var lastMove: Instant
  private var tickAt = Instant.distantFuture
  private var renewAt = Instant.distantFuture
  /// A direction with an empty lease rests until `renewAt`.
  private var upRests = false
  private var downRests = false

  /// Which side sent its FIN first.
  private var finishedFirst: Party?
  /// The side that broke. What it had sent before is still handed over, as far as the other side takes it.
  private var broken: Party?
  private var outcome: Result<Summary, any Error>?
  private var isStepping = false
  private var stepAgain = false
  private var isRequeued = false

  init(client: any ByteStream, upstream: any ByteStream, exchange: Exchange, connection: Connection) {
    self.connection = connection
    self.exchange = exchange
    loop = connection.loop
    self.client = RelaySide(client)
    self.upstream = RelaySide(upstream)
    isMetered = exchange.isMetered
    let options = exchange.listener.options
    idleTimeout = options.idleTimeout
    lastMove = loop.now
    lifetimeEnds = options.lifetime.map { exchange.startedAt + $0 } ?? .distantFuture
    before = exchange.traffic
    let maySplice = connection.engine.splices && self.client.socket != nil && self.upstream.socket != nil
    up = RelayDirection(maySplice: maySplice)
    down = RelayDirection(maySplice: maySplice)
  }

  // MARK: For the connection

  /// Begins; true when it has ended already.
  func begin() -> Bool {
    client.stream.waker = self
    upstream.stream.waker = self
    if isMetered { renewLease() }
    turn()
    if outcome == nil { armTimer() }
    return outcome != nil
  }

  /// To be called once the relay has ended.
  func result() throws -> Summary {
    guard let outcome else { preconditionFailure("the relay has not ended") }
    return try outcome.get()
  }

  func cut() { finish(.failure(Connection.cutRejection)) }

  // MARK: Turns

  func wake(_ stream: any ByteStream) { turn() }

  func keep(_ rest: UnsafeRawBufferPointer, for socket: Socket) {
    if socket === upstream.socket { up.keep(rest, loop) } else { down.keep(rest, loop) }
  }

  func resumeWork() {
    isRequeued = false
    turn()
  }

  /// One turn: both directions, as far as they get.
  private func turn() {
    if outcome != nil { return }
    // A stream in memory may wake its relay from within a write.
    if isStepping {
      stepAgain = true
      return
    }
    isStepping = true
    loop.stall.setLabel(connection.label)
    let movedBefore = up.moved &+ down.moved
    var rounds = Self.roundsPerTurn
    repeat {
      stepAgain = false
      rounds -= 1
      stepUp()
      if outcome == nil { stepDown() }
      if outcome == nil { passEndsOn() }
    } while stepAgain && outcome == nil && rounds > 0
    isStepping = false
    if outcome != nil { return }
    if stepAgain { requeue() }
    if up.moved &+ down.moved != movedBefore { noteMove() }
  }

  /// A direction that rests reads nothing, but hands over what it has read before.
  private func stepUp() {
    if broken == .upstream { return }
    if upRests, up.held == 0 {
      if hasBrokenSource(client.socket) { broke(.client) }
    } else {
      if client.mayRead { upstream.socket?.settleGathered() }
      note(up.step(client, upstream, loop, for: self), from: .client)
    }
  }

  private func stepDown() {
    if broken == .client { return }
    if downRests, down.held == 0 {
      if hasBrokenSource(upstream.socket) { broke(.upstream) }
    } else {
      if upstream.mayRead { client.socket?.settleGathered() }
      note(down.step(upstream, client, loop, for: self), from: .upstream)
    }
  }

  /// What one direction's step means for the whole.
  private func note(_ step: RelayDirection.Outcome, from source: Party) {
    switch step {
    case .moreToDo:
      requeue()
    case .sinkFailed:
      // Two broken sides: there is nobody left to hand anything to.
      if broken != nil { return finishByItself() }
      broken = source == .client ? .upstream : .client
      stepAgain = true
    case .sourceFailed:
      broke(source)
    case .blocked:
      if broken == source { return finishByItself() }
      let isClient = source == .client
      if (isClient ? up.held : down.held) > 0, hasBrokenSource(isClient ? client.socket : upstream.socket) {
        broke(source)
      }
    case .finished:
      if broken == source { return finishByItself() }
      if finishedFirst == nil { finishedFirst = source }
    case .leaseUsedUp:
      if broken == source { return finishByItself() }
      if source == .client ? upRests : downRests { return }
      renewLease(wanting: source == .client ? .up : .down)
      stepAgain = true
    }
  }

  /// A side is gone, and nothing that it sent can be handed over any more.
  private func broke(_ side: Party) {
    broken = side
    finishByItself()
  }

  /// Whether a source that is not read now (the other side takes nothing, or the lease is empty) has been reset
  /// meanwhile. Asked only when the poller has said that the socket is gone.
  private func hasBrokenSource(_ socket: Socket?) -> Bool {
    guard let socket, socket.readiness.contains(.gone) else { return false }
    return socket.takeError() != 0
  }

  private func requeue() {
    if isRequeued { return }
    isRequeued = true
    loop.requeue(self)
  }

  /// Hands a FIN on, unless everything has ended, when closing says the same with a system call less.
  private func passEndsOn() {
    if up.isFinished, down.isFinished { return finishByItself() }
    if up.isFinished, !endPassedUp {
      endPassedUp = true
      upstream.finishWriting()
    }
    if down.isFinished, !endPassedDown {
      endPassedDown = true
      client.finishWriting()
    }
  }

  private func noteMove() {
    lastMove = loop.now
    exchange.isCommitted = true
    publishTraffic()
    if isMetered, tickAt == .distantFuture {
      tickAt = loop.now + Self.tick
      timer.ensure(by: tickAt, on: loop, self)
    }
  }

  private func publishTraffic() {
    exchange.traffic = Traffic(up: before.up &+ up.moved, down: before.down &+ down.moved)
  }

  // MARK: Leases

  /// Tells the meters what moved and takes what they grant, which replaces the old lease.
  private func renewLease(wanting asking: Directions = []) {
    publishTraffic()
    var wanting = asking
    if upRests { wanting.insert(.up) }
    if downRests { wanting.insert(.down) }
    // While a direction rests, the silence is ours.
    if upRests || downRests { lastMove = loop.now }
    do {
      let lease = try exchange.renewLease(wanting: wanting)
      up.lease = max(lease.up, 0)
      down.lease = max(lease.down, 0)
      // Who has asked and is told to ask is not asked in circles.
      rest(&upRests, lease.up == 0 || lease.up < 0 && asking.contains(.up), client.socket)
      rest(&downRests, lease.down == 0 || lease.down < 0 && asking.contains(.down), upstream.socket)
      tickAt = .distantFuture
      renewAt = lease.renewBy
      if upRests || downRests {
        // A meter that grants nothing is asked again at its time, but neither at once nor never.
        renewAt = max(min(renewAt, loop.now + Self.tick), loop.now + .milliseconds(1))
      }
      timer.ensure(by: renewAt, on: loop, self)
    } catch {
      finish(.failure(error))
    }
  }

  /// A direction that rests is not woken by every segment that arrives.
  private func rest(_ rests: inout Bool, _ shall: Bool, _ source: Socket?) {
    if rests == shall { return }
    rests = shall
    if shall { source?.mute() } else { source?.mayReadMuted() }
  }

  // MARK: Time

  private var idleEnds: Instant { idleTimeout.map { lastMove + $0 } ?? .distantFuture }

  private func armTimer() {
    let due = min(idleEnds, lifetimeEnds, connection.deadline, tickAt, renewAt)
    timer.ensure(by: due, on: loop, self)
  }

  func timerFired() {
    timer.fired()
    if outcome != nil { return }
    let now = loop.now
    if connection.deadline <= now {
      return finish(.failure(DeadlineExceeded(deadline: connection.deadline)))
    }
    if lifetimeEnds <= now {
      return finish(.failure(Rejection(.lifetimeExceeded, detail: "the tunnel reached its lifetime")))
    }
    if idleEnds <= now {
      return finish(.failure(Rejection(.idleTimeout, detail: "nothing moved for \(idleTimeout ?? .zero)")))
    }
    if tickAt <= now || renewAt <= now {
      renewLease()
      turn()
    }
    if outcome == nil { armTimer() }
  }

  // MARK: The end

  /// Both directions have ended, or one side has broken.
  private func finishByItself() {
    publishTraffic()
    let summary = Summary(
      traffic: exchange.traffic, endedBy: broken ?? finishedFirst ?? .proxy, ending: broken == nil ? .finished : .reset)
    finish(.success(summary))
  }

  private func finish(_ result: Result<Summary, any Error>) {
    guard outcome == nil else { return }
    publishTraffic()
    outcome = result
    timer.cancel(on: loop)
    // They go out before the end, and nobody is left to keep a rest of them.
    client.socket?.settleGathered()
    upstream.socket?.settleGathered()
    up.release(loop)
    down.release(loop)
    client.stream.waker = nil
    upstream.stream.waker = nil
    client.socket?.unmute()
    closeUpstream(result)
    if broken == .upstream { client.stream.abort() }
    connection.relayEnded()
  }

  private func closeUpstream(_ result: Result<Summary, any Error>) {
    switch result {
    case .success:
      if broken == .client { upstream.stream.abort() } else { upstream.stream.close() }
    case .failure(let rejection as Rejection) where rejection.kind == .idleTimeout:
      upstream.stream.close()
    case .failure:
      upstream.stream.abort()
    }
  }
}
