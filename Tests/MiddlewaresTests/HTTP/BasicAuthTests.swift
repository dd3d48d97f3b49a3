import Middlewares
import Pipeline
import PipelineTesting
import Testing

struct BasicAuthTests {
  private let verifier = CountingVerifier()

  private func harness(realm: String = "staff") throws -> ChainHarness<HTTPExchange> {
    let users = try UserTable.testing(verifier, "ann:secret:admin")
    return try ChainHarness(
      Listener(.http, on: ":1") {
        BasicAuth(users, realm: realm)
        Authorize(role: "admin")
      } to: {
        Handle { try await $0.respond(text: $0.principal?.id ?? "-") }
      })
  }

  @Test func aRealmAndItsCharsetAreInTheChallenge() async throws {
    let harness = try harness(realm: "the \"inner\" \\ circle")
    let head = try #require(await harness.start().response)
    #expect(head.status == 401)
    #expect(head["www-authenticate"] == "Basic realm=\"the \\\"inner\\\" \\\\ circle\", charset=\"UTF-8\"")
  }

  @Test func rightOnesPassAndWrongOnesAreAskedAgain() async throws {
    let harness = try harness()
    let good = await harness.start(client(.get, "/", ["authorization": "Basic YW5uOnNlY3JldA=="]))
    #expect(good.responseBody == Array("ann".utf8))
    let bad = try #require(
      await harness.start(client(.get, "/", ["authorization": "Basic YW5uOndyb25n"])).response)
    #expect(bad.status == 401 && bad["www-authenticate"] == "Basic realm=\"staff\", charset=\"UTF-8\"")
  }

  @Test func anotherSchemeIsNoLoginAndABrokenOneIsMalformed() async throws {
    let harness = try harness()
    #expect(await harness.start(client(.get, "/", ["authorization": "Bearer abc"])).response?.status == 401)
    #expect(await harness.start(client(.get, "/", ["authorization": "Basic %"])).response?.status == 400)
    #expect(await harness.start(client(.get, "/", ["authorization": "Basic YW5u"])).response?.status == 400)
    #expect(verifier.verifications == 0)
  }

  @Test func aClientOfAForwardProxyGetsTheProxysStatus() async throws {
    let harness = try harness()
    let head = try #require(await harness.start(client(.get, "http://example.org/")).response)
    #expect(head.status == 407 && head["proxy-authenticate"].hasPrefix("Basic realm=\"staff\""))
    #expect(head["www-authenticate"] == "")
    let good = client(.get, "http://example.org/", ["proxy-authorization": "Basic YW5uOnNlY3JldA=="])
    #expect(await harness.start(good).response?.status == 200)
    let wrongField = client(.get, "http://example.org/", ["authorization": "Basic YW5uOnNlY3JldA=="])
    #expect(await harness.start(wrongField).response?.status == 407)
  }

  @Test func whoGuessesIsTurnedAwayWithoutHashing() async throws {
    let harness = try harness()
    let guess = client(.get, "/", ["authorization": "Basic YW5uOndyb25n"])
    for _ in 0..<5 { #expect(await harness.start(guess).response?.status == 401) }
    let head = try #require(await harness.start(guess).response)
    #expect(head.status == 429 && Int(head["retry-after"]) ?? 0 > 0)
    #expect(verifier.verifications == 5)
  }

  @Test func aRealmThatNoFieldCanHoldIsRefusedWhenTheAppIsBuilt() throws {
    let users = try UserTable.testing(verifier, "ann:secret")
    #expect(
      problems { BasicAuth(users, realm: "a\nb") }
        == ["basic-auth: the realm \"a\nb\" has to be up to 255 printable ASCII characters"])
  }
}
