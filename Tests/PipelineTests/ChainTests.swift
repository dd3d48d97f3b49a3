import Pipeline
import PipelineTesting
import Testing

struct ChainTests {
  @Test func oneChainValueServesThreeTransportsAndIsOneState() async throws {
    let common = Chain {
      Pass(); FewPerSecond(2)
    }
    let clock = ManualClock()
    let tcp = try ChainHarness(.tcp, clock: clock) { common }
    let socks = try ChainHarness(.socks5, clock: clock) {
      common; SomePassword()
    }
    let http = try ChainHarness(.http, clock: clock) { common }
    #expect(await tcp.run() == .served())
    #expect(await socks.run(MockClient(user: "ann")) == .served())
    #expect(await http.run() == .refused(.rateLimited))
  }

  @Test func anIdentityReachesWhatNeedsIt() async throws {
    let seen = Seen()
    let harness = try ChainHarness(.tcp) {
      BadgeAuth()
      DepartmentOnly("ops")
      PerPrincipal(seen)
      ToAccount()
      PerPrincipal(seen)
    }
    let run = await harness.start()
    await run.finish()
    #expect(run.outcome == .served())
    #expect(seen.all == ["ann", "ann@ops"])
    #expect(run.principal == Principal("ann@ops"))
  }

  @Test func credentialsAreAskedForOnlyWhereAnAuthenticatorIsReached() async throws {
    let exchange = MockSOCKS5Exchange(MockClient(user: "ann"))
    let refusing = try Service(
      Listener(.socks5, on: ":1") {
        Refuse(.rateLimited); SomePassword()
      } to: {
        Served()
      }, shards: 1)
    await #expect(throws: Rejection.self) { try await refusing.serve(exchange) }
    #expect(exchange.asked.isEmpty)
    let asking = try Service(
      Listener(.socks5, on: ":1") {
        Pass(); SomePassword()
      } to: {
        Served()
      }, shards: 1)
    _ = try await asking.serve(exchange)
    #expect(exchange.asked == [.credentials])
  }

  @Test func branchesLoopsAndListsAreChains() async throws {
    let order = Order()
    let isOn = true
    let harness = try ChainHarness(.tcp) {
      if isOn { Note(order); Note(order) }
      if !isOn { Refuse(.forbidden) }
      if isOn { Note(order) } else { Refuse(.forbidden) }
      for _ in 0..<2 { Note(order) }
      AnyMiddleware([Note(order), Note(order)])
      edge(order)
    }
    #expect(await harness.run() == .served())
    #expect(order.ids.count == 8)
  }

  @MiddlewareBuilder private func edge(_ order: Order) -> some Middleware {
    Note(order)
    Pass()
  }

  @Test func aRunOfManyElementsKeepsItsOrder() async throws {
    let seen = Seen()
    let harness = try ChainHarness(.tcp) {
      Says("1", seen); Says("2", seen); Says("3", seen); Says("4", seen); Says("5", seen)
      BadgeAuth()
      Says("6", seen); Says("7", seen); Says("8", seen); Says("9", seen)
      PerPrincipal(seen)
      Says("10", seen); Says("11", seen); Says("12", seen); Says("13", seen)
    }
    #expect(await harness.run() == .served())
    #expect(seen.all == ["1", "2", "3", "4", "5", "6", "7", "8", "9", "ann", "10", "11", "12", "13"])
    #expect(harness.service.placement.entries.count == 16)
    #expect(harness.service.placement.entries.map(\.above) == Array(-1...14))
  }
}

struct ShadowTests {
  @Test func aShadowedElementDecidesRecordsAndLetsPass() async throws {
    let seen = Seen()
    let harness = try ChainHarness(.tcp) {
      Refuse(.forbidden).shadow { seen.add($0.kind.rawValue) }; Pass()
    }
    #expect(await harness.run() == .served())
    #expect(seen.all == ["forbidden"])
    #expect(harness.service.placement.entries[0].label == "refuse-shadow")
  }

  @Test func aRejectionFromDeeperPassesAsItIs() async throws {
    let seen = Seen()
    let harness = try ChainHarness(.tcp) {
      Pass().shadow { seen.add($0.kind.rawValue) }; Refuse(.forbidden)
    }
    #expect(await harness.run() == .refused(.forbidden))
    #expect(seen.all.isEmpty)
  }

  @Test func aShadowedResponsePhaseRefusesNothing() async throws {
    let seen = Seen()
    let upstream = Upstream(502)
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        RefusesAnswer().shadow { seen.add($0.kind.rawValue) }
      } to: {
        upstream
      })
    let run = await harness.start()
    #expect(run.response?.status == 502)
    #expect(seen.all == ["upstreamProtocol"])
    #expect(upstream.calls == 1)
  }

  @Test func anErrorThatIsNoRejectionIsNotSwallowed() async throws {
    let harness = try ChainHarness(.tcp) { Break().shadow() }
    #expect(await harness.run() == .failed("Broken()"))
  }
}

private struct RefusesAnswer: HTTPMiddleware {
  func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    throw Rejection(.upstreamProtocol)
  }
}

private struct Says: Middleware {
  let text: String
  let seen: Seen
  init(_ text: String, _ seen: Seen) {
    self.text = text
    self.seen = seen
  }
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    seen.add(text)
    return try await next()
  }
}
