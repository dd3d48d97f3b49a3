import Pipeline
import PipelineTesting
import Synchronization
import Testing

/// What `design` says about the response phase, executed with an upstream that answers by a script.
struct ResponsePhaseTests {
  @Test func anInnerHeaderIsSetOncePerAnswerAndTheLastAnswerIsTheOneThatCounts() async throws {
    let upstream = Upstream(502, 503, 200)
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        AllowOrigin()
        SetHeader("x-outer", "1")
        Again(attempts: 3)
        AddHeader("x-inner", "1")
      } to: {
        upstream
      })
    let run = await answered(harness)
    #expect(run.response?.status == 200)
    #expect(run.response?.fields.values(of: "x-inner") == ["1"])
    #expect(run.response?.fields["x-outer"] == "1")
    #expect(run.response?.fields["access-control-allow-origin"] == "*")
    #expect(upstream.calls == 3)
  }

  @Test func theLastAnswerOfAnExhaustedRetryPassesAsItIs() async throws {
    let upstream = Upstream(502)
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        AllowOrigin()
        Again(attempts: 2)
        ErrorPage()
      } to: {
        upstream
      })
    let run = await answered(harness)
    #expect(run.response?.status == 502)
    #expect(run.response?.origin == .upstream)
    #expect(run.response?.body == .bytes(Array("page 502".utf8)))
    #expect(run.response?.fields["content-length"] == "8")
    #expect(upstream.calls == 2)
  }

  @Test func elementsAboveTheThrowerAnswerForItAndThoseBelowDoNot() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        AllowOrigin()
        SetHeader("x-above", "1")
        Refuse(.rateLimited)
        SetHeader("x-below", "1")
      } to: {
        Upstream(200)
      })
    let run = await answered(harness)
    #expect(run.outcome == .refused(.rateLimited))
    #expect(run.response?.status == 429)
    #expect(run.response?.origin == .local)
    #expect(run.response?.fields["x-above"] == "1")
    #expect(run.response?.fields["access-control-allow-origin"] == "*")
    #expect(run.response?.fields["x-below"] == nil)
  }

  @Test func aRejectionAboveIsNotAnsweredByWhatStandsBelow() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        Refuse(.forbidden)
        AllowOrigin()
      } to: {
        Upstream(200)
      })
    let run = await answered(harness)
    #expect(run.response?.status == 403)
    #expect(run.response?.fields["access-control-allow-origin"] == nil)
  }

  @Test func anAnnotationIsRenderedOnTheAnswerAndOnTheRefusal() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        AllowOrigin()
        FewPerSecond(1)
      } to: {
        Upstream(200)
      })
    let first = await answered(harness)
    #expect(first.response?.status == 200)
    #expect(first.response?.fields["x-ratelimit-remaining"] == "0")
    let second = await answered(harness)
    #expect(second.response?.status == 429)
    #expect(second.response?.fields["x-ratelimit-limit"] == "1")
    #expect(second.response?.fields["x-ratelimit-remaining"] == "0")
    #expect(second.response?.fields["retry-after"] == "1")
    #expect(second.response?.fields["access-control-allow-origin"] == "*")
  }

  @Test func anElementNeverHearsOfAnAnswerThatItGaveItself() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        SetHeader("x-above", "1")
        AllowOrigin(answersPreflight: true)
        SomePassword()
      } to: {
        Upstream(200)
      })
    let run = await answered(harness, MockClient(method: .options))
    #expect(run.outcome == .served(Summary(endedBy: .proxy)))
    #expect(run.response?.status == 204)
    #expect(run.response?.fields["x-above"] == "1")
    #expect(run.response?.fields.values(of: "access-control-allow-origin") == ["preflight"])
  }

  @Test func missingCredentialsAreA401WithItsChallengeAndCORS() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        AllowOrigin()
        SomePassword()
      } to: {
        Upstream(200)
      })
    let run = await answered(harness)
    #expect(run.response?.status == 401)
    #expect(run.response?.fields["www-authenticate"]?.hasPrefix("Basic realm=") == true)
    #expect(run.response?.fields["access-control-allow-origin"] == "*")
    let viaProxy = await answered(harness, MockClient(target: "http://example.org/"))
    #expect(viaProxy.response?.status == 407)
    #expect(viaProxy.response?.fields["proxy-authenticate"]?.hasPrefix("Basic realm=") == true)
  }

  @Test func aTapSeesTheBodyAndAHitSkipsWhatStandsBelow() async throws {
    let upstream = Upstream(200)
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        SetHeader("x-outer", "1")
        TinyCache()
        AddHeader("x-inner", "1")
      } to: {
        upstream
      })
    let miss = await answered(harness)
    #expect(miss.response?.fields["x-inner"] == "1")
    let hit = await answered(harness)
    #expect(upstream.calls == 1)
    #expect(hit.response?.body == .bytes(Array("hello".utf8)))
    #expect(hit.response?.fields["x-outer"] == "1")
    #expect(hit.response?.fields["x-inner"] == nil)
  }

  @Test func aPhaseThatThrowsOnARefusalLeavesABare500() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        SetHeader("x-above", "1")
        ThrowInRespond()
        Refuse(.forbidden)
      } to: {
        Upstream(200)
      })
    let run = await answered(harness)
    #expect(run.response?.status == 500)
    #expect(run.response?.fields["x-above"] == nil)
  }

  @Test func theSameHoldsInsideAStoredChain() async throws {
    let upstream = Upstream(502, 200)
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        Chain {
          Pass()
          Again(attempts: 2)
          Pass()
        }
        AddHeader("x-inner", "1")
      } to: {
        upstream
      })
    let run = await answered(harness)
    #expect(run.response?.status == 200)
    #expect(run.response?.fields.values(of: "x-inner") == ["1"])
  }

  @Test func theSameHoldsInsideAnyMiddleware() async throws {
    let upstream = Upstream(502, 200)
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        AnyMiddleware([Pass(), Again(attempts: 2)])
      } to: {
        upstream
      })
    let run = await answered(harness)
    #expect(run.response?.status == 200)
    #expect(upstream.calls == 2)
    #expect(harness.service.placement.entries.map(\.label) == ["chain", "pass", "again", "upstream"])
  }

  @Test func severalCookiesStandBesideEachOther() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        AddHeader("set-cookie", "a=1"); AddHeader("set-cookie", "b=2")
      } to: {
        Upstream(200)
      })
    let run = await answered(harness)
    #expect(run.response?.fields.values(of: "set-cookie") == ["b=2", "a=1"])
  }

  @Test func aRedirectKeepsMethodAndBody() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Redirect { "https://\($0.host ?? "")\($0.target)" }
      })
    var client = MockClient(target: "/a?b")
    client.request.fields.set("host", "Example.org:80")
    let run = await answered(harness, client)
    #expect(run.response?.status == 307)
    #expect(run.response?.fields["location"] == "https://example.org/a?b")
  }

  @Test func anExchangeIsAnsweredOnce() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Handle { exchange in
          _ = try await exchange.respond(200)
          return try await exchange.respond(201)
        }
      })
    let run = await answered(harness)
    #expect(run.response?.status == 200)
    #expect(run.outcome == .refused(.internalError))
  }

  @Test func aRejectionAfterTheCommitChangesNothingForTheClient() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        BreakLate()
      } to: {
        Upstream(200)
      })
    let run = await answered(harness)
    #expect(run.outcome == .failed("Broken()"))
    #expect(run.response?.status == 200)
  }
}

/// Sends one client through the chain of a listener and returns how it went.
func answered(_ harness: ChainHarness<HTTPExchange>, _ client: MockClient = MockClient()) async -> ExchangeRun {
  await harness.start(client)
}
