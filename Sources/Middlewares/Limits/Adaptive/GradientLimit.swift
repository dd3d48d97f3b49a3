internal import Pipeline

/// Finds how many exchanges an upstream serves at once before they only wait for each other.
///
/// As long as an upstream has room its latency does not depend on how many it serves; beyond the knee each one more makes all of
/// them slower. So the limit follows the ratio of the latency without load (the baseline) to the one that is seen:
///
///     gradient = baseline × (1 + tolerance) / sample,   within 0.5 ... 2
///     limit    = gradient × limit + √(gradient × limit)
///
/// The root is headroom: at a gradient of 1 it is what probes for more. This is the gradient controller of Envoy's adaptive
/// concurrency filter, whose baseline is measured anew from time to time with few exchanges at once, and not the average over a
/// long time of Gradient2 (Netflix's concurrency-limits), which under lasting load comes to take the load for the normal. From
/// Gradient2 it has that a limit which is not used does not grow.
///
/// Pure: time in nanoseconds, and random bits are parameters.
struct GradientLimit {
  /// Samples that are kept of a window: the last ones.
  static let kept = 64
  /// Windows at the lowest limit after which the baseline is doubted.
  private static let windowsAtTheFloor = 5

  private enum Phase: Equatable {
    /// With `minLimit` at once; only exchanges that began since then are samples of the baseline.
    case measuring(since: UInt64)
    case running(until: UInt64)
  }

  private(set) var limit: Double
  /// The latency without load; `nil` before it has been measured.
  private(set) var baseline: UInt64?
  private var phase: Phase
  private var windowBegan: UInt64
  /// The most that ran at once in this window.
  private var peak = 0
  private var floored = 0
  private var count = 0
  private var samples = InlineArray<64, UInt64>(repeating: 0)

  init(_ options: AdaptiveConcurrencyOptions, now: UInt64) {
    limit = Double(options.initialLimit)
    phase = .measuring(since: now)
    windowBegan = now
  }

  /// How many may run now.
  func allowed(_ options: AdaptiveConcurrencyOptions) -> Int {
    switch phase {
    case .measuring: options.minLimit
    case .running: min(max(Int(limit), options.minLimit), options.maxLimit)
    }
  }

  var isMeasuring: Bool {
    switch phase {
    case .measuring: true
    case .running: false
    }
  }

  /// One more wants to run beside `running`.
  mutating func noteArrival(running: Int, now: UInt64) {
    peak = max(peak, running)
    if case .running(let until) = phase, now >= until { measure(now) }
  }

  /// One that began at `start` took so long.
  mutating func record(
    _ latency: UInt64, start: UInt64, now: UInt64, random: UInt64, _ options: AdaptiveConcurrencyOptions
  ) {
    switch phase {
    case .measuring(let since):
      guard start >= since else { return }
      keep(latency)
      guard count >= options.remeasureSamples else { return }
      baseline = max(median(), 1)
      let every = Double(options.remeasureEvery.nanosecondsClamped)
      let late = every * options.jitter * Double(random >> 11) * 0x1p-53
      phase = .running(until: now + UInt64(every + late))
      beginWindow(now)
    case .running:
      keep(latency)
      let isOver = now >= windowBegan + UInt64(options.window.nanosecondsClamped)
      guard isOver, count >= options.minSamples, let baseline else { return }
      update(baseline, options)
      beginWindow(now)
      if floored >= Self.windowsAtTheFloor { measure(now) }
    }
  }

  private mutating func update(_ baseline: UInt64, _ options: AdaptiveConcurrencyOptions) {
    let gradient = min(max(Double(baseline) * (1 + options.tolerance) / Double(max(median(), 1)), 0.5), 2)
    let next = gradient * limit + (gradient * limit).squareRoot()
    // What nobody uses says nothing about how much more there could be.
    if next > limit, Double(peak) < limit / 2 { return }
    limit = min(max(next, Double(options.minLimit)), Double(options.maxLimit))
    // Even the lowest limit is too slow: more likely the upstream has changed than that it cannot serve so few.
    floored = limit <= Double(options.minLimit) || gradient <= 0.5 ? floored + 1 : 0
  }

  private mutating func measure(_ now: UInt64) {
    phase = .measuring(since: now)
    floored = 0
    beginWindow(now)
  }

  private mutating func beginWindow(_ now: UInt64) {
    windowBegan = now
    count = 0
    peak = 0
  }

  private mutating func keep(_ latency: UInt64) {
    samples[count % Self.kept] = latency
    count += 1
  }

  private func median() -> UInt64 {
    let used = min(count, Self.kept)
    guard used > 0 else { return 0 }
    var sorted = samples
    // Few and rarely: no allocation is worth more than a faster sort.
    for i in 1..<max(used, 1) {
      var j = i
      while j > 0, sorted[j - 1] > sorted[j] {
        sorted.swapAt(j - 1, j)
        j -= 1
      }
    }
    return sorted[used / 2]
  }
}
