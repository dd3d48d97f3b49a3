public import Pipeline

/// Tries again what failed before the client has seen anything of it.
///
/// ```swift
/// Retry(attempts: 3, perTry: .seconds(5), backoff: .exponential(from: .milliseconds(50)))
/// ```
/// Tries again when all of this holds:
/// - the exchange is not committed: no byte of an upstream has reached the client;
/// - the error says that it helps: `safe`, or `idempotentOnly` where the exchange is idempotent (every tunnel; HTTP by its
///   method);
/// - the pause ends before the deadline.
///
/// On HTTP an upstream's answer with a status of `statuses` counts as a failure; the last attempt's answer passes as it
/// is. The client sees the error of the last attempt. Costs nothing where nothing fails. What stands below runs once per
/// attempt; what stands above runs once.
public struct Retry: Middleware {
  @inlinable public static var throwsLate: Bool { false }

  /// 1...10, the first one included.
  public let attempts: Int
  /// For each attempt; more than zero. `nil`: what the deadline above leaves.
  public let perTry: Duration?
  public let statuses: Set<Int>
  public let backoff: Backoff

  /// - Parameters:
  ///   - attempts: 1...10, the first one included.
  ///   - perTry: limit of one attempt, more than zero; `nil`: what the deadline above leaves.
  ///   - statuses: HTTP statuses (400...599) of an upstream that count as a failure.
  ///   - backoff: pauses between attempts.
  public init(
    attempts: Int, perTry: Duration? = nil, on statuses: Set<Int> = [502, 503, 504],
    backoff: Backoff = .exponential(from: .milliseconds(50))
  ) {
    self.attempts = attempts
    self.perTry = perTry
    self.statuses = statuses
    self.backoff = backoff
  }

  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    var failures = 0
    while true {
      do {
        offerAttempts(attempts - failures - 1, to: exchange)
        guard let perTry else { return try await next() }
        return try await exchange.withDeadline(perTry, next)
      } catch let rejection as Rejection {
        failures += 1
        guard failures < attempts, !exchange.isCommitted, mayRepeat(exchange, after: rejection),
          let pause = pause(after: failures, rejection, on: exchange)
        else { throw rejection }
        // The log shows what was given up on; the exchange itself may yet end well.
        exchange.runtime.log(.debug, "retry: exchange \(exchange.id), attempt \(failures) of \(attempts): \(rejection)")
        if pause > .zero { try await exchange.sleep(for: pause) }
        exchange.attempt += 1
      }
    }
  }

  /// A status that means "try again" is thrown while attempts are left, and comes back to `handle`.
  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    let left = exchange[AttemptsLeft.self]
    guard head.origin == .upstream, statuses.contains(head.status), left > 0, exchange.isIdempotent,
      // Without time for another attempt this answer is the last one, and better than none.
      exchange.now + backoff.bound(after: attempts - left) < exchange.deadline
    else { return }
    throw Rejection(.upstreamProtocol, detail: "the upstream answered \(head.status)")
  }

  private func mayRepeat(_ exchange: Exchange, after rejection: Rejection) -> Bool {
    switch rejection.retry {
    case .safe: true
    case .idempotentOnly: exchange.isIdempotent
    case .pointless: false
    }
  }

  /// `nil`: there is no time left for another attempt. Waits at least as long as the error asks for.
  private func pause(after failures: Int, _ rejection: Rejection, on exchange: Exchange) -> Duration? {
    let drawn = backoff.pause(after: failures, randomBits: exchange.runtime.randomBits())
    let pause = max(drawn, rejection.retryAfter ?? .zero)
    return exchange.now + pause < exchange.deadline ? pause : nil
  }

  /// Only HTTP has a response phase that reads it.
  private func offerAttempts(_ count: Int, to exchange: Exchange) {
    if exchange is HTTPExchange { exchange[AttemptsLeft.self] = count }
  }
}

/// How many attempts are left after the one that runs. One per exchange is enough: retries do not nest.
private enum AttemptsLeft: ExchangeKey {
  static var defaultValue: Int { 0 }
}

extension Retry {
  public var parameters: [Parameter] {
    var parameters = [Parameter("attempts", "\(attempts)")]
    if let perTry { parameters.append(Parameter("per try", "\(perTry)")) }
    if backoff.longest > .zero { parameters.append(Parameter("backoff", "\(backoff.first) to \(backoff.longest)")) }
    return parameters
  }

  public func validate(into problems: inout Problems) {
    if !(1...10).contains(attempts) { problems.refuse("\(attempts) attempts: 1 to 10 are allowed") }
    if let perTry, perTry <= .zero { problems.refuse("\(perTry) per try: it must be more than 0 seconds") }
    if let status = statuses.sorted().first(where: { !(400...599).contains($0) }) {
      problems.refuse("status \(status): 400 to 599 can be retried")
    }
    if let problem = backoff.problem { problems.refuse(problem) }
    if let above = problems.nearest(Retry.self) {
      problems.refuse(
        "a retry of \(above.attempts) attempts stands above: together up to \(above.attempts * attempts) attempts would "
          + "be made; keep one of them")
    }
    if let limit = problems.nearest(Timeout.self)?.limit { checkFit(limit, &problems) }
  }

  private func checkFit(_ limit: Duration, _ problems: inout Problems) {
    let pauses = backoff.total(attempts: attempts)
    if let perTry {
      guard perTry * attempts + pauses > limit else { return }
      problems.refuse(
        "\(attempts) attempts of \(perTry) with pauses of up to \(pauses) in all do not fit the timeout of \(limit) above"
      )
    } else if pauses >= limit {
      problems.refuse("pauses of up to \(pauses) in all leave no time within the timeout of \(limit) above")
    }
  }
}
