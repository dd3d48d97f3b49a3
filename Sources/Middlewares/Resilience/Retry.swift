public import Pipeline

/// Tries again what failed before the client has seen anything of it.
///
/// ```swift
/// Retry(attempts: 3, perTry: .seconds(5), backoff: .exponential(from: .milliseconds(50)))
/// Retry(attempts: 3).allowNonIdempotent(when: .field("idempotency-key"))
/// ```
/// Tries again when all of this holds:
/// - the exchange is not committed: no byte of an upstream has reached the client;
/// - the error says that it helps: `safe`, or `idempotentOnly` where the exchange is idempotent (every tunnel; HTTP by its
///   method);
/// - what was sent on of a request's body was kept, so that it can be sent again;
/// - the pause ends before the deadline, and is not longer than `longestWait`;
/// - the budget, which all exchanges share, has one left.
///
/// On HTTP an upstream's answer with a status of `statuses` counts as a failure; the last attempt's answer passes as it
/// is. The client sees the error of the last attempt. What stands below runs once per attempt; what stands above runs
/// once. `Upstreams` below takes another backend for each attempt.
///
/// Where nothing fails it costs two atomics on a cache line of the loop, and a copy of a request's body up to `replay` bytes, into
/// buffers that are used again.
public struct Retry: Middleware, RepeatingElement {
  @inlinable public static var throwsLate: Bool { false }

  /// 1...10, the first one included.
  public let attempts: Int
  /// For each attempt until the upstream answers; more than zero. `nil`: what the deadline above leaves.
  public let perTry: Duration?
  public let statuses: Set<Int>
  public let backoff: Backoff
  /// How many retries there may be, over all exchanges together.
  public var budget: RetryBudget { allowance.budget }
  /// Bytes of a request's body that are kept for another attempt.
  public let replay: Int
  /// The longest pause that an upstream may ask for with `retry-after`.
  public let longestWait: Duration

  private var conditions: [RepeatCondition] = []
  private var allowance: RetryAllowance
  private let clock: WallClock

  /// - Parameters:
  ///   - attempts: 1...10, the first one included.
  ///   - perTry: how long one attempt may be without an answer of the upstream, more than zero; a response or a tunnel that has
  ///     begun is not cut by it. `nil`: what the deadline above leaves.
  ///   - statuses: HTTP statuses (400...599) of an upstream that count as a failure.
  ///   - backoff: pauses between attempts.
  ///   - budget: how many retries there may be, over all exchanges together.
  ///   - replay: bytes of a request's body that are kept for another attempt: 0...262,144. A request that has sent more of
  ///     it goes on and is not tried again; the log says so.
  ///   - longestWait: 0 or more. An upstream that asks with `retry-after` to be left alone for longer is not asked again, and
  ///     its answer is the client's.
  public init(
    attempts: Int, perTry: Duration? = nil, on statuses: Set<Int> = [502, 503, 504],
    backoff: Backoff = .exponential(from: .milliseconds(50)), budget: RetryBudget = .standard, replay: Int = 64 * 1024,
    longestWait: Duration = .seconds(10)
  ) {
    self.init(
      attempts: attempts, perTry: perTry, on: statuses, backoff: backoff, budget: budget, replay: replay,
      longestWait: longestWait, clock: .system)
  }

  init(
    attempts: Int, perTry: Duration? = nil, on statuses: Set<Int> = [502, 503, 504],
    backoff: Backoff = .exponential(from: .milliseconds(50)), budget: RetryBudget = .standard, replay: Int = 64 * 1024,
    longestWait: Duration = .seconds(10), clock: WallClock
  ) {
    self.attempts = attempts
    self.perTry = perTry
    self.statuses = statuses
    self.backoff = backoff
    self.replay = replay
    self.longestWait = longestWait
    self.clock = clock
    allowance = RetryAllowance(budget)
  }

  /// Besides what is idempotent, requests for which one of the conditions holds may be sent again after they may have reached
  /// an upstream. The application must recognise a repetition: else an order is placed twice.
  ///
  /// `Retry(attempts: 3).allowNonIdempotent(when: .field("idempotency-key"))`
  public func allowNonIdempotent(when conditions: RepeatCondition...) -> Retry {
    var copy = self
    copy.conditions += conditions
    return copy
  }

  /// What it has done so far, over all loops.
  public func report() -> RetryReport { allowance.report }

  // Inlined into the run of elements that it stands in: where nothing fails it is not a frame of its own.
  @inlinable @inline(__always) public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    begin(exchange)
    if perTry != nil { return try await goOn(exchange, failures: 0, next) }
    do {
      return try await next()
    } catch {
      return try await recover(exchange, error, next)
    }
  }

  @usableFromInline func begin(_ exchange: Exchange) {
    allowance.saw(exchange)
    if replay > 0 { exchange.keepForRepeat(upTo: replay) }
    exchange.attemptsLeft = attempts - 1
  }

  @usableFromInline func recover(_ exchange: Exchange, _ error: any Error, _ next: Next) async throws -> Summary {
    try await pause(exchange, failures: 1, after: error)
    return try await goOn(exchange, failures: 1, next)
  }

  @usableFromInline func goOn(_ exchange: Exchange, failures before: Int, _ next: Next) async throws -> Summary {
    var failures = before
    while true {
      do {
        exchange.attemptsLeft = attempts - failures - 1
        guard let perTry else { return try await next() }
        return try await exchange.withDeadline(untilAnswered: perTry, next)
      } catch {
        failures += 1
        try await pause(exchange, failures: failures, after: error)
      }
    }
  }

  /// Gets ready for the next attempt, or throws what ended the last one.
  private func pause(_ exchange: Exchange, failures: Int, after error: any Error) async throws {
    guard let rejection = error as? Rejection else { throw error }
    let isGranted = exchange.isRepeatGranted
    exchange.isRepeatGranted = false
    guard !exchange.isCommitted, isGranted || grants(exchange, after: rejection) else { throw rejection }
    // The log shows what was given up on; the exchange itself may yet end well.
    exchange.runtime.log(.debug, "retry: exchange \(exchange.id), attempt \(failures) of \(attempts): \(rejection)")
    let pause = pause(after: failures, rejection, on: exchange)
    if pause > .zero { try await exchange.sleep(for: pause) }
    exchange.attempt += 1
    exchange.beginRepeat()
  }

  /// A status that means "try again" is thrown while another attempt is possible, and comes back to `handle`.
  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    guard head.status >= 400, head.origin == .upstream, statuses.contains(head.status) else { return }
    let rejection = Rejection(
      .upstreamProtocol, retryAfter: RetryAfter.read(head, clock: clock),
      detail: "the upstream answered \(head.status)",
      cause: UnwantedStatus(head.status))
    guard grants(exchange, after: rejection) else { return }
    exchange.isRepeatGranted = true
    throw rejection
  }

  /// Whether there will be another attempt; takes it from the budget.
  private func grants(_ exchange: Exchange, after rejection: Rejection) -> Bool {
    guard mayRepeat(exchange, after: rejection) else { return false }
    guard exchange.attemptsLeft > 0 else {
      allowance.gaveUp()
      return false
    }
    let failures = attempts - exchange.attemptsLeft
    let wait = rejection.retryAfter ?? .zero
    guard wait <= longestWait,
      exchange.now + max(backoff.bound(after: failures), wait) < exchange.deadline
    else { return false }
    return allowance.take(exchange)
  }

  private func mayRepeat(_ exchange: Exchange, after rejection: Rejection) -> Bool {
    switch rejection.retry {
    case .safe: exchange.isRepeatable
    case .idempotentOnly: exchange.isIdempotent || exchange.isRepeatable && isAllowed(exchange)
    case .pointless: false
    }
  }

  private func isAllowed(_ exchange: Exchange) -> Bool {
    if conditions.isEmpty { return false }
    guard let exchange = exchange as? HTTPExchange else { return false }
    return conditions.contains { $0.holds(for: exchange) }
  }

  /// At least as long as the error asks for.
  private func pause(after failures: Int, _ rejection: Rejection, on exchange: Exchange) -> Duration {
    let drawn = backoff.pause(after: failures, randomBits: exchange.runtime.randomBits())
    return max(drawn, rejection.retryAfter ?? .zero)
  }
}

extension Retry {
  public var parameters: [Parameter] {
    var parameters = [Parameter("attempts", "\(attempts)")]
    if let perTry { parameters.append(Parameter("per try", "\(perTry)")) }
    if backoff.longest > .zero { parameters.append(Parameter("backoff", "\(backoff.first) to \(backoff.longest)")) }
    parameters.append(Parameter("budget", "\(budget)"))
    for condition in conditions { parameters.append(Parameter("non-idempotent", condition.description)) }
    return parameters
  }

  public var state: AnyObject? { allowance }

  /// What was seen and retried goes on being counted. Another budget begins anew.
  public mutating func adopt(from old: Self) {
    if budget == old.budget { allowance = old.allowance }
  }

  public func validate(into problems: inout Problems) {
    if !(1...10).contains(attempts) { problems.refuse("\(attempts) attempts: 1 to 10 are allowed") }
    if let perTry, perTry <= .zero { problems.refuse("\(perTry) per try: it must be more than 0 seconds") }
    if let status = statuses.sorted().first(where: { !(400...599).contains($0) }) {
      problems.refuse("status \(status): 400 to 599 can be retried")
    }
    if let problem = backoff.problem { problems.refuse(problem) }
    if let problem = budget.problem { problems.refuse(problem) }
    if !(0...262_144).contains(replay) { problems.refuse("replay of \(replay) bytes: 0 to 262144 are allowed") }
    if longestWait < .zero { problems.refuse("a longest wait of \(longestWait): it must be 0 seconds or more") }
    if let above = problems.nearest(Retry.self) {
      problems.refuse(
        "a retry of \(above.attempts) attempts stands above: together up to \(above.attempts * attempts) attempts would "
          + "be made; keep one of them")
    }
    if let limit = problems.nearest(Timeout.self)?.limit { checkFit(limit, &problems) }
    if !conditions.isEmpty, problems.transport == "tcp" || problems.transport == "socks5" {
      problems.refuse(
        "allowNonIdempotent concerns HTTP requests: a tunnel can always be tried again until it is open; leave it out")
    }
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
