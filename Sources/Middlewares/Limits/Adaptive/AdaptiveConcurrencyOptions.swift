/// How an ``AdaptiveConcurrency`` finds its limit.
public struct AdaptiveConcurrencyOptions: Hashable, Sendable {
  /// What it never falls below, and what it admits while the baseline is measured: 1 to `maxLimit`.
  public var minLimit = 3
  /// What it never rises above: `minLimit` to 1,000,000.
  public var maxLimit = 1_000
  /// The limit after the first measurement of the baseline: `minLimit` to `maxLimit`.
  public var initialLimit = 20
  /// How often the limit is changed: 10 ms to 1 minute.
  public var window = Duration.milliseconds(100)
  /// Samples without which a window goes on: 1 to 64.
  public var minSamples = 10
  /// By how much a sample may exceed the baseline without a consequence, as a share of it: 0 to 10.
  public var tolerance = 0.25
  /// How often the baseline is measured anew: 1 s to 1 day.
  public var remeasureEvery = Duration.seconds(60)
  /// Up to how much later than that, as a share of it, so that many proxies do not all hold back at the same time: 0 to 1.
  public var jitter = 0.15
  /// Samples of which the baseline is the median: 1 to 64.
  public var remeasureSamples = 25

  public init() {}

  /// What is wrong with the numbers, one sentence each.
  var problems: [String] {
    var problems: [String] = []
    if !(1...1_000_000).contains(maxLimit) { problems.append("maxLimit of \(maxLimit): 1 to 1,000,000 are allowed") }
    if minLimit < 1 || minLimit > max(maxLimit, 1) {
      problems.append("minLimit of \(minLimit): 1 to maxLimit (\(maxLimit)) are allowed")
    }
    if initialLimit < minLimit || initialLimit > maxLimit {
      problems.append(
        "initialLimit of \(initialLimit): minLimit (\(minLimit)) to maxLimit (\(maxLimit)) are allowed")
    }
    if window < .milliseconds(10) || window > .seconds(60) {
      problems.append("a window of \(window): 10 ms to 1 minute are allowed")
    }
    if !(1...GradientLimit.kept).contains(minSamples) {
      problems.append("minSamples of \(minSamples): 1 to \(GradientLimit.kept) are allowed")
    }
    if !(1...GradientLimit.kept).contains(remeasureSamples) {
      problems.append("remeasureSamples of \(remeasureSamples): 1 to \(GradientLimit.kept) are allowed")
    }
    if !(0...10).contains(tolerance) { problems.append("a tolerance of \(tolerance): 0 to 10 are allowed") }
    if remeasureEvery < .seconds(1) || remeasureEvery > .seconds(86_400) {
      problems.append("remeasureEvery of \(remeasureEvery): 1 s to 1 day are allowed")
    }
    if !(0...1).contains(jitter) { problems.append("a jitter of \(jitter): 0 to 1 is allowed") }
    return problems
  }
}
