import Middlewares
import Pipeline
import PipelineTesting
import Testing

struct ClientAddressAuthTests {
  private func name(_ auth: ClientAddressAuth, _ client: MockClient) async throws -> String {
    try await auth.authenticate(MockTCPExchange(client)).principal.id
  }

  @Test func theFirstRuleThatMatchesDecides() async throws {
    let auth = ClientAddressAuth(
      .block("10.1.2.3", as: "boss"), .block("10.1.0.0/16", as: "office"), .block("10.1.2.0/24", as: "never"),
      .block("2001:db8::/32", as: "six"))
    #expect(try await name(auth, MockClient(ip: "10.1.2.3")) == "boss")
    #expect(try await name(auth, MockClient(ip: "10.1.2.4")) == "office")
    #expect(try await name(auth, MockClient(ip: "2001:db8::9")) == "six")
    #expect(try await name(auth, MockClient(ip: "::ffff:10.1.2.3")) == "boss")
  }

  @Test func whoMatchesNoneIsForbidden() async throws {
    let auth = ClientAddressAuth(.block("0.0.0.0/0", as: "four"))
    for client in [MockClient(ip: "2001:db8::9"), .unix(uid: 0)] {
      let rejection = await #expect(throws: Rejection.self) { try await name(auth, client) }
      #expect(rejection?.kind == .forbidden)
    }
  }

  @Test func peersOnUnixSocketsAreKnownByTheirUser() async throws {
    let auth = ClientAddressAuth(.unix(uid: 33, as: "web"), .anyUnixPeer(as: "local"))
    #expect(try await name(auth, .unix(uid: 33)) == "web")
    #expect(try await name(auth, .unix(uid: 0)) == "local")
    await #expect(throws: Rejection.self) { try await name(auth, MockClient(ip: "127.0.0.1")) }
  }

  @Test func rulesGiveRolesAndAPrincipal() async throws {
    let harness = try ChainHarness(.tcp) { ClientAddressAuth(.block("192.0.2.0/24", as: "office", roles: ["staff"])) }
    let run = await harness.start(MockClient(ip: "192.0.2.9"))
    await run.finish()
    #expect(run.principal == Principal("office"))
  }

  @Test func withoutARuleTheAppIsNotBuilt() {
    let error = #expect(throws: ConfigurationError.self) { try ChainHarness(.tcp) { ClientAddressAuth([]) } }
    #expect(
      error?.messages == [
        "client-address-auth: it has no rule, so nobody could pass: name a block or a Unix user"
      ])
  }

  @Test func thePlanShowsWhoIsKnownAsWhom() {
    let auth = ClientAddressAuth(.block("10.0.0.0/8", as: "office"), .unix(uid: 33, as: "web"), .anyUnixPeer(as: "all"))
    #expect(
      auth.parameters == [
        Parameter("10.0.0.0/8", "office"), Parameter("unix:uid=33", "web"), Parameter("unix", "all"),
      ])
  }
}

struct AnonymousAuthTests {
  @Test func everybodyIsAccountedToOneName() async throws {
    for (auth, expected) in [(AnonymousAuth(), "anonymous"), (AnonymousAuth(as: "guests"), "guests")] {
      let harness = try ChainHarness(.socks5) { auth }
      let run = await harness.start()
      await run.finish()
      #expect(run.principal == Principal(expected))
    }
  }

  @Test func itAsksTheClientForNothing() async throws {
    let exchange = MockSOCKS5Exchange(MockClient(user: "ann", password: "secret"))
    _ = try await AnonymousAuth().authenticate(exchange)
    #expect(exchange.asked.isEmpty)
  }
}
