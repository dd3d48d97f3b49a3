import CompilerChecks
import Testing

/// A label that clients choose does not compile, and the compiler says why.
struct MetricDiagnosticsTests {
  private static let found = Task {
    try await CompilerChecks(prelude: metricPrelude).errors(of: metricMistakes + [rightMetrics])
  }

  @Test(arguments: metricMistakes)
  func aLabelThatIsNotBoundedIsRefused(_ mistake: Mistake) async throws {
    let found = try await Self.found.value[mistake.name] ?? []
    #expect(found == mistake.errors)
  }

  @Test func boundedLabelsCompile() async throws {
    #expect(try await Self.found.value[rightMetrics.name] == nil)
  }
}

private let metricPrelude = """
  import Pipeline
  nonisolated(unsafe) var exchange: HTTPExchange! = nil
  nonisolated(unsafe) var page = MetricPage()
  let jobs = Metric.counter("jobs_total", "Jobs")
  enum Colour: String, CaseIterable { case red, green }
  """

private let unavailable = "1:28: 'init(_:)' is unavailable: "

private let metricMistakes = [
  Mistake(
    "labelOfAText", "page.add(jobs, 1, [\"path\": MetricLabel(exchange.request.path)])",
    unavailable
      + "a label's value comes from a bounded set: a literal, an enumeration's case, a listener, or one of MetricNames; a name "
      + "that a client chose would be a time series for each client"),
  Mistake(
    "labelOfAUser", "page.add(jobs, 1, [\"user\": MetricLabel(exchange.principal!)])",
    unavailable
      + "a user is no label: every user would be a time series, and a name for all to see who see the graphs"),
  Mistake(
    "labelOfAClient", "page.add(jobs, 1, [\"peer\": MetricLabel(exchange.client)])",
    unavailable + "a client is no label: every address would be a time series"),
  Mistake(
    "labelOfADestination", "page.add(jobs, 1, [\"dest\": MetricLabel(exchange.requestedDestination!)])",
    unavailable + "a destination that clients choose is no label: every address would be a time series"),
  Mistake(
    "labelWithAText", "let label: MetricLabel = \"user \\(exchange.request.path)\"\n_ = label",
    "1:26: cannot convert value of type 'String' to specified type 'MetricLabel'"),
  Mistake(
    "metricWithAText", "_ = Metric.counter(\"\\(exchange.request.path)_total\", \"Jobs\")",
    "1:20: cannot convert value of type 'String' to expected argument type 'StaticString'"),
]

private let rightMetrics = Mistake(
  "rightMetrics",
  """
  page.add(jobs, 1, ["listener": MetricLabel(exchange.listener), "colour": MetricLabel(Colour.red), "code": MetricLabel(status: 200)])
  page.add(jobs, 1, ["tenant": MetricNames(["a"]).label(for: exchange.request.path), "direction": "up"])
  """)
