internal import Pipeline
internal import Synchronization

/// What ``Metrics`` counts: for each loop a list of rows, one for each listener.
///
/// A loop reads and writes its own rows alone, so nothing is contended; more than 64 loops share, which the atomics bear. Rows
/// are found and added without a lock. They are as many as there are names of listeners, and stay.
final class ExchangeCounts: MetricSource {
  private final class Shard: Sendable {
    let first = AtomicLazyReference<ExchangeRow>()
  }

  private let shards = (0..<64).map { _ in Shard() }

  /// The row of the exchange's listener, on its loop.
  func row(for exchange: Exchange) -> ExchangeRow {
    let listener = exchange.listener
    let shard = shards[exchange.shard & 63]
    var row = shard.first.load() ?? shard.first.storeIfNil(ExchangeRow(listener))
    // By name, not by object: a reload makes new objects for the same listeners. Equal names share their bytes nearly
    // always, and are then compared at once.
    while !row.isOf(listener) { row = row.next.load() ?? row.next.storeIfNil(ExchangeRow(listener)) }
    return row
  }

  func collect(into page: inout MetricPage) {
    // In the order in which the series should be read, metric by metric.
    var rows: [ExchangeRow] = []
    for shard in shards {
      var next = shard.first.load()
      while let row = next {
        rows.append(row)
        next = row.next.load()
      }
    }
    for row in rows { row.addRequests(to: &page) }
    for row in rows { row.addRest(to: &page) }
  }
}

/// What one listener's exchanges came to on one loop.
final class ExchangeRow: ByteMeter {
  /// The row of another listener on this loop.
  let next = AtomicLazyReference<ExchangeRow>()

  private let listener: ListenerInfo
  /// By method and status.
  private let requests = MetricCounters<864>()
  /// By the kind of the rejection.
  private let refusals = MetricCounters<64>()
  /// ``Place``.
  private let numbers = MetricCounters<5>()
  private let durations = DurationCounts()
  private let answers = DurationCounts()

  private enum Place {
    static let up = 0
    static let down = 1
    static let retries = 2
    static let begun = 3
    static let ended = 4
  }

  init(_ listener: ListenerInfo) { self.listener = listener }

  func isOf(_ other: ListenerInfo) -> Bool {
    listener === other || listener.name == other.name && listener.transport == other.transport
  }

  // MARK: Counting, on the loop

  func begin(_ exchange: Exchange) {
    numbers.add(1, at: Place.begun)
    exchange.attachOnce(self)
  }

  /// - Parameter first: the try with which it began: above a retry 1, below it each in turn.
  func end(_ exchange: Exchange, from first: Int, _ summary: Summary?, _ rejection: Rejection?) {
    numbers.add(1, at: Place.ended)
    // A tunnel has moved all that it will. Of HTTP the meter stays until the client has its answer, so that our own refusals
    // count; the transport ends it then.
    if !(exchange is HTTPExchange) {
      exchange.detach(self)
      if let summary { move(exchange.finalTraffic(summary) - exchange.traffic) }
    }
    let retries = exchange.attempt - first + (first > 1 ? 1 : 0)
    if retries > 0 { numbers.add(retries, at: Place.retries) }
    count(exchange, isRead: true, rejection)
    if let answered = exchange.upstreamAnsweredAt { answers.record(answered - exchange.startedAt) }
  }

  /// One that its transport refused, and that has its answer.
  func note(_ exchange: Exchange, isRead: Bool, _ rejection: Rejection) {
    count(exchange, isRead: isRead, rejection)
    move(exchange.traffic)
  }

  private func count(_ exchange: Exchange, isRead: Bool, _ rejection: Rejection?) {
    var method = HTTPMethod.labels.count - 1
    var status = StatusSet.none
    if let exchange = exchange as? HTTPExchange {
      if isRead { method = exchange.request.method.place }
      if let known = exchange.status ?? rejection.map(exchange.status(for:)) { status = StatusSet.index(of: known) }
    }
    requests.add(1, at: method * StatusSet.room + status)
    if let rejection { refusals.add(1, at: rejection.kind.place) }
    durations.record(exchange.now - exchange.startedAt)
  }

  func account(_ moved: Traffic, on exchange: Exchange, isLast: Bool) -> Lease {
    move(moved)
    return .unlimited
  }

  private func move(_ moved: Traffic) {
    if moved.up > 0 { numbers.add(Int(clamping: moved.up), at: Place.up) }
    if moved.down > 0 { numbers.add(Int(clamping: moved.down), at: Place.down) }
  }

  // MARK: Asked, on any thread

  private var labels: MetricLabels {
    ["listener": MetricLabel(listener), "transport": MetricLabel(configured: listener.transport)]
  }

  func addRequests(to page: inout MetricPage) {
    let isHTTP = listener.transport == HTTPExchange.transport
    // There from the first scrape, so that the first request is seen as a growth.
    if !isHTTP { page.add(Metrics.requests, 0, labels) }
    for method in HTTPMethod.labels.indices {
      for status in 0..<StatusSet.count {
        let count = requests[method * StatusSet.room + status]
        if count == 0 { continue }
        var labels = labels
        if isHTTP {
          labels.add("method", HTTPMethod.labels[method])
          labels.add("code", MetricLabel(configured: StatusSet.names[status]))
        }
        page.add(Metrics.requests, count, labels)
      }
    }
  }

  func addRest(to page: inout MetricPage) {
    let labels = labels
    page.add(Metrics.durations, durations.buckets, labels)
    page.add(Metrics.answers, answers.buckets, labels)
    for (direction, place) in [("up" as MetricLabel, Place.up), ("down", Place.down)] {
      var labels = labels
      labels.add("direction", direction)
      page.add(Metrics.bytes, numbers[place], labels)
    }
    for kind in Rejection.Kind.allCases {
      let count = refusals[kind.place]
      if count == 0 { continue }
      var labels = labels
      labels.add("reason", MetricLabel(kind))
      page.add(Metrics.refusals, count, labels)
    }
    page.add(Metrics.retries, numbers[Place.retries], labels)
    // The end is read first, so that what happens in between makes the number too great, and never negative.
    let ended = numbers[Place.ended]
    page.add(Metrics.active, max(0, numbers[Place.begun] - ended), labels)
  }
}

extension Rejection.Kind {
  private static let places = Dictionary(uniqueKeysWithValues: zip(allCases, 0...))

  /// Its place in `allCases`, which are fewer than 64.
  fileprivate var place: Int { Self.places[self] ?? 63 }
}
