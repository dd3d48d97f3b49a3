import Middlewares
import Pipeline
import Testing

@testable import Transports

/// Credentials that an authenticator here has used are not the upstream's; every others are.
@Suite struct UsedCredentialsTests {
  private static let token = "0123456789abcdefghij"
  private static let basic = "Authorization: Basic YW5uOnNlY3JldA==\r\n"

  private func users() throws -> UserTable {
    let verifier = PlainVerifier()
    return try UserTable(verifier: verifier, [.init(name: "ann", password: "secret", hashedBy: verifier)])
  }

  private func tokens() throws -> TokenTable { try TokenTable([TokenTable.Token(Self.token, user: "ann")]) }

  private func withProxy(_ app: some Proxy, body: @escaping @Sendable (SocketAddress) throws -> Void) async throws {
    try await withServer(options: { $0.workers = 1 }) {
      app
    } body: { server in
      let address = server.address()
      try await onThread { try body(address) }
    }
  }

  @Test func whatWasUsedHereEndsHere() async throws {
    let backend = try ScriptedBackend.answering(response("ok"))
    let (place, users, tokens) = (backend.address.text, try users(), try tokens())
    let app = Listener(.http, on: "127.0.0.1:0") {
    } to: {
      Route("/basic") {
        BasicAuth(users)
      } to: {
        Upstream(place)
      }
      Route("/password") {
        PasswordAuth(users)
      } to: {
        Upstream(place)
      }
      Route("/bearer") {
        BearerAuth(tokens)
      } to: {
        Upstream(place)
      }
    }
    try await withProxy(app) { proxy in
      let client = try HTTPPeer.connect(proxy)
      // Each twice: the second time the field is only compared.
      for _ in 0..<2 {
        #expect(try client.get("/basic", Self.basic + "X-Other: 1\r\n")?.status == 200)
        #expect(try client.get("/password", Self.basic + "X-Other: 1\r\n")?.status == 200)
        #expect(try client.get("/bearer", "X-Other: 1\r\nauthorization: Bearer \(Self.token)\r\n")?.status == 200)
      }
    }
    #expect(backend.requests.count == 6)
    for seen in backend.requests {
      #expect(seen.head["authorization"] == [], "\(seen.head.target)")
      #expect(seen.head["x-other"] == ["1"])
    }
  }

  @Test func whoWantsItGetsIt() async throws {
    let backend = try ScriptedBackend.answering(response("ok"))
    let (place, users, tokens) = (backend.address.text, try users(), try tokens())
    let app = Listener(.http, on: "127.0.0.1:0") {
    } to: {
      Route("/basic") {
        BasicAuth(users, forwardsCredentials: true)
      } to: {
        Upstream(place)
      }
      Route("/bearer") {
        BearerAuth(tokens, forwardsCredentials: true)
      } to: {
        Upstream(place)
      }
    }
    try await withProxy(app) { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get("/basic", Self.basic)?.status == 200)
      #expect(try client.get("/bearer", "Authorization: Bearer \(Self.token)\r\n")?.status == 200)
    }
    #expect(
      backend.requests.map { $0.head["authorization"] } == [["Basic YW5uOnNlY3JldA=="], ["Bearer \(Self.token)"]])
  }

  /// The next request on the same connection may be for a place where nobody of ours asks for credentials.
  @Test func whereNobodyAskedTheFieldIsTheUpstreams() async throws {
    let backend = try ScriptedBackend.answering(response("ok"))
    let (place, users) = (backend.address.text, try users())
    let app = Listener(.http, on: "127.0.0.1:0") {
    } to: {
      Route("/closed") {
        BasicAuth(users)
      } to: {
        Upstream(place)
      }
      Upstream(place)
    }
    try await withProxy(app) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for target in ["/open", "/closed", "/open"] { #expect(try client.get(target, Self.basic)?.status == 200) }
    }
    #expect(backend.requests.map { $0.head["authorization"].count } == [1, 0, 1])
  }

  @Test func whatAnElementSetsForTheUpstreamGoesOn() async throws {
    let backend = try ScriptedBackend.answering(response("ok"))
    let (place, users) = (backend.address.text, try users())
    let app = Listener(.http, on: "127.0.0.1:0") {
      BasicAuth(users)
    } to: {
      Route("/set") {
        Middlewares.Headers(request: .set("authorization", "Bearer for-the-upstream"))
      } to: {
        Upstream(place)
      }
      Route("/add") {
        Middlewares.Headers(request: .add("authorization", "Bearer for-the-upstream"))
      } to: {
        Upstream(place)
      }
    }
    try await withProxy(app) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for target in ["/set", "/add"] { #expect(try client.get(target, Self.basic)?.status == 200) }
    }
    #expect(
      backend.requests.map { $0.head["authorization"] } == [["Bearer for-the-upstream"], ["Bearer for-the-upstream"]])
  }

  /// RFC 9110, 11.6.2: what a forward proxy's client says to an origin is none of the proxy's business.
  @Test func aForwardProxyLeavesTheOriginsCredentialsAlone() async throws {
    let backend = try ScriptedBackend.answering(response("ok"))
    let (place, users) = (backend.address.text, try users())
    let app = Listener(.http, on: "127.0.0.1:0") {
      BasicAuth(users)
    } to: {
      Direct()
    }
    try await withProxy(app) { proxy in
      let answer = try proxy.ask(
        "GET http://\(place)/ HTTP/1.1\r\nHost: \(place)\r\nProxy-\(Self.basic)\(Self.basic)\r\n")
      #expect(answer?.status == 200)
    }
    let seen = try #require(backend.requests.first?.head)
    #expect(seen["authorization"] == ["Basic YW5uOnNlY3JldA=="] && seen["proxy-authorization"] == [])
  }

  @Test func everyAttemptIsWrittenTheSame() async throws {
    let backend = try ScriptedBackend { session in
      while try session.readHead() != nil {
        if session.number == 1 { return }
        try session.peer.send(response("ok"))
      }
    }
    let (place, users) = (backend.address.text, try users())
    let app = Listener(.http, on: "127.0.0.1:0") {
      BasicAuth(users)
      Retry(attempts: 2)
    } to: {
      Upstream(place)
    }
    try await withProxy(app) { proxy in
      let answer = try proxy.get("/", Self.basic)
      #expect(answer?.status == 200)
    }
    #expect(backend.requests.map { $0.head["authorization"] } == [[], []])
  }

  /// Of two this proxy would believe one, and the upstream perhaps the other.
  @Test func twoFieldsOfCredentialsAreRefused() async throws {
    let backend = try ScriptedBackend.answering(response("ok"))
    let (place, users, tokens) = (backend.address.text, try users(), try tokens())
    let app = Listener(.http, on: "127.0.0.1:0") {
    } to: {
      Route("/basic") {
        BasicAuth(users)
      } to: {
        Upstream(place)
      }
      Route("/bearer") {
        BearerAuth(tokens)
      } to: {
        Upstream(place)
      }
    }
    try await withProxy(app) { proxy in
      for fields in [Self.basic + Self.basic, Self.basic + "Authorization: Bearer \(Self.token)\r\n"] {
        let basic = try proxy.get("/basic", fields)
        let bearer = try proxy.get("/bearer", fields)
        #expect(basic?.status == 400 && bearer?.status == 400)
      }
    }
    #expect(backend.requests.isEmpty)
  }
}
