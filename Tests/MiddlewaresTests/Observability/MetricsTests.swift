import CMallocCount
import Middlewares
import Pipeline
import PipelineTesting
import Testing

@Suite struct MetricsTests {
  /// The lines of a page that begin with a name.
  private func lines(_ metrics: Metrics, _ name: String) -> [String] {
    var page = MetricPage()
    for source in metrics.metricSources { page.add(source) }
    return String(decoding: MetricFormat.prometheus.text(of: page), as: UTF8.self).split(separator: "\n").map(
      String.init
    )
    .filter { $0.hasPrefix(name) }
  }

  @Test func aRequestIsCountedByMethodAndStatus() async throws {
    let metrics = Metrics()
    let harness = try ChainHarness(.http) { metrics }
    for (method, status) in [(HTTPMethod.get, 200), (.get, 200), (.post, 503), ("BREW", 418), (.get, 299)] {
      await harness.run(MockClient(method: method)) { exchange in
        guard let exchange = exchange as? HTTPExchange else { throw Rejection(.internalError) }
        return try await exchange.respond(status)
      }
    }
    #expect(
      lines(metrics, "proxy_requests_total") == [
        #"proxy_requests_total{listener="http",transport="http",method="GET",code="2xx"} 1"#,
        #"proxy_requests_total{listener="http",transport="http",method="GET",code="200"} 2"#,
        #"proxy_requests_total{listener="http",transport="http",method="POST",code="503"} 1"#,
        #"proxy_requests_total{listener="http",transport="http",method="other",code="418"} 1"#,
      ])
    #expect(lines(metrics, "proxy_refusals_total").isEmpty)
  }

  @Test func aRefusalIsCountedByItsReasonAndWithTheStatusThatItGets() async throws {
    let metrics = Metrics()
    let harness = try ChainHarness(.http) {
      metrics
      TokenBucket(.perHour(1), per: .global)
    }
    await harness.run(MockClient())
    #expect(await harness.run(MockClient()) == .refused(.rateLimited))
    #expect(
      lines(metrics, "proxy_requests_total") == [
        #"proxy_requests_total{listener="http",transport="http",method="GET",code="429"} 1"#,
        // The first one's destination has not answered.
        #"proxy_requests_total{listener="http",transport="http",method="GET",code="none"} 1"#,
      ])
    #expect(
      lines(metrics, "proxy_refusals_total") == [
        #"proxy_refusals_total{listener="http",transport="http",reason="rateLimited"} 1"#
      ])
  }

  @Test func aTunnelIsCountedWithItsLifeItsAnswerAndItsBytes() async throws {
    let metrics = Metrics()
    let harness = try ChainHarness(.socks5) { metrics }
    let run = await harness.start(MockClient(user: "ada"))
    #expect(
      lines(metrics, "proxy_active_requests") == [
        #"proxy_active_requests{listener="socks5",transport="socks5"} 1"#
      ])
    await run.perform { exchange in
      exchange.traffic = Traffic(up: 100, down: 2000)
      do { _ = try exchange.renewLease() } catch { Issue.record(error) }
    }
    // A live tunnel counts already.
    #expect(
      lines(metrics, "proxy_bytes_total") == [
        #"proxy_bytes_total{listener="socks5",transport="socks5",direction="up"} 100"#,
        #"proxy_bytes_total{listener="socks5",transport="socks5",direction="down"} 2000"#,
      ])
    harness.clock.advance(by: .seconds(42))
    await run.finish(Summary(traffic: Traffic(up: 100, down: 2000), endedBy: .client))
    #expect(
      lines(metrics, "proxy_requests_total") == [#"proxy_requests_total{listener="socks5",transport="socks5"} 1"#])
    let durations = lines(metrics, "proxy_request_duration_seconds")
    #expect(
      durations.contains(
        #"proxy_request_duration_seconds_bucket{listener="socks5",transport="socks5",le="30"} 0"#))
    #expect(
      durations.contains(
        #"proxy_request_duration_seconds_bucket{listener="socks5",transport="socks5",le="60"} 1"#))
    #expect(
      durations.suffix(2) == [
        #"proxy_request_duration_seconds_sum{listener="socks5",transport="socks5"} 42"#,
        #"proxy_request_duration_seconds_count{listener="socks5",transport="socks5"} 1"#,
      ])
    #expect(lines(metrics, "proxy_active_requests").allSatisfy { $0.hasSuffix(" 0") })
  }

  @Test(arguments: [true, false]) func everyTryAfterTheFirstIsCountedOnceWhereverItStands(isAbove: Bool) async throws {
    let (above, below) = (Metrics(), Metrics())
    let harness = try ChainHarness(.socks5) {
      above
      Retry(attempts: 4)
      below
    }
    let run = await harness.start(MockClient())
    for _ in 1...3 {
      await run.fail(Rejection(.connectionRefused))
      harness.clock.advance(by: .seconds(60))
      await harness.loop.settle()
    }
    await run.finish()
    let counted = lines(isAbove ? above : below, "proxy_retries_total")
    #expect(counted == [#"proxy_retries_total{listener="socks5",transport="socks5"} 3"#])
  }

  @Test func triesAfterTheFirstAreCountedAndBytesOnceHoweverOftenItRuns() async throws {
    let metrics = Metrics()
    let harness = try ChainHarness(.socks5) {
      Retry(attempts: 3)
      metrics
    }
    let run = await harness.start(MockClient())
    await run.fail(Rejection(.connectionRefused))
    harness.clock.advance(by: .seconds(60))
    await harness.loop.settle()
    await run.perform { exchange in
      exchange.traffic = Traffic(up: 7, down: 0)
      do { _ = try exchange.renewLease() } catch { Issue.record(error) }
    }
    await run.finish()
    #expect(lines(metrics, "proxy_retries_total") == [#"proxy_retries_total{listener="socks5",transport="socks5"} 1"#])
    #expect(lines(metrics, "proxy_bytes_total").first?.hasSuffix(" 7") == true)
  }

  @Test func loopsAreAddedUpAndListenersKeptApart() async throws {
    let metrics = Metrics()
    let tcp = try ChainHarness(.tcp, shards: 3) { metrics }
    let socks = try ChainHarness(.socks5, shards: 3) { metrics }
    for shard in 0..<3 {
      await tcp.run(on: shard)
      await socks.run(on: shard)
      await socks.run(on: shard)
    }
    #expect(
      lines(metrics, "proxy_requests_total") == [
        #"proxy_requests_total{listener="tcp",transport="tcp"} 3"#,
        #"proxy_requests_total{listener="socks5",transport="socks5"} 6"#,
      ])
  }

  @Test func countsGoOnAfterAReload() async throws {
    let old = Metrics()
    let first = try ChainHarness(.tcp) { old }
    await first.run()
    let second = try ChainHarness(.tcp, replacing: first.service.placement) { Metrics() }
    await second.run()
    #expect(lines(old, "proxy_requests_total") == [#"proxy_requests_total{listener="tcp",transport="tcp"} 2"#])
  }

  /// What was no request has no method.
  @Test func whatATransportRefusesIsCountedWithoutAMethod() async throws {
    let metrics = Metrics()
    let harness = try ChainHarness(.http) { metrics }
    let exchange = MockHTTPExchange(MockClient())
    let rejection = Rejection(.malformed)
    try await exchange.refuse(rejection)
    harness.service.noteRefusal(of: exchange, isRead: false, rejection)
    #expect(
      lines(metrics, "proxy_requests_total") == [
        #"proxy_requests_total{listener="http",transport="http",method="none",code="400"} 1"#
      ])
    #expect(
      lines(metrics, "proxy_refusals_total") == [
        #"proxy_refusals_total{listener="http",transport="http",reason="malformed"} 1"#
      ])
  }

  @Test func retriesAndBreakersSayWhatTheyDid() async throws {
    let harness = try ChainHarness(.tcp) {
      Retry(attempts: 2).named("twice")
      CircuitBreaker(.consecutive(1))
    }
    let run = await harness.start()
    await run.fail(Rejection(.connectionRefused))
    harness.clock.advance(by: .seconds(60))
    // The second try finds the breaker open.
    await harness.loop.settle()
    var page = MetricPage()
    var seen: Set<ObjectIdentifier> = []
    harness.service.placement.collect(into: &page, seen: &seen)
    let text = String(decoding: MetricFormat.prometheus.text(of: page), as: UTF8.self)
    #expect(text.contains("proxy_retry_tries_total{middleware=\"retry \\\"twice\\\"\"} 1\n"))
    #expect(text.contains("proxy_breaker_openings_total{middleware=\"circuit-breaker\"} 1\n"))
  }

  @Test func storesNameTheElementInWhichTheyStand() async throws {
    let harness = try ChainHarness(.tcp) {
      TokenBucket(.perSecond(1), per: .clientAddress).named("burst")
      ConcurrencyLimit(3)
    }
    let run = await harness.start()
    var page = MetricPage()
    var seen: Set<ObjectIdentifier> = []
    harness.service.placement.collect(into: &page, seen: &seen)
    let text = String(decoding: MetricFormat.prometheus.text(of: page), as: UTF8.self)
    #expect(text.contains("proxy_limit_keys{middleware=\"token-bucket \\\"burst\\\"\"} 1\n"))
    #expect(text.contains("proxy_concurrency_running{middleware=\"concurrency-limit\"} 1\n"))
    await run.finish()
  }
}
