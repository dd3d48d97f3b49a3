public import Pipeline

/// Counts every exchange for the monitoring: how many, how they ended, how long they took, what they moved.
///
/// ```swift
/// let metrics = Metrics()
/// Listener(.http, on: ":8080") { metrics; AccessLog(to: log); … } to: { … }
/// ```
/// | metric | labels |
/// | --- | --- |
/// | `proxy_requests_total` | `listener`, `transport`; of HTTP `method` and `code`, too |
/// | `proxy_refusals_total` | `listener`, `transport`, `reason`: the kind of the ``Rejection`` in which it ended |
/// | `proxy_request_duration_seconds` | `listener`, `transport`: from the first byte to the end, of a tunnel its whole life |
/// | `proxy_answer_duration_seconds` | `listener`, `transport`: until the upstream answered; those that were answered so |
/// | `proxy_bytes_total` | `listener`, `transport`, `direction`: `up`, `down`; of live tunnels, too |
/// | `proxy_retries_total` | `listener`, `transport`: tries after the first |
/// | `proxy_active_requests` | `listener`, `transport`: inside the chain now |
///
/// At the top of the chain it sees every exchange, also those that an HTTP listener refuses before any chain runs; below a
/// retry every try. It changes nothing and refuses nobody. Labels come from bounded sets: no user, no path, no address.
///
/// Costs about ten uncontended atomic additions for an exchange, without a lock, an allocation or a text on a connection
/// that is kept. One value may stand in several listeners, and keeps its counts over a reload.
public struct Metrics: ImmediateMiddleware, ArrivalObserver {
  private var counts = ExchangeCounts()

  public init() {}

  /// Where one exchange is counted.
  public struct Held {
    let row: ExchangeRow
    let attempt: Int
  }

  public func before(_ exchange: Exchange) -> Held {
    let row = counts.row(for: exchange)
    row.begin(exchange)
    return Held(row: row, attempt: exchange.attempt)
  }

  public func after(_ exchange: Exchange, _ held: Held, _ summary: Summary) {
    held.row.end(exchange, from: held.attempt, summary, nil)
  }

  public func failed(_ exchange: Exchange, _ held: Held, _ error: any Error) -> any Error {
    held.row.end(exchange, from: held.attempt, nil, Rejection(error))
    return error
  }

  public func noteRefusal(of exchange: Exchange, isRead: Bool, _ rejection: Rejection) {
    counts.row(for: exchange).note(exchange, isRead: isRead, rejection)
  }

  public var state: AnyObject? { counts }

  public mutating func adopt(from old: Self) { counts = old.counts }
}

extension Metrics {
  static let requests = Metric.counter(
    "proxy_requests_total", "Exchanges that have ended: HTTP requests, TCP and SOCKS5 connections")
  static let refusals = Metric.counter("proxy_refusals_total", "Exchanges that ended in an error, by its kind")
  static let durations = Metric.histogram(
    "proxy_request_duration_seconds", "From the beginning of an exchange to its end; of a tunnel its whole life")
  static let answers = Metric.histogram(
    "proxy_answer_duration_seconds", "From the beginning of an exchange to the answer of its upstream")
  static let bytes = Metric.counter("proxy_bytes_total", "Payload bytes that clients sent (up) and were sent (down)")
  static let retries = Metric.counter("proxy_retries_total", "Tries of exchanges after their first")
  static let active = Metric.gauge("proxy_active_requests", "Exchanges that are in their chain now")
}
