internal import Pipeline

/// How long a client may take over its request's body: never silent for too long, and on average not slower than a rate.
///
/// Only the time in which we wait for the client counts, not the time for which an upstream makes it wait. Pure.
struct BodyPace {
  private var waited = Duration.zero
  private var waitBegan: Instant?

  mutating func reset() {
    waited = .zero
    waitBegan = nil
  }

  /// A wait for the client's bytes begins: how long it may last.
  mutating func limit(_ now: Instant, received: UInt64, _ options: HTTPOptions) -> Instant {
    waitBegan = now
    let idle = now + options.bodyIdleTimeout
    guard let rate = options.minBodyRate else { return idle }
    let earned = Duration.seconds(Double(received) / Double(max(rate, 1)))
    return min(idle, now + (options.bodyGrace + earned - waited))
  }

  /// The wait has ended.
  mutating func ended(_ now: Instant) {
    guard let began = waitBegan else { return }
    waited += now - began
    waitBegan = nil
  }
}
