public import Pipeline

/// Limits the rest of an exchange's life: everything below it, waiting, dialling and the relayed bytes included.
///
/// ```swift
/// Timeout(.seconds(30))
/// ```
/// When it passes before the commit, the client sees HTTP 504, SOCKS5 reply 6 or a closed TCP connection; after the commit
/// the exchange is cut. A tunnel that may live long does not belong under it: the listener's idle limit and lifetime are
/// for those. The nearest deadline wins, whoever set it. Costs no task and no timer of its own: the engine enforces it.
public struct Timeout: ImmediateMiddleware {
  /// More than zero.
  public let limit: Duration

  /// - Parameter limit: more than zero; else the chain is refused when it is built.
  public init(_ limit: Duration) { self.limit = limit }

  public func before(_ exchange: Exchange) -> DeadlineScope { exchange.beginDeadline(limit) }

  public func after(_ exchange: Exchange, _ scope: DeadlineScope, _ summary: Summary) { exchange.end(scope) }

  public func failed(_ exchange: Exchange, _ scope: DeadlineScope, _ error: any Error) -> any Error {
    exchange.end(scope, error)
  }

  public var parameters: [Parameter] { [Parameter("limit", "\(limit)")] }

  public func validate(into problems: inout Problems) {
    if limit <= .zero { problems.refuse("a limit of \(limit): it must be more than 0 seconds") }
    if let above = problems.nearest(Timeout.self), above.limit <= limit {
      problems.note("timeout: \(limit) never passes, because the timeout of \(above.limit) above it passes first")
    }
    checkAttempts(&problems)
  }

  /// Below a retry it is a limit for each attempt; together they have to fit what stands above the retry.
  private func checkAttempts(_ problems: inout Problems) {
    guard let place = problems.above.lastIndex(where: { $0 is Retry }), let retry = problems.above[place] as? Retry,
      retry.perTry == nil, retry.attempts > 1,
      let outer = problems.above[..<place].lazy.reversed().compactMap({ $0 as? Timeout }).first
    else { return }
    let pauses = retry.backoff.total(attempts: retry.attempts)
    guard limit < outer.limit, limit * retry.attempts + pauses > outer.limit else { return }
    problems.refuse(
      "\(retry.attempts) attempts of \(limit) with pauses of up to \(pauses) in all do not fit the timeout of "
        + "\(outer.limit) above the retry")
  }
}
