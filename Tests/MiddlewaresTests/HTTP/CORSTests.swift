import Middlewares
import Pipeline
import PipelineTesting
import Testing

struct CORSTests {
  private func harness(_ cors: CORS, _ origin: Origin = Origin()) throws -> ChainHarness<HTTPExchange> {
    let users = try UserTable.testing(CountingVerifier(), "ann:secret")
    return try ChainHarness(
      Listener(.http, on: ":1") {
        cors
        BasicAuth(users)
      } to: {
        origin
      })
  }

  private func preflight(
    _ origin: String, _ fields: KeyValuePairs<HeaderName, String> = ["access-control-request-method": "PUT"]
  ) -> MockClient {
    var asked = client(.options, "/x", fields)
    asked.request.fields.add("origin", origin)
    return asked
  }

  @Test func aPreflightIsAnsweredAboveAuthentication() async throws {
    let harness = try harness(
      CORS(
        allow: .origins("https://app.example"), methods: [.get, .put], headers: .only("x-a", "x-b"), exposing: ["etag"],
        credentials: true, maxAge: .seconds(60), privateNetwork: true))
    let run = await harness.start(
      preflight(
        "https://app.example",
        [
          "access-control-request-method": "PUT", "access-control-request-headers": "x-a",
          "access-control-request-private-network": "true",
        ]))
    let head = try #require(run.response)
    #expect(head.status == 204)
    #expect(head["access-control-allow-origin"] == "https://app.example")
    #expect(head["access-control-allow-credentials"] == "true")
    #expect(head["access-control-allow-methods"] == "GET, PUT")
    #expect(head["access-control-allow-headers"] == "x-a, x-b")
    #expect(head["access-control-max-age"] == "60")
    #expect(head["access-control-allow-private-network"] == "true")
    #expect(head["access-control-expose-headers"] == "")
    #expect(head["vary"] == "origin | access-control-request-headers")
  }

  @Test func anotherOriginsPreflightSaysNothingAndVaries() async throws {
    let harness = try harness(CORS(allow: .origins("https://app.example"), credentials: true))
    let head = try #require(await harness.start(preflight("https://evil.example")).response)
    #expect(head.status == 204)
    #expect(head["access-control-allow-origin"] == "" && head["access-control-allow-methods"] == "")
    #expect(head["access-control-allow-credentials"] == "")
    #expect(head["vary"].hasPrefix("origin"))
  }

  @Test func anOptionsThatIsNoPreflightGoesOn() async throws {
    let harness = try harness(CORS(allow: .any))
    #expect(await harness.start(client(.options, "/")).response?.status == 401)
    #expect(await harness.start(preflight("https://a.example", [:])).response?.status == 401)
    #expect(
      await harness.start(client(.options, "/", ["access-control-request-method": "PUT"])).response?.status == 401)
  }

  @Test func anAnswerSaysWhoMayReadItInPlaceOfTheUpstream() async throws {
    let origin = Origin(
      fields: [
        "access-control-allow-origin": "*", "Access-Control-Allow-Credentials": "true", "vary": "accept, Origin",
        "access-control-expose-headers": "x-secret",
      ])
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        CORS(allow: .origins("https://*.app.example", "https://b.example:8443"), exposing: ["etag", "x-a"])
      } to: {
        origin
      })
    let good = try #require(await harness.start(client(.get, "/", ["origin": "https://x.y.app.example"])).response)
    #expect(good["access-control-allow-origin"] == "https://x.y.app.example")
    #expect(good["access-control-allow-credentials"] == "")
    #expect(good["access-control-expose-headers"] == "etag, x-a")
    #expect(good["vary"] == "accept, Origin")
    let other = try #require(await harness.start(client(.get, "/", ["origin": "https://c.example"])).response)
    #expect(other.status == 200)
    #expect(other["access-control-allow-origin"] == "" && other["access-control-expose-headers"] == "")
    let none = try #require(await harness.start().response)
    #expect(none["access-control-allow-origin"] == "" && none["vary"] == "accept, Origin")
  }

  @Test(arguments: [
    "https://app.example", "http://x.app.example", "https://.app.example", "https://evilapp.example", "null", "",
    "https://x.app.example:444", "https://evil.test:80.app.example", "https://evil.test/.app.example",
    "https://u@x.app.example", "https://X.app.example", "https://x.app.example.evil.test",
  ])
  func aPatternTakesNamesBelowAndNothingElse(_ origin: String) async throws {
    let harness = try ChainHarness(.http) { CORS(allow: .origins("https://*.app.example")) }
    let run = await harness.start(client(.get, "/", ["origin": origin]))
    await run.fail(Rejection(.forbidden))
    #expect(run.response?["access-control-allow-origin"] == "")
  }

  @Test func aRefusalIsReadableForThePageThatCausedIt() async throws {
    let harness = try harness(CORS(allow: .matching { $0.hasSuffix(".example") }, credentials: true))
    let head = try #require(await harness.start(client(.get, "/", ["origin": "https://a.example"])).response)
    #expect(head.status == 401)
    #expect(head["access-control-allow-origin"] == "https://a.example")
    #expect(head["access-control-allow-credentials"] == "true")
  }

  @Test func anybodyIsAStarThatNeedsNoVary() async throws {
    let harness = try harness(CORS(allow: .any))
    let head = try #require(await harness.start(client(.get, "/", ["origin": "https://a.example"])).response)
    #expect(head["access-control-allow-origin"] == "*" && head["vary"] == "")
    let asked = try #require(
      await harness.start(
        preflight(
          "https://a.example",
          ["access-control-request-method": "PUT", "access-control-request-headers": "authorization,x-a"])
      ).response)
    #expect(asked["access-control-allow-headers"] == "authorization,x-a")
  }

  @Test func theOriginMayBeTakenOutOfTheRequestBelow() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        CORS(allow: .origins("https://a.example"))
        Headers(request: .remove("origin"))
      } to: {
        Origin()
      })
    let head = try #require(await harness.start(client(.get, "/", ["origin": "https://a.example"])).response)
    #expect(head["access-control-allow-origin"] == "https://a.example")
  }

  @Test func whatWouldBeUnsafeOrMeaninglessIsRefusedWhenTheAppIsBuilt() {
    #expect(
      problems {
        CORS(allow: .any, credentials: true)
      } == ["cors: credentials for any origin would let every page act as its visitor: name the origins"])
    #expect(
      problems {
        CORS(
          allow: .origins(
            "a.example", "https://a.example/", "*", "https://A.example", "https://a*.example", "https://*.", "null"))
      } == [
        "cors: \"a.example\" is no origin: write scheme://host or scheme://host:port, without a path",
        "cors: \"https://a.example/\" is no origin: write scheme://host or scheme://host:port, without a path",
        "cors: the origin \"*\" is none: write .any",
        "cors: browsers write origins in lower case: \"https://A.example\"",
        "cors: the * in \"https://a*.example\" has to be a whole first label: https://*.example.org",
        "cors: the * in \"https://*.\" has to be a whole first label: https://*.example.org",
      ])
    #expect(
      problems {
        CORS(allow: .any)
        CORS(allow: .origins([]), methods: [], maxAge: .seconds(-1))
      } == [
        "cors: no origin is allowed: name one or more", "cors: no method is allowed: name one or more",
        "cors: a maxAge of -1.0 seconds: 0 seconds to 1 day are allowed",
        "cors: another CORS stands above it: only one may answer for a response",
      ])
  }
}
