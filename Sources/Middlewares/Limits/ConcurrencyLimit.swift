public import Pipeline

/// Lets so many exchanges run at once; a bounded number of others waits in order of arrival.
///
/// ```swift
/// ConcurrencyLimit(1_000, queue: 200, maxWait: .seconds(2))
/// ConcurrencyLimit(10, per: .identity)                             // needs an authenticator above
/// ```
/// An exchange that finds the queue full, or waits longer than `maxWait`, is refused as `overloaded`: HTTP 503, SOCKS5
/// reply 1, a closed TCP connection. A client that goes away leaves the queue at once. A permit is held for the whole rest
/// of the exchange, the relayed bytes included, and given back on every path. Two short locks an exchange; an allocation
/// only for one that has to wait.
public struct ConcurrencyLimit<Key: BucketKey>: TransparentElement {
  @inlinable public static var throwsLate: Bool { false }

  public typealias Carrier = Exchange
  public typealias Needs = Key.Needs
  public typealias Gives = Unchanged

  private let limit: Int
  private let per: Per<Key>
  private let queue: Int
  private let maxWait: Duration
  private let full: String
  private var gates: Gates

  /// - Parameters:
  ///   - limit: exchanges that run at once, for each key: 1...1,000,000.
  ///   - per: whose limit.
  ///   - queue: exchanges that wait at once, for each key: 0...100,000.
  ///   - maxWait: how long one waits: more than zero. The deadline above may be nearer.
  public init(_ limit: Int, per: Per<Key>, queue: Int = 0, maxWait: Duration = .seconds(1)) {
    self.limit = limit
    self.per = per
    self.queue = queue
    self.maxWait = maxWait
    full = "\(limit) at once and \(queue) waiting, per \(per.label)"
    gates = Gates()
  }

  public func through(_ exchange: Exchange, _ needed: Key.Needs.Value, next: Next) async throws -> Summary {
    guard let key = try await per.key(of: exchange, needed) else { return try await next() }
    let (gate, entry) = gates.enter(key, limit: limit, queue: queue)
    switch entry {
    case .enter: break
    case .queueFull: throw Rejection(.overloaded, detail: full)
    case .wait(let waiter): try await wait(for: waiter, at: gate, exchange)
    }
    return try await Permit(gate).hold(next)
  }

  /// Returns when the permit is the exchange's own; throws when it has left the queue.
  private func wait(for waiter: PermitWaiter, at gate: Gate, _ exchange: Exchange) async throws {
    let outer = exchange.deadline
    let mine = exchange.now + maxWait
    exchange.deadline = min(outer, mine)
    defer { exchange.deadline = outer }
    do {
      try await exchange.runtime.wait(for: waiter.signal)
    } catch {
      let ownDeadline = mine < outer && (error as? DeadlineExceeded)?.deadline == mine
      if !gate.leave(waiter) {
        // Granted at the last moment: good if only the wait was too long, else it goes to the next one.
        if ownDeadline { return }
        _ = Permit(gate)
        throw error
      }
      if ownDeadline { throw Rejection(.overloaded, detail: "waited \(maxWait) for one of \(limit)", cause: error) }
      throw error
    }
  }
}

extension ConcurrencyLimit where Key == GlobalKey {
  /// One limit for all exchanges.
  public init(_ limit: Int, queue: Int = 0, maxWait: Duration = .seconds(1)) {
    self.init(limit, per: .global, queue: queue, maxWait: maxWait)
  }
}

extension ConcurrencyLimit: Middleware where Key.Needs == Anyone {
  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, (), next: next)
  }
}

extension ConcurrencyLimit {
  public var parameters: [Parameter] {
    var parameters = [Parameter("limit", "\(limit)"), Parameter("per", per.label)]
    if queue > 0 {
      parameters.append(Parameter("queue", "\(queue)"))
      parameters.append(Parameter("wait", "\(maxWait)"))
    }
    return parameters
  }
  public var uses: Uses { per.uses }
  public var state: AnyObject? { gates }

  public func validate(into problems: inout Problems) {
    if !(1...1_000_000).contains(limit) { problems.refuse("a limit of \(limit): 1 to 1,000,000 are allowed") }
    if !(0...100_000).contains(queue) { problems.refuse("a queue of \(queue): 0 to 100,000 are allowed") }
    if maxWait <= .zero { problems.refuse("a wait of \(maxWait): it must be more than 0 seconds") }
  }

  /// Running exchanges go on being counted; those that wait go on waiting.
  public mutating func adopt(from old: Self) { gates = old.gates }
}
