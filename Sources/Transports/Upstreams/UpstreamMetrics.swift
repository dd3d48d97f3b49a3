public import Pipeline

/// What a group of backends says of itself. Groups and backends are named by the configuration, so the names may be labels.
extension UpstreamGroup: MetricSource {
  public func collect(into page: inout MetricPage) {
    let report = report()
    let group = MetricLabel(configured: report.name)
    page.add(UpstreamMetric.panic, report.isPanicking, ["upstream": group])
    page.add(UpstreamMetric.refused, Int(clamping: report.refused), ["upstream": group])
    if let hedges {
      page.add(UpstreamMetric.hedges, hedges.asked, ["upstream": group])
      page.add(UpstreamMetric.hedgesWon, hedges.won, ["upstream": group])
    }
    for backend in report.backends {
      backend.collect(into: &page, ["upstream": group, "backend": MetricLabel(configured: backend.name)])
    }
  }
}

private enum UpstreamMetric {
  static let health = Metric.gauge(
    "proxy_backend_health", "Whether a backend gets traffic: not while unhealthy, ejected, disabled or draining",
    joining: .least)
  static let state = Metric.gauge("proxy_backend_state", "How a backend stands: 1 for one state of all")
  static let weight = Metric.gauge("proxy_backend_weight", "Its share among the others", joining: .least)
  static let active = Metric.gauge("proxy_backend_active_requests", "Exchanges that a backend serves")
  static let waiting = Metric.gauge("proxy_backend_waiting_requests", "Exchanges that wait for one of its connections")
  static let tries = Metric.counter("proxy_backend_requests_total", "Tries that were sent to a backend")
  static let answered = Metric.counter(
    "proxy_backend_answers_total", "Tries that a backend answered, whatever the status")
  static let answerTime = Metric.counter(
    "proxy_backend_answer_seconds_total", "Time that a backend took for all its answers")
  static let failures = Metric.counter("proxy_backend_failures_total", "Tries that failed by the backend's doing")
  static let turnedAway = Metric.counter(
    "proxy_backend_turned_away_total", "Exchanges that found its queue full, or waited there in vain")
  static let checks = Metric.counter("proxy_backend_checks_total", "Active health checks, by their result")
  static let ejections = Metric.counter(
    "proxy_backend_ejections_total", "Times that a backend was taken out for what exchanges found")
  static let latency = Metric.gauge(
    "proxy_backend_latency_seconds", "Moving average of the time to the answer", joining: .least)
  static let panic = Metric.gauge("proxy_upstream_panic", "Whether so few backends are healthy that all are used")
  static let refused = Metric.counter("proxy_upstream_refusals_total", "Exchanges that found no backend")
  static let hedges = Metric.counter("proxy_upstream_hedges_total", "Second backends that were asked for one request")
  static let hedgesWon = Metric.counter("proxy_upstream_hedges_won_total", "Of these, those that answered first")
}

extension BackendReport {
  fileprivate func collect(into page: inout MetricPage, _ labels: MetricLabels) {
    func with(_ name: StaticString, _ value: MetricLabel) -> MetricLabels {
      var more = labels
      more.add(name, value)
      return more
    }
    page.add(UpstreamMetric.health, state.isUsable, labels)
    for one in BackendState.allCases { page.add(UpstreamMetric.state, one == state, with("state", MetricLabel(one))) }
    page.add(UpstreamMetric.weight, weight, labels)
    page.add(UpstreamMetric.active, active, labels)
    page.add(UpstreamMetric.waiting, waiting, labels)
    page.add(UpstreamMetric.tries, Int(clamping: totals.tries), labels)
    page.add(UpstreamMetric.answered, Int(clamping: totals.answered), labels)
    page.add(UpstreamMetric.answerTime, totals.latency.inSeconds, labels)
    for kind in UpstreamFailure.allCases {
      page.add(UpstreamMetric.failures, Int(clamping: totals.failures[kind]), with("reason", MetricLabel(kind)))
    }
    page.add(UpstreamMetric.turnedAway, Int(clamping: totals.turnedAway), labels)
    page.add(UpstreamMetric.checks, Int(clamping: totals.checksPassed), with("result", "passed"))
    page.add(UpstreamMetric.checks, Int(clamping: totals.checksFailed), with("result", "failed"))
    page.add(UpstreamMetric.ejections, Int(clamping: totals.ejections), labels)
    if let latency { page.add(UpstreamMetric.latency, latency.inSeconds, labels) }
  }
}
