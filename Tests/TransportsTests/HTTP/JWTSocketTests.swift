import JWTAuthentication
import Middlewares
import Pipeline
import Testing

@testable import Transports

/// Tokens on real connections, with keys that an issuer publishes over HTTP.
@Suite struct JWTSocketTests {
  private static let token =
    "eyJhbGciOiAiRVMyNTYiLCAia2lkIjogIm9uZSJ9.eyJzdWIiOiAiYW5uIiwgImF1ZCI6ICJhcGkiLCAiZXhwIjogNDEwMjQ"
    + "0NDgwMH0.qAIc8DwfchsKTX9mwF7Otp04lvBT3-pqgoHucoHk_1EZESn3nRmsAZ-tDanHOUTziX3-ifxNK1Z_D6yoPJP3xA"
  private static let jwks =
    #"{"keys":[{"kty":"EC","crv":"P-256","kid":"one","x":"kJt7IaKUw3V_LQ2WcLGHm5JNhtSHczrJcbkdWSKpS_Q","y":"TidIvFA_RY2qL_8pjv1SuQJfSHff-8AQKzVAiopzBms"}]}"#

  private func withProxy(
    _ keys: ScriptedBackend, body: @escaping @Sendable (SocketAddress) throws -> Void
  ) async throws {
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        JWTAuth(.url(HTTPOrigin(keys.address.text), "/jwks.json"), JWTRequirements(audiences: ["api"]))
        Authorize { (user: JWTUser) in user.claims.subject == "ann" }
      } to: {
        Respond(200, "in")
      }
    } body: { server in
      let address = server.address()
      try await onThread { try body(address) }
    }
  }

  @Test func aTokenIsVerifiedWithThePublishedKeys() async throws {
    let issuer = try ScriptedBackend.answering { head, _ in
      response(Self.jwks, "Content-Type: application/jwk-set+json\r\n")
    }
    try await withProxy(issuer) { proxy in
      let client = try HTTPPeer.connect(proxy)
      let asked = try client.get()
      #expect(asked?.status == 401)
      #expect(asked?.head["www-authenticate"] == ["Bearer realm=\"proxy\""])
      for _ in 0..<3 {
        let answer = try client.get("/", "Authorization: Bearer \(Self.token)\r\n")
        #expect(answer?.status == 200)
        #expect(answer?.body == "in")
      }
      let wrong = try client.get("/", "Authorization: Bearer \(Self.token)x\r\n")
      #expect(wrong?.status == 401)
      #expect(wrong?.head["www-authenticate"] == ["Bearer realm=\"proxy\", error=\"invalid_token\""])
      #expect(try client.get("/", "Authorization: bearer \(Self.token)\r\n")?.status == 200)
    }
    #expect(issuer.requests.map(\.head.startLine) == ["GET /jwks.json HTTP/1.1"])
  }

  @Test(arguments: [false, true]) func theUpstreamGetsTheTokenOnlyWhereItIsToldTo(_ forwards: Bool) async throws {
    let issuer = try ScriptedBackend.answering(response(Self.jwks))
    let backend = try ScriptedBackend.answering(response("ok"))
    let (keys, place) = (issuer.address.text, backend.address.text)
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        JWTAuth(
          .url(HTTPOrigin(keys), "/jwks.json"), JWTRequirements(audiences: ["api"]), forwardsCredentials: forwards)
      } to: {
        Route("/write") {
          Authorize(scopes: ["write"]) { (user: JWTUser) in user.scopes }
        } to: {
          Upstream(place)
        }
        Upstream(place)
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        let field = "Authorization: Bearer \(Self.token)\r\n"
        for _ in 0..<2 { #expect(try client.get("/", field)?.status == 200) }
        #expect(try client.get("/", field + field)?.status == 400)
        // The token has no scope.
        let refused = try address.get("/write", field)
        #expect(refused?.status == 403)
        #expect(
          refused?.head["www-authenticate"] == [
            "Bearer realm=\"proxy\", error=\"insufficient_scope\", scope=\"write\""
          ])
      }
    }
    let expected = forwards ? ["Bearer \(Self.token)"] : []
    #expect(backend.requests.map { $0.head["authorization"] } == [expected, expected])
  }

  @Test func withoutAnIssuerThereIsNoService() async throws {
    let issuer = try ScriptedBackend.answering { _, _ in nil }
    try await withProxy(issuer) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for _ in 0..<3 {
        #expect(try client.get("/", "Authorization: Bearer \(Self.token)\r\n")?.status == 503)
      }
    }
    #expect(issuer.requests.count == 1, "not every request asks")
  }
}
