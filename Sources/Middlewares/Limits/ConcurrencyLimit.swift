public import Pipeline

/// Lets so many exchanges run at once; a bounded number of others waits in order of arrival.
///
/// ```swift
/// ConcurrencyLimit(1_000, queue: 200, maxWait: .seconds(2))
/// ConcurrencyLimit(10, per: .identity, overrides: [.identity("batch"): 2])      // needs an authenticator above
/// ```
/// An exchange that finds the queue full, or waits longer than `maxWait`, is refused as `overloaded`: HTTP 503, SOCKS5
/// reply 1, a closed TCP connection. A client that goes away leaves the queue at once. A permit is held for the whole rest
/// of the exchange, the relayed bytes included, and given back on every path. Two short locks an exchange; an allocation
/// only for one that has to wait.
public struct ConcurrencyLimit<Key: BucketKey>: TransparentElement {
  @inlinable public static var throwsLate: Bool { false }

  public typealias Carrier = Key.Carrier
  public typealias Needs = Key.Needs
  public typealias Gives = Unchanged

  private let limit: Int
  private let reader: KeyReader<Key, Int>
  private let queue: Int
  private let maxWait: Duration
  private let full: String
  private var gates: Gates

  /// - Parameters:
  ///   - limit: exchanges that run at once, for each key: 1...1,000,000.
  ///   - per: whose limit.
  ///   - overrides: other limits for some keys: a user's plan.
  ///   - queue: exchanges that wait at once, for each key: 0...100,000.
  ///   - maxWait: how long one waits: more than zero. The deadline above may be nearer.
  public init(
    _ limit: Int, per: Per<Key>, overrides: Overrides<Key, Int> = .none, queue: Int = 0,
    maxWait: Duration = .seconds(1)
  ) {
    self.limit = limit
    reader = KeyReader(per, overrides, seed: .process)
    self.queue = queue
    self.maxWait = maxWait
    full = "\(limit) at once and \(queue) waiting, per \(per.label)"
    gates = Gates()
  }

  public func through(_ exchange: Key.Carrier, _ needed: Key.Needs.Value, next: Next) async throws -> Summary {
    let target: (key: LimitKey, own: Int?)?
    if let plain = reader.plainKey(of: exchange, needed) {
      target = plain.map { ($0, nil) }
    } else {
      target = try await reader.read(exchange, needed)
    }
    guard let (key, own) = target else { return try await next() }
    let limit = min(max(own ?? limit, 1), 1_000_000)
    let (gate, entry) = gates.enter(key, limit: limit, queue: queue)
    switch entry {
    case .enter: break
    case .queueFull: throw Rejection(.overloaded, detail: own == nil ? full : full(limit))
    case .wait(let waiter):
      do {
        try await waiter.wait(at: gate, on: exchange, atMost: maxWait)
      } catch let late as WaitedTooLong {
        throw Rejection(.overloaded, detail: "waited \(maxWait) for one of \(limit)", cause: late)
      }
    }
    return try await Permit(gate).hold(next)
  }

  private func full(_ limit: Int) -> String { "\(limit) at once and \(queue) waiting, per \(reader.per.label)" }
}

extension ConcurrencyLimit where Key == GlobalKey {
  /// One limit for all exchanges.
  public init(_ limit: Int, queue: Int = 0, maxWait: Duration = .seconds(1)) {
    self.init(limit, per: .global, queue: queue, maxWait: maxWait)
  }
}

extension ConcurrencyLimit: Middleware where Key.Carrier == Exchange, Key.Needs == Anyone {
  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, (), next: next)
  }
}

extension ConcurrencyLimit {
  public var parameters: [Parameter] {
    var parameters = [Parameter("limit", "\(limit)"), Parameter("per", reader.per.label)]
    if queue > 0 {
      parameters.append(Parameter("queue", "\(queue)"))
      parameters.append(Parameter("wait", "\(maxWait)"))
    }
    return parameters
  }
  public var uses: Uses { reader.per.uses }
  public var state: AnyObject? { gates }

  public func validate(into problems: inout Problems) {
    func problem(_ limit: Int) -> String? {
      (1...1_000_000).contains(limit) ? nil : "a limit of \(limit): 1 to 1,000,000 are allowed"
    }
    if let problem = problem(limit) { problems.refuse(problem) }
    reader.validate(into: &problems, problem)
    if !(0...100_000).contains(queue) { problems.refuse("a queue of \(queue): 0 to 100,000 are allowed") }
    if maxWait <= .zero { problems.refuse("a wait of \(maxWait): it must be more than 0 seconds") }
  }

  /// Running exchanges go on being counted; those that wait go on waiting.
  public mutating func adopt(from old: Self) { gates = old.gates }
}
