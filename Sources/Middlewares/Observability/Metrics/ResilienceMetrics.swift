internal import Pipeline

// What retries and breakers say of themselves, under the name of the element in which they stand.

private enum ResilienceMetric {
  static let retried = Metric.counter("proxy_retry_tries_total", "Tries that a retry made after the first")
  static let withoutBudget = Metric.counter(
    "proxy_retry_budget_exhausted_total", "Failures that were not tried again: the budget was used up")
  static let exhausted = Metric.counter(
    "proxy_retry_exhausted_total", "Exchanges that failed in the last of their tries")
  static let state = Metric.gauge("proxy_breaker_state", "How a circuit breaker stands: 1 for one state of all")
  static let openings = Metric.counter("proxy_breaker_openings_total", "Times that a circuit breaker opened")
  static let refused = Metric.counter("proxy_breaker_refusals_total", "Exchanges that a circuit breaker refused")
}

extension RetryAllowance: MetricSource {
  func collect(into page: inout MetricPage) {
    let report = report
    let labels: MetricLabels = ["middleware": page.owner ?? "none"]
    page.add(ResilienceMetric.retried, report.retried, labels)
    page.add(ResilienceMetric.withoutBudget, report.withoutBudget, labels)
    page.add(ResilienceMetric.exhausted, report.exhausted, labels)
  }
}

extension BreakerCircuit: MetricSource {
  func collect(into page: inout MetricPage) {
    let report = report
    let owner = page.owner ?? "none"
    for state in BreakerReport.State.allCases {
      page.add(ResilienceMetric.state, state == report.state, ["middleware": owner, "state": MetricLabel(state)])
    }
    page.add(ResilienceMetric.openings, report.openings, ["middleware": owner])
    page.add(ResilienceMetric.refused, report.refused, ["middleware": owner])
  }
}
