internal import Pipeline

/// What the counters of objects had come to that a reload replaced, by series: added to what their successors count, so that a
/// counter only grows until the process ends, as its kind promises. Who looks at the growth of a sum would else take the part
/// that goes away for a new beginning, and count what is left a second time.
///
/// A pure value. A series that nobody counts in any more is kept, and not shown, until somebody does again: a backend that one
/// list names, the next does not, and the one after that does.
struct CarriedCounts: Sendable {
  /// Series that are kept. Where they would be more, those that nobody counts in are let go of: only whoever makes new names
  /// with every reload comes there.
  static let limit = 4096

  private struct Series: Sendable, Hashable {
    let metric: Metric
    let labels: MetricLabels
  }

  private var lost: [Series: MetricValue] = [:]

  /// How many series are kept.
  var count: Int { lost.count }

  /// Keeps what is in one page and not in another.
  ///
  /// - Parameters:
  ///   - before: what was shown until now, without what was carried.
  ///   - now: what the present objects show of it. Read after `before`: what both show has then only grown.
  mutating func keep(_ before: MetricPage, without now: MetricPage) {
    let present = Self.series(of: now)
    for (series, old) in Self.series(of: before) {
      guard let loss = Self.loss(old, present[series]) else { continue }
      add(loss, to: series)
    }
  }

  /// Lets go of series that are not in this page, where there are too many.
  mutating func trim(to now: MetricPage) {
    guard lost.count > Self.limit else { return }
    let present = Self.series(of: now)
    lost = lost.filter { present[$0.key] != nil }
  }

  /// Adds what was carried to those series that the page shows.
  func add(to page: inout MetricPage) {
    guard !lost.isEmpty else { return }
    // The page's own are read first: adding changes them.
    for (series, present) in Self.series(of: page) {
      switch (lost[series], present) {
      case (.number(let number), .number): page.add(series.metric, number, series.labels)
      case (.buckets(let buckets), .buckets(let others)) where buckets.bounds == others.bounds:
        page.add(series.metric, buckets, series.labels)
      case (nil, _), (.number, _), (.buckets, _): break
      }
    }
  }

  private mutating func add(_ loss: MetricValue, to series: Series) {
    switch (lost[series], loss) {
    case (.number(let number), .number(let more)): lost[series] = .number(number + more)
    case (.buckets(var buckets), .buckets(let more)) where buckets.bounds == more.bounds:
      buckets.add(more)
      lost[series] = .buckets(buckets)
    case (nil, _), (.number, _), (.buckets, _): lost[series] = loss
    }
  }

  /// What is missing now; `nil`: nothing is.
  private static func loss(_ old: MetricValue, _ now: MetricValue?) -> MetricValue? {
    switch (old, now) {
    case (.number(let old), .number(let now)): return old > now ? .number(old - now) : nil
    case (.number(let old), _): return old > 0 ? .number(old) : nil
    case (.buckets(let old), .buckets(let now)) where old.bounds == now.bounds:
      let counts = zip(old.counts, now.counts).map { max(0, $0 - $1) }
      guard counts.contains(where: { $0 > 0 }) else { return nil }
      return .buckets(MetricBuckets(bounds: old.bounds, counts: counts, sum: max(0, old.sum - now.sum)))
    case (.buckets(let old), _): return old.count > 0 ? .buckets(old) : nil
    }
  }

  private static func series(of page: MetricPage) -> [Series: MetricValue] {
    var all: [Series: MetricValue] = [:]
    for family in page.families {
      switch family.metric.kind {
      case .counter, .histogram:
        for sample in family.samples { all[Series(metric: family.metric, labels: sample.labels)] = sample.value }
      case .gauge: break
      }
    }
    return all
  }
}
