import Middlewares
import Pipeline
import PipelineTesting
import Testing

@Suite struct MetricFormatTests {
  private static let jobs = Metric.counter("jobs_total", "Jobs \\ done\nin \"all\"")
  private static let bytes = Metric.counter("moved_bytes_total", "Bytes")
  private static let load = Metric.gauge("load", "Load")
  private static let times = Metric.histogram("job_seconds", "Times")

  private var page: MetricPage {
    var page = MetricPage()
    page.add(Self.jobs, 3, ["kind": "a\"b\\c\nd", "other": "é"])
    page.add(Self.bytes, 9_007_199_254_740_991)
    page.add(Self.load, 0.25)
    page.add(Self.load, -1, ["at": "x"])
    page.add(Self.load, .infinity, ["at": "y"])
    page.add(Self.load, .nan, ["at": "z"])
    page.add(Self.times, MetricBuckets(bounds: [0.005, 1], counts: [2, 1, 4], sum: 7.5), ["kind": "a"])
    return page
  }

  private func text(_ format: MetricFormat) -> String { String(decoding: format.text(of: page), as: UTF8.self) }

  /// Both formats write these lines alike.
  private static let gauge = """
    # HELP load Load
    # TYPE load gauge
    load 0.25
    load{at="x"} -1
    load{at="y"} +Inf
    load{at="z"} NaN
    # HELP job_seconds Times
    # TYPE job_seconds histogram
    """
  private static let end = """
    job_seconds_bucket{kind="a",le="+Inf"} 7
    job_seconds_sum{kind="a"} 7.5
    job_seconds_count{kind="a"} 7
    """

  @Test func theTextFormatOfPrometheus() {
    #expect(
      text(.prometheus) == """
        # HELP jobs_total Jobs \\\\ done\\nin "all"
        # TYPE jobs_total counter
        jobs_total{kind="a\\"b\\\\c\\nd",other="é"} 3
        # HELP moved_bytes_total Bytes
        # TYPE moved_bytes_total counter
        moved_bytes_total 9007199254740991
        \(Self.gauge)
        job_seconds_bucket{kind="a",le="0.005"} 2
        job_seconds_bucket{kind="a",le="1"} 3
        \(Self.end)

        """)
  }

  /// The family's name is without `_total`, units are said, bounds have a fraction, and the last line is the end.
  @Test func openMetrics() {
    #expect(
      text(.openMetrics) == """
        # HELP jobs Jobs \\\\ done\\nin \\"all\\"
        # TYPE jobs counter
        jobs_total{kind="a\\"b\\\\c\\nd",other="é"} 3
        # HELP moved_bytes Bytes
        # TYPE moved_bytes counter
        # UNIT moved_bytes bytes
        moved_bytes_total 9007199254740991
        \(Self.gauge)
        # UNIT job_seconds seconds
        job_seconds_bucket{kind="a",le="0.005"} 2
        job_seconds_bucket{kind="a",le="1.0"} 3
        \(Self.end)
        # EOF

        """)
  }

  @Test(arguments: [
    (
      "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
        + "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", true
    ),
    ("application/openmetrics-text; version=\"1.0.0\"; charset=utf-8", true), ("Application/OpenMetrics-Text", true),
    ("text/plain;q=0.5, application/openmetrics-text;q=0.5", true),
    ("text/plain, application/openmetrics-text;q=0.5", false), ("application/openmetrics-text;version=0.0.1", false),
    ("application/openmetrics-text;q=0", false), ("application/openmetrics-text;q=x", false), ("*/*", false),
    ("text/plain", false), (nil, false),
  ])
  func theClientChoosesTheFormat(accept: String?, isOpenMetrics: Bool) {
    var fields = HeaderFields()
    if let accept { fields.set("accept", accept) }
    #expect(MetricFormat(for: fields) == (isOpenMetrics ? .openMetrics : .prometheus))
  }

  @Test func theServedPageSaysWhatItIs() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        ServeMetrics { $0.add(Self.load, 1) }
      })
    var client = MockClient(target: "/metrics")
    client.request.fields.set("accept", "application/openmetrics-text")
    let run = await harness.send(client) { _ in Summary() }
    let response = try #require(run.response)
    #expect(response.status == 200)
    #expect(
      response.fields.values(of: "content-type") == ["application/openmetrics-text; version=1.0.0; charset=utf-8"])
    #expect(response.fields.values(of: "cache-control") == ["no-store"])
  }
}
