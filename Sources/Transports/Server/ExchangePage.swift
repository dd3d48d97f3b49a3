internal import Pipeline

/// The open exchanges with the smallest numbers above one, gathered from the loops in any order.
struct ExchangePage: Sendable {
  /// Connections that are looked at without letting the loop go on.
  static let part = 4096

  private let limit: Int
  private let after: UInt64
  private var taken: [UInt64: ExchangeReport] = [:]
  /// Numbers from here on have no place any more.
  private var bound = UInt64.max

  init(after id: UInt64, limit: Int) {
    after = id
    self.limit = limit
  }

  mutating func take(_ exchange: Exchange, where filter: (ExchangeReport) -> Bool) {
    let id = exchange.id
    guard id > after, id < bound, taken[id] == nil else { return }
    let report = ExchangeReport(exchange)
    guard filter(report) else { return }
    taken[id] = report
    // Seldom, so that the sorting costs little for each.
    if taken.count >= 2 * limit { shorten() }
  }

  private mutating func shorten() {
    let kept = reports
    taken = Dictionary(uniqueKeysWithValues: kept.map { ($0.id, $0) })
    if kept.count == limit, let last = kept.last { bound = last.id }
  }

  /// In the order of their numbers.
  var reports: [ExchangeReport] { Array(taken.values.sorted { $0.id < $1.id }.prefix(limit)) }
}
