public import Pipeline

/// Lets as many exchanges run at once as the upstream serves without slowing down, and finds out by itself how many that are.
///
/// ```swift
/// AdaptiveConcurrency()
/// AdaptiveConcurrency(per: .destination) { $0.maxLimit = 200 }
/// ```
/// The limit follows the ratio of the latency without load to the present one: the gradient controller of Envoy's adaptive
/// concurrency filter, with the rule of Netflix's Gradient2 that a limit which is not used does not grow. From time to time,
/// with jitter, the latency without load is measured anew with `minLimit` exchanges at once.
///
/// The latency of an HTTP request is the time from here to the head of the upstream's response; of a tunnel it is its whole life,
/// so that it fits tunnels only where each is one short question. Answers that no upstream gave, and exchanges that failed,
/// are no samples; one that ran into a deadline is.
///
/// An exchange above the limit is refused at once as `overloaded`: HTTP 503, SOCKS5 reply 1, a reset TCP connection. A
/// permit is held for the whole rest of the exchange and given back on every path. Two short locks and one sample an exchange;
/// no allocation for a known key.
public struct AdaptiveConcurrency<Key: BucketKey>: TransparentElement {
  @inlinable public static var throwsLate: Bool { false }

  public typealias Carrier = Key.Carrier
  public typealias Needs = Key.Needs
  public typealias Gives = Unchanged

  private let reader: KeyReader<Key, Int>
  private let maxKeys: Int
  private let options: AdaptiveConcurrencyOptions
  private let full: String
  private let noRoom: String
  private var gates: AdaptiveGates

  /// - Parameters:
  ///   - per: whose limit. `.destination` fits a forward proxy, with one upstream behind each key.
  ///   - maxKeys: keys whose limit is remembered at once: 1 to 1,000,000. One more takes the place of those that nobody uses;
  ///     where all are in use it is refused as `overloaded`.
  ///   - edit: changes the options; what is out of its domain refuses the chain when it is built.
  public init(
    per: Per<Key>, maxKeys: Int = 10_000, _ edit: (inout AdaptiveConcurrencyOptions) -> Void = { _ in }
  ) {
    reader = KeyReader(per, .none, seed: .process)
    self.maxKeys = maxKeys
    var options = AdaptiveConcurrencyOptions()
    edit(&options)
    self.options = options
    full = "as many run as are served without waiting, per \(per.label)"
    noRoom = "no room for another key: adaptive concurrency per \(per.label)"
    gates = AdaptiveGates(maxKeys: maxKeys)
  }

  public func through(_ exchange: Key.Carrier, _ needed: Key.Needs.Value, next: Next) async throws -> Summary {
    let found: LimitKey?
    if let plain = reader.plainKey(of: exchange, needed) {
      found = plain
    } else {
      found = try await reader.read(exchange, needed)?.key
    }
    guard let key = found else { return try await next() }
    let start = exchange.now.nanoseconds
    switch gates.enter(key, options, now: start) {
    case .full: throw Rejection(.overloaded, detail: full)
    case .noRoom: throw Rejection(.overloaded, detail: noRoom)
    case .entered(let gate):
      let permit = AdaptivePermit(gate)
      exchange[AdaptiveMark.self] = .none
      do {
        let summary = try await permit.hold(next)
        sample(exchange, gate, start)
        return summary
      } catch {
        if Rejection(error).kind == .deadlineExceeded { sample(exchange, gate, start) }
        throw error
      }
    }
  }

  /// The head is here: what follows depends on the client as much as on the upstream.
  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    guard case .none = exchange[AdaptiveMark.self] else { return }
    switch head.origin {
    case .upstream: exchange[AdaptiveMark.self] = .head(exchange.now.nanoseconds)
    case .local: exchange[AdaptiveMark.self] = .local
    }
  }

  private func sample(_ exchange: Exchange, _ gate: AdaptiveGate, _ start: UInt64) {
    let now = exchange.now.nanoseconds
    switch exchange[AdaptiveMark.self] {
    case .none: record(now)
    case .head(let at): record(at)
    case .local: break
    }
    func record(_ end: UInt64) {
      gate.record(end - min(start, end), start: start, now: now, random: exchange.runtime.randomBits())
    }
  }
}

/// What came of an exchange, as far as its latency goes.
private enum AdaptiveMark: ExchangeKey {
  case none
  /// The upstream's response, and when.
  case head(UInt64)
  /// An answer that no upstream gave.
  case local

  static var defaultValue: AdaptiveMark { .none }
}

extension AdaptiveConcurrency where Key == GlobalKey {
  /// One limit for all exchanges.
  public init(_ edit: (inout AdaptiveConcurrencyOptions) -> Void = { _ in }) {
    self.init(per: .global, maxKeys: 16, edit)
  }
}

extension AdaptiveConcurrency: Middleware where Key.Carrier == Exchange, Key.Needs == Anyone {
  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, (), next: next)
  }
}

extension AdaptiveConcurrency {
  public var parameters: [Parameter] {
    [
      Parameter("limit", "\(options.minLimit)...\(options.maxLimit)"),
      Parameter("window", "\(options.window)"),
      Parameter("tolerance", "\(options.tolerance)"),
      Parameter("remeasure", "\(options.remeasureEvery)"),
      Parameter("per", reader.per.label),
    ]
  }

  public var uses: Uses { reader.per.uses }
  public var state: AnyObject? { gates }

  public func validate(into problems: inout Problems) {
    reader.validate(into: &problems) { _ in nil }
    for problem in options.problems { problems.refuse(problem) }
    if !(1...1_000_000).contains(maxKeys) { problems.refuse("maxKeys of \(maxKeys): 1 to 1,000,000 are allowed") }
  }

  /// What was learnt is kept, and running exchanges go on being counted. `maxKeys` takes effect at the next start.
  public mutating func adopt(from old: Self) { gates = old.gates }
}
