public import Pipeline

// What becomes of the calls of Redis, for limits and for the cache.

private enum RedisMetric {
  static let up = Metric.gauge(
    "proxy_redis_up", "Whether Redis is asked: 0 while it is given up for its failures", joining: .least)
  static let calls = Metric.counter("proxy_redis_calls_total", "Operations that Redis was asked for")
  static let failures = Metric.counter("proxy_redis_failures_total", "Of these, those without an answer")
  static let spared = Metric.counter(
    "proxy_redis_spared_total", "Operations for which Redis was not asked: it was given up")
  static let leased = Metric.counter("proxy_redis_leased_total", "Takes that were served from a lease")
  static let opened = Metric.counter("proxy_redis_given_up_total", "Times that Redis was given up for its failures")
}

extension MetricPage {
  /// What every use of Redis counts.
  fileprivate mutating func add(
    _ labels: MetricLabels, isConnected: Bool, asked: Int, failed: Int, spared: Int, opened: Int
  ) {
    add(RedisMetric.up, isConnected, labels)
    add(RedisMetric.calls, asked, labels)
    add(RedisMetric.failures, failed, labels)
    add(RedisMetric.spared, spared, labels)
    add(RedisMetric.opened, opened, labels)
  }
}

extension RedisCache: MetricSource {
  public func collect(into page: inout MetricPage) {
    let counts = counts
    page.add(
      ["use": "cache"], isConnected: isConnected, asked: counts.asked, failed: counts.failed, spared: counts.spared,
      opened: counts.opened)
  }
}

extension RedisLimitStore: MetricSource {
  public func collect(into page: inout MetricPage) {
    let counts = counts
    let labels: MetricLabels = ["use": "limits"]
    page.add(
      labels, isConnected: isConnected, asked: counts.asked, failed: counts.failed, spared: counts.byPolicy,
      opened: counts.opened)
    page.add(RedisMetric.leased, counts.fromLease, labels)
  }
}
