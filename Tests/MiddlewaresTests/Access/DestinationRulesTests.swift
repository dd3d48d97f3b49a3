import Middlewares
import Pipeline
import PipelineTesting
import Synchronization
import Testing

/// Dials what was approved, as every destination does that serves clients' wishes.
private struct Dials: Destination {
  /// Runs between the rules and the dial.
  var before: @Sendable () -> Void = {}

  func serve(_ exchange: Exchange) async throws -> Summary {
    before()
    guard let approved = exchange.approved else { throw Rejection(.forbidden, detail: "nothing was approved") }
    let upstream = try await exchange.dial(approved)
    upstream.close()
    return Summary()
  }
}

struct DestinationRulesTests {
  /// A listener that strangers reach, or one that only this machine does.
  private func harness(
    open: Bool = true, before: @escaping @Sendable () -> Void = {},
    @ChainBuilder<SOCKS5Exchange> _ chain: () -> some TransparentElement<SOCKS5Exchange, Anyone>
  ) throws -> ChainHarness<SOCKS5Exchange> {
    let element = chain()
    return try ChainHarness(
      Listener(.socks5, on: open ? "0.0.0.0:1080" : "127.0.0.1:1080") {
        element
      } to: {
        Dials(before: before)
      })
  }

  private func dialled(_ harness: ChainHarness<SOCKS5Exchange>) -> [[String]] {
    harness.network.dials.map { $0.addresses.map(\.description) }
  }

  @Test(arguments: [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
  ])
  func whatIsNotPublicIsRefusedOnAnOpenListener(address: String) async throws {
    let harness = try harness { DestinationRules() }
    #expect(await harness.run(MockClient(destination: "\(address):80")) == .refused(.forbidden))
    #expect(harness.network.dials.isEmpty)
    #expect(await harness.run(MockClient(destination: "8.8.8.8:80")) == .served())
  }

  @Test func aListenerForThisMachineAloneMayReachIt() async throws {
    let harness = try harness(open: false) { DestinationRules() }
    #expect(await harness.run(MockClient(destination: "127.0.0.1:80")) == .served())
    #expect(dialled(harness) == [["127.0.0.1:80"]])
  }

  @Test func aNameWithPublicAndPrivateAddressesKeepsThePublicOnes() async throws {
    let harness = try harness { DestinationRules() }
    harness.network.name(
      "mixed.example", is: IPAddress("10.0.0.1")!, IPAddress("8.8.8.8")!, .loopbackV6, IPAddress("2606:4700::1")!)
    #expect(await harness.run(MockClient(destination: "mixed.example:443")) == .served())
    #expect(dialled(harness) == [["8.8.8.8:443", "[2606:4700::1]:443"]])
  }

  @Test func aNameThatChangesAfterItWasCheckedIsDialledWhereItPointedTo() async throws {
    let network = Mutex<MockNetwork?>(nil)
    let harness = try harness(before: { network.withLock { $0 }?.name("rebind.example", is: .loopbackV4) }) {
      DestinationRules()
    }
    network.withLock { $0 = harness.network }
    harness.network.name("rebind.example", is: IPAddress("8.8.8.8")!)
    #expect(await harness.run(MockClient(destination: "rebind.example:80")) == .served())
    #expect(dialled(harness) == [["8.8.8.8:80"]])
    #expect(harness.network.lookups.count == 1)
    // The next client is checked against what the name says by then.
    #expect(await harness.run(MockClient(destination: "rebind.example:80")) == .refused(.forbidden))
    #expect(harness.network.dials.count == 1)
  }

  @Test func aRetryChecksWhatTheNameSaysByThen() async throws {
    struct Again: Middleware {
      let between: @Sendable () -> Void
      func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
        do { return try await next() } catch let rejection as Rejection where rejection.kind == .connectionRefused {
          between()
          return try await next()
        }
      }
    }
    let network = Mutex<MockNetwork?>(nil)
    let harness = try harness {
      Again { network.withLock { $0 }?.name("rebind.example", is: .loopbackV4) }
      DestinationRules()
    }
    network.withLock { $0 = harness.network }
    harness.network.name("rebind.example", is: IPAddress("8.8.8.8")!)
    harness.network.nextDials(.fails(.connectionRefused))
    #expect(await harness.run(MockClient(destination: "rebind.example:80")) == .refused(.forbidden))
    #expect(dialled(harness) == [["8.8.8.8:80"]])
  }

  @Test func ofSeveralRulesAnAddressMustPassAllAndTheNameIsAskedOnce() async throws {
    let harness = try harness {
      DestinationRules(.deny(block: "8.8.4.0/24"))
      DestinationRules(.deny(block: "1.1.1.0/24"))
    }
    harness.network.name("dns.example", is: IPAddress("8.8.4.4")!, IPAddress("1.1.1.1")!, IPAddress("9.9.9.9")!)
    #expect(await harness.run(MockClient(destination: "dns.example:53")) == .served())
    #expect(dialled(harness) == [["9.9.9.9:53"]])
    #expect(harness.network.lookups.count == 1)
  }

  @Test func aLaterRuleCannotOpenWhatAnEarlierOneClosed() async throws {
    let harness = try harness {
      DestinationRules(.deny(ports: 25...25))
      DestinationRules(.allow(block: "0.0.0.0/0"))
    }
    #expect(await harness.run(MockClient(destination: "8.8.8.8:25")) == .refused(.forbidden))
    #expect(await harness.run(MockClient(destination: "8.8.8.8:26")) == .served())
    #expect(await harness.run(MockClient(destination: "127.0.0.1:26")) == .refused(.forbidden))
  }

  @Test func hostsPortsAndBlocksAreRules() async throws {
    let harness = try harness {
      DestinationRules(
        .allow(host: "*.example.com", ports: 443...443), .allow(host: "db.internal", block: "10.2.0.0/16"),
        otherwise: .deny)
    }
    for name in ["www.example.com", "example.com", "www.example.org"] {
      harness.network.name(name, is: IPAddress("8.8.8.8")!)
    }
    harness.network.name("db.internal", is: IPAddress("10.2.0.9")!)
    harness.network.name("evil.example.com", is: IPAddress("10.2.0.9")!)
    let outcomes = [
      "www.example.com:443", "WWW.Example.COM.:443", "www.example.com:80", "example.com:443", "www.example.org:443",
      "8.8.8.8:443", "db.internal:5432", "evil.example.com:443",
    ]
    var served: [String] = []
    for destination in outcomes {
      if await harness.run(MockClient(destination: destination)) == .served() { served.append(destination) }
    }
    #expect(served == ["www.example.com:443", "WWW.Example.COM.:443", "db.internal:5432"])
  }

  @Test func namesWithoutAddressesAndPortZeroAreNotDialled() async throws {
    let harness = try harness { DestinationRules() }
    #expect(await harness.run(MockClient(destination: "missing.example:80")) == .refused(.nameNotFound))
    #expect(await harness.run(MockClient(destination: "8.8.8.8:0")) == .refused(.forbidden))
    #expect(harness.network.dials.isEmpty)
  }

  @Test func eachIdentityHasItsOwnPolicy() async throws {
    let harness = try ChainHarness(
      Listener(.socks5, on: "0.0.0.0:1080") {
        ClientAddressAuth(
          .block("192.0.2.0/25", as: "office", roles: ["staff"]), .block("192.0.2.128/25", as: "guests"))
        DestinationRules(for: AuthenticatedUser.self) { user in
          user.has(role: "staff") ? AddressPolicy([.allow(block: "10.0.0.0/8")]) : .publicOnly
        }
        DestinationRules(forEach: { principal in
          AddressPolicy([.deny(ports: principal.id == "guests" ? 0...1023 : 25...25)], otherwise: .allow)
        })
      } to: {
        Dials()
      })
    func run(_ ip: String, _ destination: String) async -> Outcome {
      await harness.run(MockClient(ip: ip, destination: destination))
    }
    #expect(await run("192.0.2.1", "10.0.0.1:80") == .served())
    #expect(await run("192.0.2.1", "127.0.0.1:80") == .refused(.forbidden))
    #expect(await run("192.0.2.200", "10.0.0.1:8080") == .refused(.forbidden))
    #expect(await run("192.0.2.200", "8.8.8.8:8080") == .served())
    #expect(await run("192.0.2.200", "8.8.8.8:80") == .refused(.forbidden))
    #expect(await run("192.0.2.1", "8.8.8.8:25") == .refused(.forbidden))
  }

  @Test func inShadowItRecordsAndApprovesNothing() async throws {
    let kinds = Recorder()
    let harness = try harness { DestinationRules().shadow { kinds.add($0.kind) } }
    // Nothing was approved, so a destination falls back on its own policy; this one refuses.
    #expect(await harness.run(MockClient(destination: "127.0.0.1:80")) == .refused(.forbidden))
    #expect(kinds.all == [.forbidden])
  }

  @Test func onRawTCPItIsRefusedWhenTheAppIsBuilt() {
    let error = #expect(throws: ConfigurationError.self) {
      try ChainHarness(.tcp) { DestinationRules() }
    }
    #expect(
      error?.messages == [
        "destination-rules: a TCP client names no destination: use it on SOCKS5 or HTTP, and write the address in `to:` here"
      ])
  }

  @Test func aboveThePasswordItIsRefusedOnSOCKS5() throws {
    let users = try UserTable(verifier: CountingVerifier())
    let error = #expect(throws: ConfigurationError.self) {
      try ChainHarness(.socks5) {
        DestinationRules()
        PasswordAuth(users)
      }
    }
    #expect(error?.messages.first?.hasPrefix("password-auth: destination-rules above it uses the destination") == true)
  }

  @Test func thePlanShowsTheRules() {
    let rules = DestinationRules(.deny(host: "*.onion"), .allow(ports: 1...2, block: "10.0.0.0/8"), otherwise: .deny)
    #expect(
      rules.parameters == [
        Parameter("rule", "deny host *.onion"), Parameter("rule", "allow ports 1-2 block 10.0.0.0/8"),
        Parameter("otherwise", "deny"),
      ])
    #expect(DestinationRules().parameters == [Parameter("otherwise", "by the listener")])
  }
}

private final class Recorder: Sendable {
  private let kinds = Mutex<[Rejection.Kind]>([])
  var all: [Rejection.Kind] { kinds.withLock { $0 } }
  func add(_ kind: Rejection.Kind) { kinds.withLock { $0.append(kind) } }
}
