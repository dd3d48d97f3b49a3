public import Synchronization

/// Some counters in one piece of memory, by index: what a source counts in.
///
/// Adding is one atomic instruction: no lock, no allocation. It is quick where few threads add to the same counters, so who
/// counts every exchange keeps one of these for each loop (`exchange.shard`) and adds them up when asked.
public final class MetricCounters<let size: Int>: Sendable {
  @usableFromInline let cells: InlineArray<size, Atomic<Int>>

  /// All at 0.
  public init() { cells = InlineArray { _ in Atomic(0) } }

  /// Adds to the counter at `index`, which is 0..<size.
  @inlinable public func add(_ amount: Int, at index: Int) { cells[index].wrappingAdd(amount, ordering: .relaxed) }

  /// The counter at `index`.
  @inlinable public subscript(index: Int) -> Int { cells[index].load(ordering: .relaxed) }
}

/// Durations by the bounds that all histograms of time have here, from half a millisecond to an hour.
///
/// Recording is two atomic additions and a few comparisons. One for each loop where every exchange records.
public final class DurationCounts: Sendable {
  /// Upper bounds in microseconds. Requests need the fine ones below a second, tunnels the coarse ones.
  private static let bounds: [18 of Int] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000, 300_000_000, 3_600_000_000,
  ]

  /// The bounds in seconds.
  public static let secondBounds: [Double] = bounds.indices.map { Double(bounds[$0]) / 1e6 }

  /// The buckets, and the sum in microseconds: in nanoseconds a million day-long tunnels would not fit.
  private let counters = MetricCounters<20>()

  public init() {}

  /// Counts one duration; a negative one as 0.
  public func record(_ duration: Duration) {
    let microseconds = max(0, Int(duration.nanosecondsClamped / 1000))
    var bucket = 0
    while bucket < Self.bounds.count, microseconds > Self.bounds[bucket] { bucket += 1 }
    counters.add(1, at: bucket)
    counters.add(microseconds, at: 19)
  }

  /// What was recorded so far, in seconds.
  public var buckets: MetricBuckets {
    MetricBuckets(
      bounds: Self.secondBounds, counts: (0..<19).map { counters[$0] }, sum: Double(counters[19]) / 1e6)
  }
}
