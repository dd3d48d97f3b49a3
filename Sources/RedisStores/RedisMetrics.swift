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

extension RedisCache: MetricSource {
  public func collect(into page: inout MetricPage) {
    let counts = counts
    let labels: MetricLabels = ["use": "cache"]
    page.add(RedisMetric.up, isConnected, labels)
    page.add(RedisMetric.calls, counts.asked, labels)
    page.add(RedisMetric.failures, counts.failed, labels)
    page.add(RedisMetric.spared, counts.spared, labels)
    page.add(RedisMetric.opened, counts.opened, labels)
  }
}

extension RedisLimitStore: MetricSource {
  public func collect(into page: inout MetricPage) {
    let counts = counts
    let labels: MetricLabels = ["use": "limits"]
    page.add(RedisMetric.up, isConnected, labels)
    page.add(RedisMetric.calls, counts.asked, labels)
    page.add(RedisMetric.failures, counts.failed, labels)
    page.add(RedisMetric.spared, counts.byPolicy, labels)
    page.add(RedisMetric.leased, counts.fromLease, labels)
    page.add(RedisMetric.opened, counts.opened, labels)
  }
}
