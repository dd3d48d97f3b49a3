internal import Glibc
public import Pipeline

/// A latency that a slow answer raises at once and fast ones lower by and by: an exponentially weighted moving average over
/// time, with peaks (Finagle's `PeakEwma`).
public struct PeakEWMA: Sendable {
  /// Nanoseconds, as of `stamp`.
  private var average = 0.0
  private var stamp = Instant(nanoseconds: 0)

  public init() {}

  /// Takes a measurement. Weighted by the time since the last one, not by their number.
  public mutating func note(_ latency: Duration, at now: Instant, decay: Duration) {
    let value = Double(max(0, latency.nanosecondsClamped))
    if value > average {
      average = value
    } else if now > stamp {
      let kept = Self.kept(after: now - stamp, decay)
      average = average * kept + value * (1 - kept)
    }
    stamp = max(stamp, now)
  }

  /// A try that failed: a refused connection is fast, and shall not look like a good answer.
  public mutating func noteFailure(_ latency: Duration, at now: Instant, decay: Duration) {
    let worse = Duration.nanoseconds(Int64(min(2 * value(at: now, decay: decay), 10e9)))
    note(max(latency, worse, .milliseconds(1)), at: now, decay: decay)
  }

  /// What it is worth now, in nanoseconds: without news it sinks, so that one that was slow is tried again. 0: nothing is known.
  public func value(at now: Instant, decay: Duration) -> Double { average * Self.kept(after: now - stamp, decay) }

  private static func kept(after elapsed: Duration, _ decay: Duration) -> Double {
    exp(-Double(max(0, elapsed.nanosecondsClamped)) / Double(max(1, decay.nanosecondsClamped)))
  }
}
