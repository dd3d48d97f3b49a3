public import Pipeline

/// Stops asking an upstream that fails, so that clients need not wait for what will not come, and the upstream can recover.
///
/// ```swift
/// CircuitBreaker()                                                  // half of 20 or more failed within 10 s
/// CircuitBreaker(.consecutive(5), .slow(than: .seconds(2)), rest: .seconds(10))
/// ```
/// Closed, everything passes. When one of the rules is met it opens: for `rest` everything is refused at once as `overloaded`
/// (HTTP 503 with `retry-after`, SOCKS5 reply 1, a reset TCP connection; a `Fallback` above answers instead). Then it is half
/// open: as many probes as `probes` says are let through, and close it when all succeed. One that fails opens it for twice
/// as long, up to `longestRest`. (Nygard, "Release It!"; Hystrix, resilience4j, Polly.)
///
/// A failure is what the upstream did: it could not be reached, broke off, did not keep to its protocol, let a deadline pass, or
/// answered with one of `statuses`. A client that leaves, a refusal of an element below and an answer of our own say nothing.
/// A tunnel counts as soon as it is connected, a response with its head.
///
/// One breaker for all that pass through it: put it into a route's chain to have one for each. Backends of one group are told
/// apart by the health of `Upstreams`. Put it below a `Retry`, so that it counts attempts. While it is closed an exchange
/// costs a few atomics and no lock.
public struct CircuitBreaker: Middleware {
  @inlinable public static var throwsLate: Bool { false }

  private let rules: [BreakerRule]
  private let statuses: ClosedRange<Int>
  private var circuit: BreakerCircuit

  /// - Parameters:
  ///   - rules: when it opens, one of each kind; none: `.failures(0.5)`.
  ///   - statuses: HTTP statuses of an upstream that count as a failure, within 400...599.
  ///   - rest: how long it stays open: 10 ms...1 h.
  ///   - longestRest: at most so long when the probes fail again and again; at least `rest`.
  ///   - probes: how many have to succeed before it closes: 1...1000.
  public init(
    _ rules: BreakerRule..., statuses: ClosedRange<Int> = 500...599, rest: Duration = .seconds(5),
    longestRest: Duration = .seconds(60), probes: Int = 3
  ) {
    self.rules = rules.isEmpty ? [.failures(0.5)] : rules
    self.statuses = statuses
    circuit = BreakerCircuit(
      self.rules, statuses: statuses, rest: rest, longestRest: max(rest, longestRest), probes: probes)
  }

  /// How it stands, over all loops.
  public func report() -> BreakerReport { circuit.report }

  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    let token = try circuit.enter(exchange)
    let start = exchange.now
    exchange.watchAnswer(circuit, token: token.bits)
    do {
      let summary = try await next()
      circuit.left(exchange, token, since: start, hasAnswered: exchange.endAnswerWatch(), error: nil)
      return summary
    } catch {
      circuit.left(exchange, token, since: start, hasAnswered: exchange.endAnswerWatch(), error: error)
      throw error
    }
  }
}

extension CircuitBreaker {
  public var parameters: [Parameter] {
    [
      Parameter("opens", rules.map(\.description).joined(separator: ", ")), Parameter("rest", "\(circuit.rest)"),
      Parameter("probes", "\(circuit.probes)"),
    ]
  }

  public var state: AnyObject? { circuit }

  /// An open circuit stays open over a reload; other settings begin anew.
  public mutating func adopt(from old: Self) {
    guard rules == old.rules, statuses == old.statuses, circuit.rest == old.circuit.rest,
      circuit.longestRest == old.circuit.longestRest, circuit.probes == old.circuit.probes
    else { return }
    circuit = old.circuit
  }

  public func validate(into problems: inout Problems) {
    for rule in rules { if let problem = rule.problem { problems.refuse(problem) } }
    func count(_ isOfKind: (BreakerRule.Kind) -> Bool) -> Int { rules.count { isOfKind($0.kind) } }
    let failures = count { if case .failures = $0 { true } else { false } }
    let slow = count { if case .slow = $0 { true } else { false } }
    if failures > 1 { problems.refuse("\(failures) rules of the kind .failures: one is allowed") }
    if slow > 1 { problems.refuse("\(slow) rules of the kind .slow: one is allowed") }
    if statuses.lowerBound < 400 || statuses.upperBound > 599 {
      problems.refuse("statuses \(statuses.lowerBound) to \(statuses.upperBound): 400 to 599 can be failures")
    }
    if circuit.rest < .milliseconds(10) || circuit.rest > .seconds(3600) {
      problems.refuse("a rest of \(circuit.rest): 10 ms to 1 hour are allowed")
    }
    if !(1...1000).contains(circuit.probes) {
      problems.refuse("\(circuit.probes) probes: 1 to 1000 are allowed")
    }
  }
}
