import Middlewares
import Pipeline
import PipelineTesting
import Testing

struct AuthorizeTests {
  private struct Employee: Identity {
    let principal: Principal
    let department: String
  }

  private struct Badge: Authenticator {
    func authenticate(_ exchange: Exchange) async throws -> Employee {
      Employee(principal: Principal("ann"), department: exchange.client.ip == IPAddress("192.0.2.1") ? "it" : "sales")
    }
  }

  @Test func whoHasTheRolePasses() async throws {
    let harness = try ChainHarness(.tcp) {
      ClientAddressAuth(
        .block("192.0.2.1", as: "ann", roles: ["admin", "ops"]), .block("192.0.2.2", as: "bob", roles: ["ops"]),
        .block("192.0.2.3", as: "eve"))
      Authorize(role: "admin")
    }
    #expect(await harness.run(MockClient(ip: "192.0.2.1")) == .served())
    #expect(await harness.run(MockClient(ip: "192.0.2.2")) == .refused(.forbidden))
    #expect(await harness.run(MockClient(ip: "192.0.2.3")) == .refused(.forbidden))
  }

  @Test func oneOfSeveralRolesIsEnough() async throws {
    let harness = try ChainHarness(.tcp) {
      ClientAddressAuth(.block("192.0.2.2", as: "bob", roles: ["ops"]), .block("192.0.2.3", as: "eve", roles: ["x"]))
      Authorize(anyRoleOf: ["admin", "ops"])
    }
    #expect(await harness.run(MockClient(ip: "192.0.2.2")) == .served())
    #expect(await harness.run(MockClient(ip: "192.0.2.3")) == .refused(.forbidden))
  }

  @Test func anOwnIdentityTypeIsAskedByItsOwnRule() async throws {
    let harness = try ChainHarness(.socks5) {
      Badge()
      Authorize { (user: Employee) in user.department == "it" }
    }
    #expect(await harness.run(MockClient(ip: "192.0.2.1")) == .served())
    #expect(await harness.run(MockClient(ip: "192.0.2.2")) == .refused(.forbidden))
  }

  @Test func theDetailNamesWhoLackedWhatForTheLog() async throws {
    let harness = try ChainHarness(.tcp) {
      AnonymousAuth()
      Authorize(role: "admin")
    }
    let run = await harness.start()
    #expect(run.rejection?.detail == "anonymous does not meet the role admin")
    #expect(run.rejection?.source == .client)
  }

  @Test func itStandsBelowEveryBuiltInAuthenticator() throws {
    let users = try UserTable(verifier: CountingVerifier())
    for hasUsers in [true, false] {
      _ = try ChainHarness(.socks5) {
        if hasUsers { PasswordAuth(users) } else { AnonymousAuth(roles: ["guest"]) }
        Authorize(role: "guest")
      }
    }
  }
}
