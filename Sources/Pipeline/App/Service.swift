/// What a transport runs: a service of its own kind of exchange, whatever its chain.
public protocol Serving<Carrier>: AnyObject, Sendable {
  associatedtype Carrier: TransportExchange

  /// The listener's name.
  var name: String { get }
  /// The listener's address, as it was written.
  var address: String { get }
  /// The listener's limits.
  var options: ListenerOptions { get }
  /// The chain as it was placed.
  var placement: Placement { get }

  /// Makes an exchange ready for ``run``.
  func begin(_ exchange: Carrier)

  /// Runs the chain for one exchange. Returns or throws exactly once, when the exchange is over; a throw is told to
  /// ``blame(_:on:)``.
  var run: @Sendable (Carrier) async throws -> Summary { get }

  /// The exchange ended in this error: counts it for the element that threw it.
  func blame(_ error: any Error, on exchange: Carrier)

  /// Transport: an exchange was refused before the chain could run for it, and its client has been told.
  func noteRefusal(of exchange: Carrier, isRead: Bool, _ rejection: Rejection)

  /// Live counts of every element, in the order of `placement.entries`.
  func counts() -> [ElementCounts]
}

extension Serving {
  /// Runs the chain for one exchange: what a transport does, in one call. One that serves many exchanges takes the steps itself,
  /// for each return through an async layer asks the runtime where its caller belongs.
  public func serve(_ exchange: Carrier) async throws -> Summary {
    begin(exchange)
    do {
      return try await run(exchange)
    } catch {
      blame(error, on: exchange)
      throw error
    }
  }
}

/// What is counted while exchanges are served.
public struct Counting: Sendable, Hashable {
  fileprivate enum Mode: Hashable { case off, counts, timed(oneIn: UInt64) }
  fileprivate let mode: Mode

  /// Nothing.
  public static let off = Counting(mode: .off)
  /// Entered, refused, failed, per element.
  public static let counts = Counting(mode: .counts)
  /// Besides, the decision time of every element in one of `n` exchanges. `n` is at least 1.
  public static func timed(oneIn n: Int) -> Counting {
    precondition(n >= 1, "timed(oneIn: \(n)): at least 1 is needed")
    return Counting(mode: .timed(oneIn: UInt64(n)))
  }
}

/// A listener made ready: placed, validated, counted. One object per listener and configuration.
public final class Service<Carrier: TransportExchange, Program: ChainElement>: Serving, ResponsePhase
where Program.Carrier == Carrier, Program.Needs: MetByNothing {
  public let name: String
  public let address: String
  public let options: ListenerOptions
  public let placement: Placement

  private let ready: Ready<Program>
  public let run: @Sendable (Carrier) async throws -> Summary
  private let phase: @Sendable (Ready<Program>, inout HTTPResponseHead, HTTPExchange) throws -> Void
  private let observers: [any ArrivalObserver]
  private let tallies: TallySheet?
  private let timedOneIn: UInt64

  /// Places and validates the chain.
  ///
  /// - Parameters:
  ///   - shards: the number of loops; `exchange.shard` is smaller.
  ///   - old: the placement of the service that this one replaces; its state is carried over.
  /// - Throws: ``ConfigurationError`` with every reason why the chain cannot run.
  public init(
    _ listener: Listener<Carrier, Program>, shards: Int, counting: Counting = .counts, replacing old: Placement? = nil
  ) throws {
    var placement = Placement(transport: Carrier.transport, replacing: old?.entries ?? [])
    var program = listener.program
    program.place(&placement)
    placement.finish()
    guard placement.problems.messages.isEmpty else {
      throw ConfigurationError(listener: listener.name, messages: placement.problems.messages)
    }
    name = listener.name
    address = listener.address
    options = listener.options
    phase = listener.phase
    ready = Ready(program)
    run = listener.entry(ready)
    self.placement = placement
    observers = placement.arrivalObservers
    switch counting.mode {
    case .off:
      tallies = nil
      timedOneIn = 0
    case .counts:
      tallies = TallySheet(shards: shards, lateThrowers: placement.lateThrowers)
      timedOneIn = 0
    case .timed(let oneIn):
      tallies = TallySheet(shards: shards, lateThrowers: placement.lateThrowers)
      timedOneIn = oneIn
    }
  }

  public func begin(_ exchange: Carrier) {
    if exchange.servedBy !== self {
      exchange.servedBy = self
      exchange.tallies = tallies?.row(exchange.shard)
    }
    exchange.timed = timedOneIn != 0 && exchange.id % timedOneIn == 0
    if Carrier.self == HTTPExchange.self {
      unsafeDowncast(exchange as Exchange, to: HTTPExchange.self).attach(self)
    }
  }

  public func blame(_ error: any Error, on exchange: Carrier) { exchange.blame(error) }

  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    try phase(ready, &head, exchange)
  }

  public func noteRefusal(of exchange: Carrier, isRead: Bool, _ rejection: Rejection) {
    for observer in observers { observer.noteRefusal(of: exchange, isRead: isRead, rejection) }
  }

  public func counts() -> [ElementCounts] {
    placement.entries.indices.map { index in
      let entry = placement.entries[index]
      var counts = ElementCounts(label: entry.label, name: entry.name)
      tallies?.add(index, to: &counts)
      return counts
    }
  }
}

/// The placed program, in one object that the loops share.
public final class Ready<Program: ChainElement>: Sendable {
  @usableFromInline package let program: Program
  init(_ program: Program) { self.program = program }
}

/// Why an app cannot start, or a reload was refused: one sentence for each mistake.
public struct ConfigurationError: Error, CustomStringConvertible, Sendable {
  /// The listener's name; `nil` when it concerns the whole app.
  public let listener: String?
  public let messages: [String]

  public init(listener: String? = nil, messages: [String]) {
    self.listener = listener
    self.messages = messages
  }

  public var description: String {
    messages.map { message in listener.map { "\($0): \(message)" } ?? message }.joined(separator: "\n")
  }
}
