import Pipeline
import PipelineTesting
import Testing

@testable import Transports

/// A group serves, judges and obeys its operator.
@Suite struct UpstreamGroupTests {
  @Test func eachTryGoesToABackendThatThisExchangeHasNotTried() async throws {
    let world = GroupWorld(to: GroupWorld.backends(3))
    for port in 1...3 { world.port(port, .fails(Rejection(.connectionRefused))) }
    let exchange = world.exchange()
    for _ in 0..<3 { #expect(await world.refusal(exchange)?.kind == .connectionRefused) }
    #expect(Set(world.tried).count == 3)
    // When all have been tried there is nothing better than to begin again.
    #expect(await world.refusal(exchange)?.kind == .connectionRefused)
    #expect(world.tried.count == 4)
  }

  /// However many have come and gone before: one that was tried is not taken for another.
  @Test func aTriedBackendIsToldFromEveryOther() async throws {
    let world = GroupWorld(.clientAddressHash, to: GroupWorld.backends(1))
    // A word of 64 bits would have one place for both.
    var tries = 0
    repeat {
      if tries > 0 { try world.group.remove("127.0.0.1:2") }
      try world.group.add(Backend("127.0.0.1:2"))
      tries += 1
      try #require(tries < 100_000)
    } while (world.group.seats[1].live.number - world.group.seats[0].live.number) % 64 != 0
    let home = try await world.serve()
    world.port(home, .fails(Rejection(.connectionRefused)))
    let exchange = world.exchange()
    #expect(await world.refusal(exchange)?.kind == .connectionRefused)
    #expect(try await world.serve(exchange) != home)
  }

  @Test func whatATryHasFoundDoesNotBindTheNextRequestOfTheConnection() async throws {
    let world = GroupWorld(.clientAddressHash, to: GroupWorld.backends(2))
    let exchange = world.exchange()
    let home = try await world.serve(exchange)
    exchange.recycle(id: 2)
    world.port(home, .fails(Rejection(.connectionRefused)))
    _ = await world.refusal(exchange)
    #expect(try await world.serve(exchange) != home)
    exchange.recycle(id: 3)
    world.port(home, .answers(200))
    #expect(try await world.serve(exchange) == home)
  }

  @Test func failuresInARowEjectAndAfterTheEjectionOneSuccessBringsItBack() async throws {
    let world = GroupWorld(to: GroupWorld.backends(2))
    world.port(1, .fails(Rejection(.connectionRefused)))
    for _ in 0..<10 { _ = await world.refusal() }
    #expect(world.state(1) == .ejected)
    for _ in 0..<10 { #expect(try await world.serve() == 2) }
    world.port(1, .answers(200))
    world.clock.advance(by: .seconds(10))
    #expect(world.state(1) == .onTrial)
    var ports: Set<Int> = []
    for _ in 0..<2 { ports.insert(try await world.serve()) }
    #expect(ports == [1, 2])
    #expect(world.state(1) == .healthy)
    #expect(world.group.report().events.map(\.kind) == [.ejected, .trial, .up])
  }

  @Test func onTrialOneExchangeAtATimeIsLetThrough() async throws {
    let world = GroupWorld(.leastConnections, to: GroupWorld.backends(2))
    world.port(1, .fails(Rejection(.connectionRefused)))
    for _ in 0..<12 { _ = await world.refusal() }
    world.clock.advance(by: .seconds(10))
    // While the first one there has no answer the others go elsewhere.
    let seat = world.group.seats[0]
    world.group.endEjection(seat, at: world.clock.now)
    #expect(seat.live.entrance(at: world.clock.now) == .trial)
    let ticket = try #require(seat.live.takeTrial())
    #expect(seat.live.takeTrial() == nil)
    for _ in 0..<4 { #expect(try await world.serve() == 2) }
    seat.live.leaveTrial(ticket)
    _ = await world.refusal()
    _ = await world.refusal()
    #expect(world.state(1) == .ejected)
  }

  @Test func aTunnelThatOutlivesItsTrialDoesNotFreeTheNextOne() async throws {
    let world = GroupWorld(to: GroupWorld.backends(2))
    let seat = world.group.seats[0]
    func eject() async {
      world.port(1, .fails(Rejection(.connectionRefused)))
      for _ in 0..<50 where world.state(1) != .ejected { _ = await world.refusal() }
      #expect(world.state(1) == .ejected)
      world.clock.advance(by: .seconds(600))
      #expect(world.state(1) == .onTrial)
    }
    await eject()
    world.port(1, .tunnels)
    var isOver = false
    world.meanwhile = {
      // Its answer has ended the trial; it itself lives on, while the backend goes and comes again.
      #expect(world.state(1) == .healthy)
      await eject()
      world.group.endEjection(seat, at: world.clock.now)
      #expect(seat.live.takeTrial() != nil)
      isOver = true
    }
    for _ in 0..<4 where !isOver { _ = try await world.serve() }
    #expect(isOver)
    // Somebody else's trial goes on.
    #expect(seat.live.entrance(at: world.clock.now) == .closed)
  }

  @Test func whereOnlyOneOnTrialIsLeftTheOthersAreNotRefused() async throws {
    let world = GroupWorld(to: GroupWorld.backends(2))
    world.port(1, .fails(Rejection(.connectionRefused)))
    for _ in 0..<10 { _ = await world.refusal() }
    world.clock.advance(by: .seconds(10))
    _ = world.group.seats[1].live.update { $0.health.checkFailed("no", fall: 1, at: world.clock.now) }
    world.group.endEjection(world.group.seats[0], at: world.clock.now)
    #expect(world.group.seats[0].live.takeTrial() != nil)
    #expect(world.group.report().isPanicking)
    world.port(1, .answers(200))
    var ports: Set<Int> = []
    for _ in 0..<4 { ports.insert(try await world.serve()) }
    #expect(ports.contains(2))
  }

  @Test func onlySoManyAreEjectedAndNeverAll() async throws {
    let world = GroupWorld(to: GroupWorld.backends(4))
    for port in 1...4 { world.port(port, .fails(Rejection(.upstreamReset))) }
    for _ in 0..<100 { _ = await world.refusal() }
    #expect(world.group.report().backends.count { $0.state == .ejected } == 2)
    let alone = GroupWorld(to: GroupWorld.backends(1))
    alone.port(1, .fails(Rejection(.connectionRefused)))
    for _ in 0..<20 { _ = await alone.refusal() }
    #expect(alone.state(1) == .unchecked)
  }

  @Test func whatIsNotTheUpstreamsFaultDoesNotCount() async throws {
    let world = GroupWorld(to: GroupWorld.backends(2))
    for kind in [Rejection.Kind.clientGone, .draining, .quotaExhausted, .bodyTooLarge, .handshakeTimeout] {
      world.port(1, .fails(Rejection(kind)))
      world.port(2, .fails(Rejection(kind)))
      for _ in 0..<20 { _ = await world.refusal() }
    }
    // What this proxy itself could not do, as to send a body again.
    for kind in [Rejection.Kind.upstreamProtocol, .upstreamReset] {
      for port in 1...2 { world.port(port, .fails(Rejection(kind, source: .proxy))) }
      for _ in 0..<20 { _ = await world.refusal() }
    }
    world.port(1, .answers(404))
    world.port(2, .answers(500))
    for _ in 0..<20 { try await world.serve() }
    let report = world.group.report()
    #expect(report.backends.map(\.state) == [.unchecked, .unchecked])
    #expect(report.backends.map(\.totals.failures.total) == [0, 0])
    #expect(report.backends.map(\.totals.tries).reduce(0, +) == 160)
  }

  @Test func failuresAreCountedByTheirKind() async throws {
    let world = GroupWorld(passive: .off, to: GroupWorld.backends(1))
    let expected: [(GroupWorld.Behaviour, UpstreamFailure)] = [
      (.fails(Rejection(.nameNotFound)), .name), (.fails(Rejection(.connectTimeout)), .connect),
      (.fails(Rejection(.deadlineExceeded)), .timeout), (.fails(Rejection(.upstreamReset)), .reset),
      (.fails(Rejection(.upstreamProtocol)), .malformed), (.answers(503), .status), (.cuts, .cut),
    ]
    for (behaviour, kind) in expected {
      world.port(1, behaviour)
      _ = await world.refusal()
      #expect(world.group.report().backends[0].totals.failures[kind] == 1, "\(kind)")
    }
    #expect(world.group.report().backends[0].totals.failures.total == 7)
    #expect(Set(expected.map(\.1)) == Set(UpstreamFailure.allCases))
  }

  @Test func aStatusThatARetryAboveDoesNotWantIsJudgedOnce() async throws {
    let world = GroupWorld(passive: .off, to: GroupWorld.backends(1))
    world.port(1, .answers(429))
    try await world.serve()
    let exchange = world.exchange()
    exchange.upstreamStatus = 429
    exchange.upstreamAnsweredAt = exchange.now
    // As a response phase throws it: answered, not committed.
    #expect(UpstreamFailure(Rejection(.upstreamProtocol), on: exchange) == nil)
    #expect(world.group.report().backends[0].totals.failures.total == 0)
  }

  @Test func aSlowOneAmongFastOnesIsEjectedAsAnOutlier() async throws {
    var passive = PassiveHealth.standard
    passive.latencyFactor = 5
    let world = GroupWorld(passive: passive, to: GroupWorld.backends(3))
    world.port(1, .answers(200, after: .milliseconds(1)))
    world.port(2, .answers(200, after: .milliseconds(400)))
    world.port(3, .answers(200, after: .milliseconds(1)))
    for _ in 0..<200 where world.state(2) != .ejected { try await world.serve() }
    let backend = world.group.report().backends[1]
    #expect(backend.state == .ejected)
    #expect(backend.reason.hasPrefix("it answers in 0.4 seconds, the others in 0.001 seconds"))
    #expect(world.state(1) == .unchecked)
  }

  // MARK: Reserves

  private static let strategies: [LoadBalancing] = [
    .roundRobin, .weightedRoundRobin, .leastConnections, .random, .powerOfTwoChoices, .peakEWMA(), .clientAddressHash,
    .sticky(StickyCookie(secret: Secret("s"))),
  ]

  /// 1 and 2 are used, 3 stands in for them, 4 for it.
  private func reserved(_ strategy: LoadBalancing, hedge: Hedging? = nil) -> GroupWorld {
    let priorities = [5, 5, 6, 9]
    return GroupWorld(
      strategy, hedge: hedge, to: (1...4).map { Backend("127.0.0.1:\($0)", priority: priorities[$0 - 1]) })
  }

  private func ports(_ world: GroupWorld) async throws -> Set<Int> {
    var ports: Set<Int> = []
    for number in 0..<40 { ports.insert(try await world.serve(world.exchange(ip: "192.0.2.\(number)"))) }
    return ports
  }

  @Test(arguments: strategies) func aReserveIsUsedWhileNobodyOfABetterPriorityIsUsable(
    _ strategy: LoadBalancing
  ) async throws {
    let world = reserved(strategy)
    #expect(try await ports(world) == [1, 2])
    // One is enough.
    try world.group.disable("127.0.0.1:1")
    #expect(try await ports(world) == [2])
    _ = world.group.seats[1].live.update { $0.health.checkFailed("no", fall: 1, at: world.clock.now) }
    #expect(try await ports(world) == [3])
    try world.group.drain("127.0.0.1:3")
    #expect(try await ports(world) == [4])
    // Whoever comes back has everything at once.
    _ = world.group.seats[1].live.update { $0.health.checkPassed(rise: 1, at: world.clock.now) }
    #expect(try await ports(world) == [2])
    try world.group.enable("127.0.0.1:1")
    #expect(try await ports(world) == [1, 2])
  }

  @Test(arguments: strategies) func anExchangeThatHasTriedTheBetterOnesGoesToTheReserve(
    _ strategy: LoadBalancing
  ) async throws {
    let world = reserved(strategy)
    for port in 1...3 { world.port(port, .fails(Rejection(.connectionRefused))) }
    let exchange = world.exchange()
    for _ in 1...3 { #expect(await world.refusal(exchange)?.kind == .connectionRefused) }
    #expect(try await world.serve(exchange) == 4)
    #expect(Set(world.tried.prefix(2)) == ["127.0.0.1:1", "127.0.0.1:2"])
    #expect(world.tried[2] == "127.0.0.1:3")
  }

  /// A destination of somebody else's that looks at what a group has served.
  private struct Strict: Destination {
    let upstreams: Upstreams

    func serve(_ exchange: Exchange) async throws -> Summary {
      _ = try await upstreams.serve(exchange)
      throw Rejection(.upstreamProtocol)
    }
  }

  @Test func whatADestinationThrowsAfterItsGroupHasServedIsItsOwn() async throws {
    let world = GroupWorld(to: GroupWorld.backends(1))
    let service = try Service(
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Strict(upstreams: world.upstreams)
      }, shards: 1)
    await #expect(throws: Rejection.self) { try await service.serve(world.exchange()) }
    #expect(service.counts().map(\.refused) == [1])
  }

  @Test func thatTheBetterOnesAreFullIsNoReasonForTheReserve() async throws {
    let world = GroupWorld(to: [Backend("127.0.0.1:1", maxConnections: 1), Backend("127.0.0.1:2", priority: 1)])
    world.port(1, .tunnels)
    var refused: Rejection.Kind?
    world.meanwhile = { refused = await world.refusal()?.kind }
    #expect(try await world.serve() == 1)
    #expect(refused == .overloaded)
    #expect(world.tried == ["127.0.0.1:1"])
    #expect(world.group.report().backends.map(\.priority) == [0, 1])
  }

  @Test func noHedgeGoesToTheReserve() async throws {
    let world = GroupWorld(
      hedge: .after(.milliseconds(1), atMost: 1), to: [Backend("127.0.0.1:1"), Backend("127.0.0.1:2", priority: 1)])
    let exchange = world.exchange()
    let hedge = try #require(world.group.hedgedTry(world.group.seats[0], exchange))
    #expect(try await hedge.second(for: exchange) == nil)
  }

  @Test func inAPanicReservesAreUsedAsTheOthers() async throws {
    let world = reserved(.roundRobin)
    for seat in world.group.seats {
      _ = seat.live.update { $0.health.checkFailed("no", fall: 1, at: world.clock.now) }
    }
    #expect(try await ports(world) == [1, 2, 3, 4])
  }

  // MARK: The panic rule

  private func allDown(_ panic: PanicRule) -> GroupWorld {
    let world = GroupWorld(panic: panic, to: GroupWorld.backends(3))
    for seat in world.group.seats {
      _ = seat.live.update { $0.health.checkFailed("no", fall: 3, at: world.clock.now) }
    }
    return world
  }

  @Test func whenNoneIsHealthyAllAreUsed() async throws {
    let world = allDown(.whenNoneIsHealthy)
    #expect(world.group.report().isPanicking)
    var ports: Set<Int> = []
    for _ in 0..<3 { ports.insert(try await world.serve()) }
    #expect(ports == [1, 2, 3])
    _ = world.group.seats[1].live.update { $0.health.checkPassed(rise: 1, at: world.clock.now) }
    for _ in 0..<3 { #expect(try await world.serve() == 2) }
  }

  @Test func withoutPanicAndWithoutAHealthyOneClientsAreRefused() async throws {
    let world = allDown(.never)
    let rejection = await world.refusal()
    #expect(rejection?.kind == .overloaded)
    #expect(rejection?.retryAfter == .seconds(1))
    #expect(rejection?.detail == "none of the 3 backends of web may be used")
    #expect(world.group.report().refused == 1)
    #expect(world.tried.isEmpty)
  }

  @Test func belowAShareAllAreUsedToSpareTheFew() async throws {
    let world = allDown(.below(0.5))
    _ = world.group.seats[1].live.update { $0.health.checkPassed(rise: 1, at: world.clock.now) }
    var ports: Set<Int> = []
    for _ in 0..<3 { ports.insert(try await world.serve()) }
    #expect(ports == [1, 2, 3])
    _ = world.group.seats[0].live.update { $0.health.checkPassed(rise: 1, at: world.clock.now) }
    ports = []
    for _ in 0..<4 { ports.insert(try await world.serve()) }
    #expect(ports == [1, 2])
  }

  @Test func whatTheOperatorHasTakenOutIsNotUsedInPanicEither() async throws {
    let world = allDown(.whenNoneIsHealthy)
    try world.group.disable("127.0.0.1:1")
    try world.group.drain("127.0.0.1:2")
    for _ in 0..<3 { #expect(try await world.serve() == 3) }
    try world.group.disable("127.0.0.1:3")
    #expect(await world.refusal()?.kind == .overloaded)
  }

  // MARK: The operator

  @Test func disabledAndDrainedOnesGetNothingUntilTheyAreEnabled() async throws {
    let world = GroupWorld(to: GroupWorld.backends(3))
    try world.group.disable("127.0.0.1:1")
    try world.group.drain("127.0.0.1:2")
    #expect(world.group.report().backends.map(\.state) == [.disabled, .draining, .unchecked])
    for _ in 0..<4 { #expect(try await world.serve() == 3) }
    try world.group.enable("127.0.0.1:1")
    try world.group.enable("127.0.0.1:2")
    var ports: Set<Int> = []
    for _ in 0..<3 { ports.insert(try await world.serve()) }
    #expect(ports == [1, 2, 3])
    #expect(world.group.report().events.map(\.kind) == [.disabled, .draining, .drained, .enabled, .enabled])
  }

  @Test func backendsComeAndGoWhileOthersServe() async throws {
    let world = GroupWorld(to: GroupWorld.backends(1))
    try world.group.add(Backend("127.0.0.1:2", named: "two", weight: 3))
    var ports: Set<Int> = []
    for _ in 0..<2 { ports.insert(try await world.serve()) }
    #expect(ports == [1, 2])
    try world.group.remove("127.0.0.1:1")
    for _ in 0..<3 { #expect(try await world.serve() == 2) }
    try world.group.remove("two")
    #expect(await world.refusal()?.detail == "web has no backend")
  }

  @Test func wishesThatCannotBeMetAreAnsweredWithASentence() {
    let world = GroupWorld(to: GroupWorld.backends(2))
    func sentence(_ body: () throws -> Void) -> String? {
      do {
        try body()
        return nil
      } catch {
        return "\(error)"
      }
    }
    #expect(
      sentence { try world.group.drain("b") } == "web has no backend b: it has 127.0.0.1:1, 127.0.0.1:2")
    #expect(
      sentence { try world.group.add(Backend("127.0.0.1:1")) }
        == "web has a backend 127.0.0.1:1 already: give this one another name")
    #expect(
      sentence { try world.group.add(Backend("nowhere")) }
        == "\"nowhere\" is no address: write host:port, 1.2.3.4:port, [::1]:port or unix:/path")
    #expect(
      sentence { try world.group.setWeight("127.0.0.1:1", 0) }
        == "127.0.0.1:1 has a weight of 0: 1 to 10,000 are allowed")
    #expect(
      sentence { try world.group.replace(with: [Backend("127.0.0.1:7"), Backend("127.0.0.1:7")]) }
        == "two backends are called 127.0.0.1:7: give each a name of its own")
    #expect(world.group.report().backends.map(\.name) == ["127.0.0.1:1", "127.0.0.1:2"])
    #expect(world.group.report().events.isEmpty)
  }

  @Test func aNewListKeepsWhatStaysAndEndsWhatGoes() async throws {
    let world = GroupWorld(to: GroupWorld.backends(3))
    for _ in 0..<6 { try await world.serve() }
    try world.group.drain("127.0.0.1:2")
    try world.group.replace(
      with: [Backend("127.0.0.1:2"), Backend("127.0.0.1:3", weight: 5), Backend("127.0.0.1:4")], by: "a test")
    let report = world.group.report()
    #expect(report.backends.map(\.address) == ["127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4"])
    #expect(report.backends.map(\.totals.tries) == [2, 2, 0])
    #expect(report.backends.map(\.state) == [.draining, .unchecked, .unchecked])
    #expect(report.backends[1].weight == 5)
    #expect(
      report.events.suffix(2).map(\.description) == [
        "upstreams web: 127.0.0.1:1: removed: a test", "upstreams web: 127.0.0.1:4: added: a test",
      ])
  }

  @Test func aReloadHandsOnWhatIsKnownAndLeavesTheOldGroupAsItIs() async throws {
    let world = GroupWorld(to: GroupWorld.backends(2))
    for _ in 0..<4 { try await world.serve() }
    try world.group.disable("127.0.0.1:1")
    let clock = world.clock
    var next = Upstreams(
      UpstreamGroup.Configuration(
        strategy: .leastConnections, health: nil, passive: .standard, panic: .never, slowStart: .zero),
      named: "web", [Backend("127.0.0.1:1", weight: 4), Backend("127.0.0.1:9")], clock: { clock.now })
    next.adopt(from: world.upstreams)
    let report = next.group.report()
    #expect(report.backends.map(\.totals.tries) == [2, 0])
    #expect(report.backends.map(\.state) == [.disabled, .unchecked])
    #expect(report.backends.map(\.weight) == [4, 1])
    #expect(report.events.map(\.kind) == [.disabled])
    #expect(next.group.seats[0].live.link === world.group.seats[0].live.link)
    #expect(world.group.report().backends.map(\.address) == ["127.0.0.1:1", "127.0.0.1:2"])
    #expect(world.group.report().backends.map(\.weight) == [1, 1])
  }

  @Test func aReloadWithoutChecksDoesNotKeepABackendOutForEver() async throws {
    let world = GroupWorld(panic: .never, to: GroupWorld.backends(1))
    _ = world.group.seats[0].live.update { $0.health.checkFailed("no", fall: 1, at: world.clock.now) }
    #expect(await world.refusal()?.kind == .overloaded)
    let services = ManualServices(clock: world.clock)
    let group = world.group
    let running = Task { try await group.run(services) }
    while world.state(1) == .unhealthy { await Task.yield() }
    #expect(try await world.serve() == 1)
    running.cancel()
    _ = await running.result
  }

  @Test func anotherBackendMayDoWhereANameDoesNotResolve() async throws {
    let world = GroupWorld(to: [Backend("nowhere.test:1")])
    let rejection = await world.refusal()
    #expect(rejection?.kind == .nameNotFound)
    #expect(rejection?.retry == .safe)
    #expect(world.group.report().backends[0].totals.failures[.name] == 1)
  }

  @Test func theNewestEventsAreKept() throws {
    let world = GroupWorld(to: GroupWorld.backends(2))
    for number in 1...300 { try world.group.setWeight("127.0.0.1:1", number) }
    let events = world.group.report().events
    #expect(events.count == UpstreamGroup.eventLimit)
    #expect(events.last?.reason == "299 to 300, by the operator")
    #expect(events.first?.reason == "44 to 45, by the operator")
  }

  // MARK: Slow start

  @Test func oneThatComesBackGetsAGrowingPartOfItsShare() async throws {
    let world = GroupWorld(.weightedRoundRobin, slowStart: .seconds(100), to: GroupWorld.backends(2))
    _ = world.group.seats[0].live.update { $0.health.checkFailed("no", fall: 1, at: world.clock.now) }
    _ = world.group.seats[0].live.update { $0.health.checkPassed(rise: 1, at: world.clock.now) }
    func share() async throws -> Double {
      var count = 0
      for _ in 0..<110 where try await world.serve() == 1 { count += 1 }
      return Double(count) / 110
    }
    #expect(world.state(1) == .startingSlowly)
    #expect(abs(try await share() - 0.1 / 1.1) < 0.02)
    world.clock.advance(by: .seconds(50))
    #expect(abs(try await share() - 0.5 / 1.5) < 0.02)
    world.clock.advance(by: .seconds(50))
    #expect(abs(try await share() - 0.5) < 0.02)
    #expect(world.state(1) == .healthy)
  }
}
