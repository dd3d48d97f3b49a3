import Testing

@testable import Pipeline

@Suite struct MetricTests {
  private enum Colour: String, CaseIterable { case red, green }

  private static let jobs = Metric.counter("jobs_total", "Jobs")
  private static let load = Metric.gauge("load", "Load")
  private static let health = Metric.gauge("health", "Health", joining: .least)
  private static let times = Metric.histogram("job_seconds", "Times")

  @Test func aNameFollowsThePracticeOfItsKind() {
    #expect(Metric.problem(with: "proxy_requests_total", of: .counter) == nil)
    #expect(Metric.problem(with: "proxy_requests", of: .counter) == "the name of a counter ends in _total")
    #expect(Metric.problem(with: "a_total", of: .gauge) == "_total is no end for the name of a gauge")
    #expect(Metric.problem(with: "a_bucket", of: .gauge) == "_bucket is no end for the name of a gauge")
    #expect(Metric.problem(with: "a_bytes", of: .histogram) == nil)
    #expect(
      Metric.problem(with: "a_milliseconds", of: .histogram)
        == "the name of a histogram ends in its base unit, _seconds or _bytes")
    for wrong in ["", "1a", "a-b", "a b", "ä", "a\"b", "a\nb"] {
      #expect(
        Metric.problem(with: wrong, of: .gauge)
          == "a name is letters, digits, _ and :, and does not begin with a digit")
    }
  }

  @Test func aLabelsNameIsAWordThatIsNotReserved() {
    #expect(MetricLabels.problem(with: "listener") == nil)
    for reserved in ["le", "quantile", "__name__"] {
      #expect(MetricLabels.problem(with: reserved) == "this name is reserved")
    }
    for wrong in ["", "1", "a:b", "a-b"] {
      #expect(
        MetricLabels.problem(with: wrong) == "a label's name is letters, digits and _, and does not begin with a digit")
    }
  }

  @Test func aLabelsValueComesFromABoundedSet() {
    #expect(MetricLabel("up").text == "up")
    #expect(MetricLabel(Colour.green).text == "green")
    let names = MetricNames(["blue", "green", "blue"])
    #expect(names.label(for: "blue").text == "blue")
    #expect(names.label(for: "anybody's choice").text == "other")
  }

  /// An upstream may send any number; the series stay few.
  @Test func everyStatusHasOneOfFewNames() {
    var names: Set<String> = []
    for status in -1...1000 { names.insert(MetricLabel(status: status).text) }
    #expect(names.count == StatusSet.count && StatusSet.count <= StatusSet.room)
    #expect(MetricLabel(status: 200).text == "200")
    #expect(MetricLabel(status: 451).text == "451")
    #expect(MetricLabel(status: 299).text == "2xx")
    #expect(MetricLabel(status: 99).text == "none")
    #expect(MetricLabel(status: 600).text == "none")
  }

  @Test func everyMethodHasOneOfFewNames() {
    #expect(HTTPMethod.labels.map(\.text).suffix(2) == ["other", "none"])
    #expect(HTTPMethod.labels[HTTPMethod.get.place].text == "GET")
    #expect(HTTPMethod.labels[HTTPMethod.patch.place].text == "PATCH")
    #expect(HTTPMethod.labels[HTTPMethod("BREW").place].text == "other")
  }

  @Test func samplesWithTheSameLabelsAreOne() {
    var page = MetricPage()
    page.add(Self.jobs, 2, ["kind": "a"])
    page.add(Self.load, 0.5)
    page.add(Self.jobs, 3, ["kind": "a"])
    page.add(Self.jobs, 1, ["kind": "b"])
    page.add(Self.health, true)
    page.add(Self.health, false)
    page.add(Self.times, MetricBuckets(bounds: [1], counts: [1, 0], sum: 0.5))
    page.add(Self.times, MetricBuckets(bounds: [1], counts: [2, 4], sum: 9))
    #expect(page.families.map(\.metric.name) == ["jobs_total", "load", "health", "job_seconds"])
    #expect(page.families[0].samples.map(\.value) == [.number(5), .number(1)])
    #expect(page.families[2].samples.map(\.value) == [.number(0)])
    #expect(
      page.families[3].samples.map(\.value) == [.buckets(MetricBuckets(bounds: [1], counts: [3, 4], sum: 9.5))])
  }

  @Test func durationsFallIntoTheirBuckets() {
    let counts = DurationCounts()
    counts.record(.microseconds(500))
    counts.record(.nanoseconds(500_999))
    counts.record(.microseconds(501))
    counts.record(.seconds(-1))
    counts.record(.seconds(3600))
    counts.record(.seconds(3601))
    let buckets = counts.buckets
    #expect(buckets.bounds == DurationCounts.secondBounds && buckets.bounds == buckets.bounds.sorted())
    #expect(buckets.counts == [3, 1] + Array(repeating: 0, count: 15) + [1, 1])
    #expect(buckets.count == 6 && abs(buckets.sum - 7201.001501) < 1e-6)
  }

  @Test func countersAddUpOverTasks() async {
    let counters = MetricCounters<3>()
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 { group.addTask { for _ in 0..<1000 { counters.add(2, at: 1) } } }
    }
    #expect([counters[0], counters[1], counters[2]] == [0, 16_000, 0])
  }

  private final class Shelf: MetricSource {
    func collect(into page: inout MetricPage) {
      page.add(MetricTests.load, 1, ["owner": page.owner ?? "none"])
    }
  }

  private struct Keeper: Middleware {
    let shelf: Shelf
    var state: AnyObject? { shelf }
    func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }
  }

  private struct End: Destination {
    func serve(_ exchange: Exchange) async throws -> Summary { Summary() }
  }

  /// A state that several elements and listeners share is asked once, under the name of the first.
  @Test func theSourcesOfAChainAreAskedOnce() throws {
    let (shared, own) = (Shelf(), Shelf())
    let services: [any Serving] = [
      try Service(
        Listener(.tcp, on: ":1") {
          Keeper(shelf: shared).named("first")
          Keeper(shelf: shared).shadow()
        } to: {
          End()
        }, shards: 1),
      try Service(
        Listener(.tcp, on: ":2") {
          Keeper(shelf: shared)
          Keeper(shelf: own)
        } to: {
          End()
        }, shards: 1),
    ]
    var page = MetricPage()
    var seen: Set<ObjectIdentifier> = []
    for service in services { service.placement.collect(into: &page, seen: &seen) }
    var owners: [String] = []
    for sample in page.families[0].samples { sample.labels.forEach { owners.append($1) } }
    #expect(owners == ["keeper \"first\"", "keeper"])
    #expect(page.families[0].samples.map(\.value) == [.number(1), .number(1)])
    #expect(page.owner == nil)
  }
}
