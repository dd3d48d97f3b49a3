import Middlewares
import Pipeline
import PipelineTesting
import Testing

/// What a client reads of its limit.
@Suite struct LimitHeaderTests {
  @Test func a429SaysWhenToComeBackAndWhatTheLimitIs() async throws {
    let harness = try ChainHarness(.http) { TokenBucket(.perSecond(1, burst: 2), per: .clientAddress) }
    for _ in 0..<2 { #expect(await harness.run() == .served()) }
    let refused = await harness.start()
    #expect(refused.outcome == .refused(.rateLimited))
    let head = try #require(refused.response)
    #expect(head.status == 429)
    #expect(head.fields["retry-after"] == "1")
    #expect(head.fields["ratelimit-policy"] == "\"client-address\";q=2;w=2")
    #expect(head.fields["ratelimit"] == "\"client-address\";r=0;t=1")
    #expect(head.fields["x-ratelimit-limit"] == "2")
    #expect(head.fields["x-ratelimit-remaining"] == "0")
    #expect(head.fields["x-ratelimit-reset"] == "2")
  }

  @Test func retryAfterIsRoundedUpAndNeverZero() async throws {
    let harness = try ChainHarness(.http) { TokenBucket(.perSecond(1000, burst: 1), per: .global) }
    #expect(await harness.run() == .served())
    #expect(await harness.start().response?.fields["retry-after"] == "1")
    let slow = try ChainHarness(.http) { TokenBucket(.per(.milliseconds(2500), 1), per: .global) }
    #expect(await slow.run() == .served())
    #expect(await slow.start().response?.fields["retry-after"] == "3")
  }

  @Test func anAdmittedExchangeIsToldNothingUnlessAsked() async throws {
    let harness = try ChainHarness(.http) { TokenBucket(.perSecond(5), per: .global) }
    let run = await harness.send { try await answered($0) }
    #expect(run.response?.status == 200)
    for name in names { #expect(run.response?.fields[name] == nil) }
  }

  @Test func anAdmittedExchangeIsToldWhatIsLeftWhenAsked() async throws {
    let harness = try ChainHarness(.http) {
      TokenBucket(.perMinute(5), per: .global, headers: .always(policy: "per \"minute\""))
    }
    let run = await harness.send { try await answered($0) }
    #expect(run.response?.fields["ratelimit-policy"] == "\"per \\\"minute\\\"\";q=5;w=60")
    #expect(run.response?.fields["ratelimit"] == "\"per \\\"minute\\\"\";r=4;t=12")
    #expect(run.response?.fields["x-ratelimit-limit"] == "5")
    #expect(run.response?.fields["x-ratelimit-remaining"] == "4")
    #expect(run.response?.fields["x-ratelimit-reset"] == "12")
  }

  @Test func ofSeveralLimitsTheStrictestIsTold() async throws {
    let harness = try ChainHarness(.http) {
      TokenBucket(.perMinute(100), per: .global, headers: .always(policy: "wide"))
      TokenBucket(.perMinute(10), per: .global, headers: .always(policy: "narrow")).named("narrow")
      TokenBucket(.perMinute(50), per: .global, headers: .always(policy: "middle")).named("middle")
    }
    let run = await harness.send { try await answered($0) }
    #expect(run.response?.fields.values(of: "ratelimit") == ["\"narrow\";r=9;t=6"])
  }

  @Test func aLimitCanKeepSilent() async throws {
    let harness = try ChainHarness(.http) { TokenBucket(.perHour(1), per: .global, headers: .never) }
    #expect(await harness.run() == .served())
    let head = try #require(await harness.start().response)
    #expect(head.status == 429)
    #expect(head.fields["retry-after"] == "3600")
    for name in names { #expect(head.fields[name] == nil) }
  }

  @Test func aShadowedLimitTellsNobody() async throws {
    let noted = ShadowNotes()
    let harness = try ChainHarness(.http) {
      TokenBucket(.perHour(1), per: .global).shadow { noted.note($0.detail) }
    }
    for _ in 0..<3 {
      let run = await harness.send { try await answered($0) }
      #expect(run.response?.status == 200)
      for name in names { #expect(run.response?.fields[name] == nil) }
    }
    #expect(noted.notes == ["1 per hour, burst 1, per global", "1 per hour, burst 1, per global"])
  }

  @Test func otherTransportsRefuseWithoutAWord() async throws {
    let socks = try ChainHarness(.socks5) { TokenBucket(.perHour(1), per: .global, headers: .always) }
    let tcp = try ChainHarness(.tcp) { TokenBucket(.perHour(1), per: .global, headers: .always) }
    #expect(await socks.run() == .served())
    #expect(await tcp.run() == .served())
    #expect(await socks.start().rejection?.detail == "1 per hour, burst 1, per global")
    #expect(await tcp.start().rejection?.retryAfter == .seconds(3600))
  }

  @Test func aPolicyThatNoFieldCanHoldIsRefused() {
    let found = complaints {
      _ = try ChainHarness(.http) { TokenBucket(.perHour(1), per: .global, headers: .always(policy: "fünf")) }
    }
    #expect(found == ["token-bucket: a policy named \"fünf\": 1 to 64 printable ASCII characters are allowed"])
  }

  private let names: [HeaderName] = [
    "ratelimit-policy", "ratelimit", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset",
  ]
}

/// Answers 200 as a destination does.
private func answered(_ exchange: Exchange) async throws -> Summary {
  guard let exchange = exchange as? HTTPExchange else { return Summary() }
  return try await exchange.respond(200)
}
