/// What is known at one moment: families of samples, gathered from every source and then written in one of the text formats.
public struct MetricPage: Sendable {
  /// One number, or one histogram, with its labels.
  public struct Sample: Sendable {
    public let labels: MetricLabels
    public internal(set) var value: MetricValue
  }

  /// Every sample of one metric.
  public struct Family: Sendable {
    public let metric: Metric
    public internal(set) var samples: [Sample] = []
    fileprivate var places: [MetricLabels: Int] = [:]
  }

  /// In the order in which they came; each metric once.
  public private(set) var families: [Family] = []
  private var places: [String: Int] = [:]

  /// The element whose state is asked, as the plan names it: `edge/token-bucket "per user"`; `nil` outside of a chain. So a
  /// store that does not know where it stands can say it.
  public internal(set) var owner: MetricLabel?

  public init() {}

  /// Adds a number.
  public mutating func add(_ metric: Metric, _ value: Double, _ labels: MetricLabels = [:]) {
    precondition(metric.kind != .histogram, "metric \(metric.name): a histogram takes MetricBuckets")
    add(metric, .number(value), labels)
  }

  /// Adds a number. Beyond 2^53 its last digits may be others: the formats write floating point.
  public mutating func add(_ metric: Metric, _ value: Int, _ labels: MetricLabels = [:]) {
    add(metric, Double(value), labels)
  }

  /// Adds a yes or no: 1 or 0.
  public mutating func add(_ metric: Metric, _ value: Bool, _ labels: MetricLabels = [:]) {
    add(metric, value ? 1 : 0, labels)
  }

  /// Adds a histogram.
  public mutating func add(_ metric: Metric, _ buckets: MetricBuckets, _ labels: MetricLabels = [:]) {
    precondition(metric.kind == .histogram, "metric \(metric.name): a \(metric.kind.rawValue) takes one number")
    add(metric, .buckets(buckets), labels)
  }

  /// Has `source` add what it knows.
  public mutating func add(_ source: any MetricSource) { source.collect(into: &self) }

  private mutating func add(_ metric: Metric, _ value: MetricValue, _ labels: MetricLabels) {
    let place = places[metric.name] ?? families.count
    if place == families.count {
      families.append(Family(metric: metric))
      places[metric.name] = place
    }
    precondition(
      families[place].metric.kind == metric.kind, "metric \(metric.name) is declared twice, as different kinds")
    families[place].add(value, labels)
  }
}

extension MetricPage.Family {
  fileprivate mutating func add(_ value: MetricValue, _ labels: MetricLabels) {
    guard let place = places[labels] else {
      places[labels] = samples.count
      samples.append(MetricPage.Sample(labels: labels, value: value))
      return
    }
    samples[place].value.join(value, metric.joining)
  }
}

/// What a sample says.
public enum MetricValue: Sendable, Hashable {
  case number(Double)
  case buckets(MetricBuckets)

  mutating func join(_ other: MetricValue, _ joining: Metric.Joining) {
    switch (self, other) {
    case (.number(let mine), .number(let theirs)):
      switch joining {
      case .sum: self = .number(mine + theirs)
      case .least: self = .number(min(mine, theirs))
      }
    case (.buckets(var mine), .buckets(let theirs)):
      mine.add(theirs)
      self = .buckets(mine)
    case (.number, .buckets), (.buckets, .number):
      preconditionFailure("the samples of one metric are of one kind")
    }
  }
}

/// Observations by upper bounds, each counted once: the formats add them up.
public struct MetricBuckets: Sendable, Hashable {
  /// Ascending; what is above the last falls into one more bucket.
  public let bounds: [Double]
  /// One more than there are bounds.
  public private(set) var counts: [Int]
  /// Of all observations, in the metric's unit.
  public private(set) var sum: Double

  /// - Parameters:
  ///   - bounds: ascending.
  ///   - counts: of each bucket alone, one more than there are bounds.
  public init(bounds: [Double], counts: [Int], sum: Double) {
    precondition(
      counts.count == bounds.count + 1,
      "MetricBuckets: \(counts.count) counts for \(bounds.count) bounds; allowed is one more")
    self.bounds = bounds
    self.counts = counts
    self.sum = sum
  }

  /// How many observations there are.
  public var count: Int { counts.reduce(0, +) }

  /// Adds the observations of another histogram with the same bounds.
  public mutating func add(_ other: MetricBuckets) {
    precondition(bounds == other.bounds, "MetricBuckets: histograms with other bounds cannot be added")
    for i in counts.indices { counts[i] += other.counts[i] }
    sum += other.sum
  }
}
