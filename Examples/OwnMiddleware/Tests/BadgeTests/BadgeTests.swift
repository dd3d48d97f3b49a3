import Badge
import Pipeline
import PipelineTesting
import Testing

@Suite struct BadgeTests {
  private let ann = Employee(name: "ann", department: "ops")
  private let bob = Employee(name: "bob", department: "sales")

  private func gateway() throws -> ChainHarness<SOCKS5Exchange> {
    try ChainHarness(.socks5) {
      BadgeAuth([(ann, "4711"), (bob, "4712")])
      DepartmentOnly("ops")
    }
  }

  @Test func aKnownBadgeOfTheDepartmentPasses() async throws {
    #expect(try await gateway().run(MockClient(user: "ann", password: "4711")) == .served())
  }

  @Test func aWrongBadgeIsAWrongPassword() async throws {
    #expect(try await gateway().run(MockClient(user: "ann", password: "4712")) == .refused(.credentialsInvalid))
    #expect(try await gateway().run(MockClient(user: "eve", password: "4711")) == .refused(.credentialsInvalid))
    #expect(try await gateway().run(MockClient()) == .refused(.credentialsRequired))
  }

  @Test func anotherDepartmentIsForbidden() async throws {
    #expect(try await gateway().run(MockClient(user: "bob", password: "4712")) == .refused(.forbidden))
  }

  @Test func thePlanShowsNoBadge() throws {
    let shown = try gateway().service.placement.entries.map { "\($0.label) \($0.component.parameters)" }
    #expect(shown.contains { $0.hasPrefix("department-only") })
    #expect(!shown.joined().contains("4711"))
  }
}

@Suite struct CooldownTests {
  @Test func afterAFailedUpstreamEverybodyWaits() async throws {
    let harness = try ChainHarness(.tcp) { Cooldown(.seconds(5)) }
    let first = await harness.start()
    await first.fail(Rejection(.connectionRefused))
    #expect(first.outcome == .refused(.connectionRefused))

    #expect(await harness.run() == .refused(.overloaded))
    harness.clock.advance(by: .milliseconds(4999))
    #expect(await harness.run() == .refused(.overloaded))
    harness.clock.advance(by: .milliseconds(1))
    #expect(await harness.run() == .served())
  }

  @Test func aRefusalThatIsNotTheUpstreamsFaultChangesNothing() async throws {
    let harness = try ChainHarness(.tcp) { Cooldown(.seconds(5)) }
    let first = await harness.start()
    await first.fail(Rejection(.forbidden))
    #expect(await harness.run() == .served())
  }

  @Test func overTimeItLooksLikeThis() async throws {
    let harness = try ChainHarness(.tcp) { Cooldown(.seconds(3)) }
    let first = await harness.start()
    await first.fail(Rejection(.upstreamReset))
    // One column is one second: who comes while it cools down is refused.
    try await harness.expect("abcde", "✗✗✗✓✓")
  }
}
