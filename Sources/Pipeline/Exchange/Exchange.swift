/// One TCP or SOCKS5 connection, or one HTTP request: what a chain handles.
///
/// Not Sendable and without a lock: it belongs to its connection's task and loop, and the compiler refuses to share it.
/// A middleware that needs something of it elsewhere copies the values.
open class Exchange {
  // `@exclusivity(unchecked)` stands before plain numbers that every layer reads and writes: they hold no reference, so the
  // worst that an overlapping access could do is to see an old number, and a check at run time for each costs a layer a third
  // of its time.

  /// Unique within the process.
  @exclusivity(unchecked) public final var id: UInt64
  /// Of its connection: the `id` of the first exchange on it. Unique within the process.
  public final let connectionID: UInt64
  /// Who the client is, as far as the network vouches for it: the peer of the connection, or whom a trusted proxy in front
  /// of us names. Only a transport sets it.
  public final package(set) var client: ClientAddress
  /// Where it came in.
  public final let listener: ListenerInfo
  /// Time, waiting, names, dialling.
  public final let runtime: ConnectionRuntime
  /// When it began.
  @exclusivity(unchecked) public final var startedAt: Instant

  /// Set by the authenticator; for logs and limits. A middleware that needs an identity declares that need instead.
  public final var principal: Principal?
  /// Whether the client has seen a byte from the upstream's side. After that no other answer is possible.
  @exclusivity(unchecked) public final var isCommitted = false
  /// 1 for the first exchange on its connection, 2 for the next one.
  @exclusivity(unchecked) public final private(set) var ordinal = 1
  /// 1 on the first try; a retry above counts on.
  @exclusivity(unchecked) public final var attempt = 1
  /// For a retry above: attempts that are left after the one that runs.
  @exclusivity(unchecked) package final var attemptsLeft = 0
  /// A retry above has decided already that the attempt which is about to fail is repeated.
  @exclusivity(unchecked) package final var isRepeatGranted = false
  /// What middlewares said about it so far.
  public final private(set) var annotations = Annotations()
  /// Whether something was said. Looking into the annotations themselves copies them.
  private final var isAnnotated = false
  /// The destination that a rule has checked; destinations dial this one and no other.
  public final var approved: ApprovedDestination?
  /// What the client asked for, once it is known. For logs; ``destination()`` asks for it.
  public final var requestedDestination: Endpoint?
  /// The upstream address that was dialled last.
  public final var upstreamAddress: SocketAddress?
  /// When the upstream that was tried last answered: a tunnel is connected, or the head of an HTTP response is there. `nil`:
  /// not yet. So a destination tells who is slow, and whether a failure is the upstream's.
  @exclusivity(unchecked) public final package(set) var upstreamAnsweredAt: Instant?
  /// When the present try of an upstream began.
  @exclusivity(unchecked) package final var upstreamTriedAt = Instant(nanoseconds: 0)
  /// Told of the answer of the upstream that is tried. A destination sets it around ``forward(to:over:)``.
  package final var upstreamWatch: (any UpstreamWatch)?
  /// A second upstream for the try that is under way. Only HTTP looks at it, for requests that may be sent twice; of a tunnel
  /// nothing can be asked twice.
  package final var hedge: (any Hedge)?
  /// Who is to be told when an upstream answers, outermost first.
  final var answerWatches: [AnswerWatch] = []
  /// A limit that ends with the upstream's answer.
  final var answerLimit: AnswerLimit?
  /// Payload bytes so far; kept current by the relay at least once a second.
  @exclusivity(unchecked) public final var traffic = Traffic()

  @usableFromInline final let current: CurrentElement?
  @exclusivity(unchecked) @usableFromInline final var depth = -1
  /// The index of the outermost element known to have returned; `.max` while none has.
  @exclusivity(unchecked) @usableFromInline final var settled = Int.max
  /// Whether the destination says itself that it has returned. Not where another one stands there and calls it.
  @exclusivity(unchecked) @usableFromInline final var settlesItself = false
  @exclusivity(unchecked) @usableFromInline final var mark: UInt64 = 0
  /// Set with ``servedBy``, which keeps what it points to.
  @exclusivity(unchecked) @usableFromInline final var tallies: UnsafeMutablePointer<Tally>?
  final var servedBy: AnyObject?
  @exclusivity(unchecked) @usableFromInline final var timed = false
  @usableFromInline final var slots: [any ResettableSlot] = []
  private final var meters: [MeterEntry] = []
  /// Engine: whether no byte may move without a lease. Of the meters; kept, because every message asks.
  @exclusivity(unchecked) public final private(set) var limitsFirstByte = false
  /// For a ``ByteMeter``, while it is called: which ways have something to move and no lease for it.
  @exclusivity(unchecked) public final private(set) var wanting: Directions = []

  public init(id: UInt64, client: ClientAddress, listener: ListenerInfo, runtime: ConnectionRuntime) {
    self.id = id
    connectionID = id
    self.client = client
    self.listener = listener
    self.runtime = runtime
    current = runtime.current
    startedAt = runtime.now
  }

  /// "tcp", "socks5", "http".
  open class var transport: String { "any" }

  /// The client's end. A transport sets it; a destination uses ``tunnel(through:)``.
  open var clientStream: any ByteStream {
    preconditionFailure("\(type(of: self)) has no client stream")
  }

  /// Where the client wants to go. SOCKS5 reads its request only now (and therefore ends its authentication now).
  ///
  /// - Throws: a ``Rejection``: `malformed`, `unsupportedCommand`, `handshakeTimeout`, or `forbidden` where the transport
  ///   names no destination.
  open func destination() async throws -> Endpoint {
    throw Rejection(.forbidden, detail: "a \(Self.transport) client names no destination")
  }

  /// Tells the client that the way is open (SOCKS5: the success reply). Called once, by ``tunnel(through:)``.
  open func openTunnel(through upstream: any ByteStream) async throws {}

  /// What a destination calls that passes the exchange on: dials and opens a tunnel. HTTP sends its request instead, over a
  /// connection that the link keeps, and relays the response.
  ///
  /// - Throws: what the dial or the upstream ended in, uncommitted where a retry may follow.
  open func forward(to destination: ApprovedDestination, over link: UpstreamLink) async throws -> Summary {
    upstreamAnsweredAt = nil
    return try await tunnel(through: try await dial(destination, over: link))
  }

  /// Opens the way for the client and moves bytes both ways until both directions have ended.
  ///
  /// Closes `upstream` on every path.
  public final func tunnel(through upstream: any ByteStream) async throws -> Summary {
    noteUpstreamAnswer(at: now)
    do {
      try await openTunnel(through: upstream)
    } catch {
      upstream.abort()
      throw error
    }
    return try await runtime.relay(client: clientStream, upstream: upstream, for: self)
  }

  /// Whether trying it again, before the commit, has the effect of trying it once even if an upstream has seen it.
  ///
  /// True for a tunnel: before the commit none of the client's bytes was sent on.
  open var isIdempotent: Bool { true }

  /// Whether all that the client has sent so far can be sent to an upstream once more, as far as it has been sent on at all.
  open var isRepeatable: Bool { true }

  /// A retry asks: what is sent on from now on is kept, so that it can be sent again. Does nothing where nothing is sent on
  /// before the commit.
  ///
  /// - Parameter limit: bytes that are kept at most. An exchange that sends more on goes on, and is repeatable no longer.
  open func keepForRepeat(upTo limit: Int) {}

  /// A retry is about to call `next` again: what was kept stands before what the client still sends.
  open func beginRepeat() {}

  /// Subject of the client's TLS certificate, once transports have TLS.
  open var peerCertificate: String? { nil }

  /// Called by the transport before the next request on this connection; what was allocated is kept.
  open func recycle(id: UInt64) {
    self.id = id
    startedAt = runtime.now
    principal = nil
    isCommitted = false
    ordinal += 1
    attempt = 1
    attemptsLeft = 0
    isRepeatGranted = false
    if isAnnotated {
      annotations = Annotations()
      isAnnotated = false
    }
    if approved != nil { approved = nil }
    if requestedDestination != nil { requestedDestination = nil }
    upstreamAddress = nil
    upstreamAnsweredAt = nil
    traffic = Traffic()
    runtime.deadline = .distantFuture
    depth = -1
    settled = .max
    // By place: a loop over the elements holds the array, which is counted.
    for place in slots.indices { slots[place].reset() }
    if !meters.isEmpty { meters.removeAll(keepingCapacity: true) }
    limitsFirstByte = false
  }

  /// Says something about the exchange that a transport may show its client.
  public final func annotate(_ annotation: Annotation) {
    isAnnotated = true
    switch annotation {
    case .rateLimit(let limit):
      if let old = annotations.rateLimit, old.remaining <= limit.remaining { return }
      annotations.rateLimit = limit
    case .allowedMethods(let methods):
      for method in methods where !annotations.allowedMethods.contains(method) {
        annotations.allowedMethods.append(method)
      }
    }
  }
}

extension Exchange {
  /// Unsays what an element without consequence has said of its limit.
  final func annotateNothing(since old: Annotations.RateLimit?) { annotations.rateLimit = old }
}

@available(*, unavailable, message: "an exchange belongs to its connection's task")
extension Exchange: Sendable {}

// MARK: - Time and waiting

extension Exchange {
  /// Monotonic time.
  public final var now: Instant { runtime.now }

  /// The index of the loop that serves it, for state that is kept per loop.
  public final var shard: Int { runtime.shard }

  /// Absolute. The engine wakes whatever the exchange waits for when it passes.
  public final var deadline: Instant {
    get { runtime.deadline }
    set { runtime.deadline = newValue }
  }

  /// Waits; throws what ``ConnectionRuntime`` says.
  public final func sleep(for duration: Duration) async throws {
    try await runtime.sleep(until: runtime.now + duration)
  }

  /// Runs `body` under a deadline: the nearer of this one and those around it.
  ///
  /// - Throws: `Rejection(.deadlineExceeded)` when this very limit passed; an outer one passes through.
  public final func withDeadline(_ limit: Duration, _ body: () async throws -> Summary) async throws -> Summary {
    let scope = beginDeadline(limit)
    do {
      let summary = try await body()
      end(scope)
      return summary
    } catch {
      throw end(scope, error)
    }
  }

  /// Sets a deadline: the nearer of this one and those around it. To be ended on every path, the last begun first.
  public final func beginDeadline(_ limit: Duration) -> DeadlineScope {
    let outer = runtime.deadline
    let scope = DeadlineScope(limit: limit, outer: outer, own: runtime.now + limit)
    if scope.own < outer { runtime.deadline = scope.own }
    return scope
  }

  /// Sets the deadline that was there before.
  public final func end(_ scope: DeadlineScope) { runtime.deadline = scope.outer }

  /// The same after an error: `Rejection(.deadlineExceeded)` when this very limit passed, or the error itself.
  public final func end(_ scope: DeadlineScope, _ error: any Error) -> any Error {
    runtime.deadline = scope.outer
    guard scope.own < scope.outer, let exceeded = error as? DeadlineExceeded, exceeded.deadline == scope.own else {
      return error
    }
    return Rejection(.deadlineExceeded, detail: "after \(scope.limit)", cause: exceeded)
  }

  /// The addresses of `host`: the literal itself, or what the resolver says.
  public final func resolve(_ host: Host) async throws -> [IPAddress] {
    switch host {
    case .ip(let address): [address]
    case .name(let name): try await runtime.resolve(name)
    }
  }

  /// Connects to an approved destination within the listener's connect timeout, and remembers the address.
  public final func dial(_ destination: ApprovedDestination) async throws -> any ByteStream {
    upstreamAddress = destination.addresses.first
    let stream = try await runtime.connect(to: destination, timeout: listener.options.connectTimeout)
    upstreamAddress = stream.remoteAddress ?? upstreamAddress
    return stream
  }

  /// As `dial(_:)`, by the way of the link; then the upstream is told who the client is, where the link says so. Such a
  /// connection must serve no other client.
  public final func dial(
    _ destination: ApprovedDestination, over link: UpstreamLink
  ) async throws -> any ByteStream {
    let stream = if link.way.isPlain { try await dial(destination) } else { try await dialByWay(destination, link) }
    guard let version = link.proxyProtocol else { return stream }
    do {
      try await runtime.introduce(self, to: stream, as: version)
    } catch {
      stream.abort()
      throw error
    }
    return stream
  }

  private final func dialByWay(
    _ destination: ApprovedDestination, _ link: UpstreamLink
  ) async throws -> any ByteStream {
    upstreamAddress = destination.addresses.first
    let dialled = try await runtime.dial(destination, by: link.way, timeout: listener.options.connectTimeout)
    // The address is the key of the pools: a proxy's stands for one destination only where the link has only one.
    upstreamAddress = destination.isName && link.isChosenByClient ? nil : dialled.address
    return dialled.stream
  }
}

/// A deadline that has begun; see ``Exchange/beginDeadline(_:)``.
public struct DeadlineScope: Sendable {
  let limit: Duration
  let outer: Instant
  let own: Instant
}

// MARK: - Meters

private struct MeterEntry {
  let meter: any ByteMeter
  /// What the meter has been told so far.
  var told: Traffic
}

extension Exchange {
  /// From now on `meter` counts and limits what the exchange moves.
  public final func attach(_ meter: any ByteMeter) {
    meters.append(MeterEntry(meter: meter, told: traffic))
    if meter.limitsFirstByte { limitsFirstByte = true }
  }

  /// As ``attach(_:)``, unless `meter` is attached already: for one that stays until the client has its answer, and whose
  /// element a retry may run again.
  public final func attachOnce(_ meter: any ByteMeter) {
    for entry in meters where entry.meter === meter { return }
    attach(meter)
  }

  /// Tells `meter` the rest, and no more after that.
  public final func detach(_ meter: any ByteMeter) {
    guard let index = meters.lastIndex(where: { $0.meter === meter }) else { return }
    let entry = meters.remove(at: index)
    limitsFirstByte = meters.contains { $0.meter.limitsFirstByte }
    do {
      _ = try entry.meter.account(traffic - entry.told, on: self, isLast: true)
    } catch {
      // There is nothing left to cut.
    }
  }

  /// Transport: the client has its answer, also where it is our own refusal. Meters that an element has left attached hear of
  /// the rest, and no more after that.
  package final func endMeters() {
    while let entry = meters.popLast() {
      do {
        _ = try entry.meter.account(traffic - entry.told, on: self, isLast: true)
      } catch {
        // There is nothing left to cut.
      }
    }
    limitsFirstByte = false
  }

  /// Transport: from here on the payload of a tunnel counts, and what went before was its handshake.
  package final func beginTunnelTraffic() {
    traffic = Traffic()
    for index in meters.indices { meters[index].told = Traffic() }
  }

  /// Engine: tells every meter what moved and returns the strictest lease.
  ///
  /// - Parameter wanting: the ways that have something to move and no lease.
  /// - Throws: what a meter throws to cut the exchange.
  public final func renewLease(wanting: Directions = []) throws -> Lease {
    self.wanting = wanting
    defer { self.wanting = [] }
    var lease = Lease.unlimited
    for index in meters.indices {
      let moved = traffic - meters[index].told
      meters[index].told = traffic
      lease = lease.narrowed(by: try meters[index].meter.account(moved, on: self, isLast: false))
    }
    return lease
  }

  /// Engine: whether anybody counts or limits the bytes.
  public final var isMetered: Bool { !meters.isEmpty }

}

// MARK: - Values of middlewares

/// A typed value that one middleware leaves on the exchange for another.
public protocol ExchangeKey {
  associatedtype Value
  /// What is read before anything was written.
  static var defaultValue: Value { get }
  /// Whether the value stays for the next request on the same connection. Default: false.
  static var outlivesExchange: Bool { get }
}

extension ExchangeKey {
  @inlinable public static var outlivesExchange: Bool { false }
}

@usableFromInline protocol ResettableSlot: AnyObject {
  func reset()
}

@usableFromInline final class Slot<Key: ExchangeKey>: ResettableSlot {
  @usableFromInline var value: Key.Value
  @inlinable init(_ value: Key.Value) { self.value = value }
  @usableFromInline func reset() { if !Key.outlivesExchange { value = Key.defaultValue } }
}

extension Exchange {
  /// The value under `key`, or its default. A slot is allocated once per connection and used again by the next request.
  ///
  /// Inlinable, so that it is specialised where the key is known: else every use looks metadata up.
  @inlinable public final subscript<Key: ExchangeKey>(_ key: Key.Type) -> Key.Value {
    get {
      for slot in slots where type(of: slot) == Slot<Key>.self {
        return unsafeDowncast(slot, to: Slot<Key>.self).value
      }
      return Key.defaultValue
    }
    set {
      for slot in slots where type(of: slot) == Slot<Key>.self {
        unsafeDowncast(slot, to: Slot<Key>.self).value = newValue
        return
      }
      slots.append(Slot<Key>(newValue))
    }
  }
}
