import Middlewares
import Pipeline
import Testing

/// What happens to one key, computed by hand: times in milliseconds after the start of the clock's third hour, so that windows of
/// a second, a minute and an hour begin at 0.
struct LimitTimeline {
  enum Call {
    case take(Int)
    case refund(Int)
    case look
  }

  struct Event {
    let at: Double
    let call: Call
    let isAllowed: Bool
    let left: Int
    let whole: Double
    let retry: Double?
    let delay: Double

    static func taken(_ at: Double, _ cost: Int = 1, left: Int, whole: Double, delay: Double = 0) -> Event {
      Event(at: at, call: .take(cost), isAllowed: true, left: left, whole: whole, retry: 0, delay: delay)
    }

    /// `retry: nil` is never.
    static func refused(_ at: Double, _ cost: Int = 1, left: Int, whole: Double, retry: Double?) -> Event {
      Event(at: at, call: .take(cost), isAllowed: false, left: left, whole: whole, retry: retry, delay: 0)
    }

    /// The balance after so many were given back.
    static func refunded(_ at: Double, _ cost: Int, left: Int, whole: Double) -> Event {
      Event(at: at, call: .refund(cost), isAllowed: true, left: left, whole: whole, retry: 0, delay: 0)
    }

    static func looked(_ at: Double, left: Int, whole: Double, retry: Double = 0, delay: Double = 0) -> Event {
      Event(at: at, call: .look, isAllowed: retry == 0, left: left, whole: whole, retry: retry, delay: delay)
    }
  }

  /// Runs the events on a store in memory, so that the table's part is tested with the algorithm's.
  static func check<Algorithm: LimitAlgorithm>(
    _ algorithm: Algorithm, _ rate: Rate, _ events: [Event], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let store = MemoryLimitStore(rate, algorithm: algorithm)
    #expect(store.problems == [], sourceLocation: sourceLocation)
    let key = LimitKey.named("ada")
    for event in events {
      let now = Instant(nanoseconds: 7_200_000_000_000 + UInt64(event.at * 1_000_000))
      let decision: LimitDecision
      switch event.call {
      case .take(let cost): decision = try store.take(key, cost: cost, rate: nil, now: now)
      case .look: decision = try store.peek(key, rate: nil, now: now)
      case .refund(let cost):
        try store.refund(key, cost: cost, rate: nil, now: now)
        decision = try store.peek(key, rate: nil, now: now)
      }
      let expected = LimitDecision(
        isAllowed: event.isAllowed, limit: rate.burst, remaining: event.left, reset: milliseconds(event.whole),
        retryAfter: event.retry.map(milliseconds) ?? LimitDecision.never, delay: milliseconds(event.delay))
      #expect(decision == expected, "\(event.call) at \(event.at) ms", sourceLocation: sourceLocation)
    }
  }

  private static func milliseconds(_ value: Double) -> Duration {
    .nanoseconds(Int64((value * 1_000_000).rounded(.up)))
  }
}
