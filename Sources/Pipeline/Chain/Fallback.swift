/// Where exchanges go that cannot be served below: another place, a page, an apology.
///
/// ```swift
/// Listener(.http, on: ":8080") {
///   Fallback(to: Upstream("10.0.0.9:80"))     // or Respond(503, "back soon")
///   Retry(attempts: 3)
///   CircuitBreaker()
/// } to: {
///   Upstreams(.leastConnections) { … }
/// }
/// ```
/// It takes over before the client has seen anything, and only when the way to the upstream has failed: what
/// ``Rejection`` calls the upstream's doing, `overloaded` (no backend is usable, an open breaker), and on HTTP an upstream's
/// answer with one of `statuses`. What the client did, what a rule forbids and a deadline of the chain around it pass as they
/// are. It stands above the retries, so that these come first; what fails in the fallback itself is the client's.
///
/// The fallback's answer goes through `respond` of the elements above. Costs nothing where nothing fails, but for the request's
/// body, of which it has up to `replay` bytes kept.
public struct Fallback<Target: Terminal>: TransparentElement where Target.Needs: MetByNothing {
  public typealias Carrier = Target.Carrier
  public typealias Needs = Anyone
  public typealias Unmet = Target.Unmet
  public typealias Gives = Unchanged

  /// HTTP statuses of an upstream that count as a failure.
  public let statuses: Set<Int>
  /// Bytes of a request's body that are kept for the fallback.
  public let replay: Int
  private var target: End<Target.Carrier, Target>
  /// Elements from this index on stand below, on the usual way.
  private var below = Int.max

  /// - Parameters:
  ///   - target: serves what cannot be served below: any destination.
  ///   - statuses: HTTP statuses (400...599) of an upstream that count as a failure.
  ///   - replay: bytes of a request's body that are kept for it, 0...262,144. A request that has sent more on fails as it would
  ///     without a fallback, unless the fallback needs no body (`Respond`).
  public init(to target: Target, on statuses: Set<Int> = [502, 503, 504], replay: Int = 64 * 1024) {
    self.target = End(target)
    self.statuses = statuses
    self.replay = replay
  }

  public func through(_ exchange: Target.Carrier, _ needed: Void, next: Next) async throws -> Summary {
    if replay > 0 { exchange.keepForRepeat(upTo: replay) }
    let failure: Rejection
    do {
      return try await next()
    } catch let rejection as Rejection {
      guard !exchange.isCommitted, takesOver(exchange, after: rejection) else { throw rejection }
      failure = rejection
    }
    let (id, label) = (exchange.id, Target.label)
    exchange.runtime.log(.debug, "fallback: exchange \(id) goes to \(label): \(failure)")
    exchange.beginRepeat()
    return try await target.through(exchange, Target.Needs.value) { throw failure }
  }

  private func takesOver(_ exchange: Exchange, after rejection: Rejection) -> Bool {
    if case .overloaded = rejection.kind { return true }
    return rejection.cause is UnwantedStatus || exchange.isFaultOfUpstream(rejection)
  }

  /// A status that counts as a failure comes back to `through`, unless it is the fallback that gave it.
  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    guard head.status >= 400, head.origin == .upstream, exchange.depth >= below, statuses.contains(head.status)
    else { return }
    // A retry below has had its turn.
    throw Rejection(
      .upstreamProtocol, retry: .pointless, detail: "the upstream answered \(head.status)",
      cause: UnwantedStatus(head.status))
  }

  public mutating func place(_ placement: inout Placement) {
    placement.aside { target.place(&$0) }
    below = placement.count
  }

  public var parameters: [Parameter] { [Parameter("on", statuses.sorted().map(String.init).joined(separator: " "))] }

  public func validate(into problems: inout Problems) {
    if let status = statuses.sorted().first(where: { !(400...599).contains($0) }) {
      problems.refuse("status \(status): 400 to 599 can lead to a fallback")
    }
    if !(0...262_144).contains(replay) { problems.refuse("replay of \(replay) bytes: 0 to 262144 are allowed") }
    if problems.above.contains(where: { core(of: $0) is any RepeatingElement }) {
      problems.refuse(
        "a retry above it would repeat the fallback, too: move the fallback above the retry, so that the retry comes first"
      )
    }
  }
}

extension Fallback: Middleware where Target.Carrier == Exchange {
  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, (), next: next)
  }
}

/// An element that may call its `next` again after a failure.
package protocol RepeatingElement: Component {}
