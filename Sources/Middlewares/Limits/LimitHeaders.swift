internal import Pipeline

/// When an HTTP client is told how its limit stands, in `RateLimit-Policy`, `RateLimit` and `X-RateLimit-*` fields. A refusal
/// has its `Retry-After` in any case.
public struct LimitHeaders: Sendable {
  enum When { case onRefusal, always, never }

  let when: When
  /// As the client sees it; `nil`: what the limit is kept per.
  let policy: String?

  /// With the 429. An exchange that is admitted computes nothing for it.
  public static var onRefusal: LimitHeaders { onRefusal(policy: nil) }
  /// With every answer, of several limits the one with the least left. Costs an exchange about as much as another middleware.
  public static var always: LimitHeaders { always(policy: nil) }
  /// Never: nobody is told where the limit is.
  public static var never: LimitHeaders { LimitHeaders(when: .never, policy: nil) }

  /// With the 429.
  ///
  /// - Parameter policy: the name that the client sees: 1 to 64 printable ASCII characters. Default: what the limit is kept per.
  public static func onRefusal(policy: String?) -> LimitHeaders { LimitHeaders(when: .onRefusal, policy: policy) }

  /// With every answer, of several limits the one with the least left.
  ///
  /// - Parameter policy: the name that the client sees: 1 to 64 printable ASCII characters. Default: what the limit is kept per.
  public static func always(policy: String?) -> LimitHeaders { LimitHeaders(when: .always, policy: policy) }

  /// What is wrong with the name.
  var problem: String? {
    guard let policy else { return nil }
    let isShowable = (1...64).contains(policy.utf8.count) && policy.utf8.allSatisfy { (0x20...0x7e).contains($0) }
    return isShowable ? nil : "a policy named \"\(policy)\": 1 to 64 printable ASCII characters are allowed"
  }
}

/// Tells clients of one limit.
struct LimitTeller: Sendable {
  let when: LimitHeaders.When
  let policy: String
  let usual: Rate

  init(_ headers: LimitHeaders, label: String, _ usual: Rate) {
    when = headers.when
    policy = headers.policy ?? label
    self.usual = usual
  }

  var tellsAll: Bool { when == .always }

  /// - Parameter rate: of this key; `nil`: the usual one.
  func tell(_ decision: LimitDecision, _ rate: Rate?, to exchange: Exchange) {
    guard decision.isCounted else { return }
    switch when {
    case .never: return
    case .onRefusal where decision.isAllowed: return
    case .onRefusal, .always: break
    }
    let rate = rate ?? usual
    // The time in which so many tokens come: the period for a window, the time to fill for a bucket.
    let window = rate.period.inSeconds * Double(decision.limit) / Double(max(1, rate.count))
    exchange.annotate(
      .rateLimit(
        .init(
          policy: policy, limit: decision.limit, windowSeconds: max(1, Int(window.rounded(.up))),
          remaining: decision.isAllowed ? decision.remaining : 0,
          resetSeconds: decision.reset.secondsRoundedUp,
          nextSeconds: decision.isAllowed || decision.retryAfter == LimitDecision.never
            ? decision.reset.secondsRoundedUp : max(1, decision.retryAfter.secondsRoundedUp))))
  }

  /// The refusal that `decision` stands for.
  func refusal(_ decision: LimitDecision, detail: String) -> Rejection {
    let isNever = decision.retryAfter == LimitDecision.never
    return Rejection(
      .rateLimited, retryAfter: isNever ? nil : .seconds(max(1, decision.retryAfter.secondsRoundedUp)), detail: detail)
  }
}
