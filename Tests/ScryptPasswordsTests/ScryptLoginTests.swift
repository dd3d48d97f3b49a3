import Middlewares
import Pipeline
import PipelineTesting
import ScryptPasswords
import Testing

/// The authenticator over the real hash, in a chain of each transport that carries passwords.
struct ScryptLoginTests {
  private let scrypt = Scrypt(cost: ScryptCost(log2N: 10, blockSize: 8, parallelism: 1))

  @Test func aUserFromAFileLogsInOverSOCKS5AndHTTP() async throws {
    let line = UserFile.line(
      for: try .init(name: "fierceRabbit", password: "secretThicket", roles: ["demo"], hashedBy: scrypt))
    let table = try UserTable(verifier: scrypt, UserFile.parse(line, file: "users.txt", verifier: scrypt))
    let auth = PasswordAuth(table)
    let socks = try ChainHarness(.socks5) {
      auth
      Authorize(role: "demo")
    }
    #expect(await socks.run(MockClient(user: "fierceRabbit", password: "secretThicket")) == .served())
    #expect(
      await socks.run(MockClient(user: "fierceRabbit", password: "secretthicket")) == .refused(.credentialsInvalid))
    #expect(await socks.run(MockClient()) == .refused(.credentialsRequired))
    let http = try ChainHarness(.http) { auth }
    #expect(await http.run(MockClient(user: "fierceRabbit", password: "secretThicket")) == .served())
    table.block("fierceRabbit")
    #expect(
      await http.run(MockClient(user: "fierceRabbit", password: "secretThicket")) == .refused(.credentialsInvalid))
  }

  @Test func anUnknownUserCostsAsMuchWorkAsAKnownOne() async throws {
    let costly = Scrypt(cost: ScryptCost(log2N: 15, blockSize: 8, parallelism: 1))
    let table = try UserTable(verifier: costly, [.init(name: "ann", password: "secret", hashedBy: costly)])
    let harness = try ChainHarness(.socks5) { PasswordAuth(table) }
    let clock = ContinuousClock()
    func time(_ user: String) async -> Duration {
      await clock.measure { _ = await harness.run(MockClient(user: user, password: "wrong")) }
    }
    let known = await time("ann")
    let unknown = await time("bob")
    // Without the decoy it would be a thousandth.
    #expect(unknown > known / 8)
  }
}
