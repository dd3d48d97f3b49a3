import Pipeline
import PipelineTesting
import Testing

@testable import Middlewares

@Suite struct BandwidthTests {
  /// A tunnel in which the client sends so many bytes and the upstream answers with as many.
  private static func echo(_ bytes: Int) -> @Sendable (Exchange) async throws -> Summary {
    { exchange in
      let (near, far) = MemoryStream.pair(window: 1 << 24)
      try far.write([UInt8](repeating: 7, count: bytes))
      try far.finishWriting()
      let upstream = try await exchange.runtime.connect(to: .unixSocket("/echo"), timeout: .seconds(1))
      let summary = try await exchange.runtime.relay(client: near, upstream: upstream, for: exchange)
      #expect(try far.readAll().count == bytes)
      return summary
    }
  }

  /// Seconds until all of them have ended.
  private static func seconds<Carrier>(_ harness: ChainHarness<Carrier>, _ runs: [ExchangeRun]) -> Double {
    let start = harness.clock.now
    while runs.contains(where: { $0.outcome == .waiting }), harness.clock.now - start < .seconds(3_600) {
      harness.clock.advance(by: .milliseconds(5))
    }
    return (harness.clock.now - start).inSeconds
  }

  @Test func aTunnelTakesTheTimeThatItsRateSays() async throws {
    let harness = try ChainHarness(.tcp) {
      Bandwidth(
        up: .bytesPerSecond(10_000, burst: 5_000), down: .bytesPerSecond(20_000, burst: 5_000), per: .connection)
    }
    let run = await harness.send(end: Self.echo(105_000))
    // 105,000 bytes, 5,000 of them at once; the answer comes at the pace of the question.
    let took = Self.seconds(harness, [run])
    #expect(took >= 10 && took <= 10.3, "\(took)")
    #expect(run.outcome == .served(Summary(traffic: Traffic(up: 105_000, down: 105_000), endedBy: .client)))
  }

  @Test func theSlowerDirectionHoldsOnlyItself() async throws {
    let harness = try ChainHarness(.tcp) { Bandwidth(down: .bytesPerSecond(10_000, burst: 5_000), per: .connection) }
    let run = await harness.send(end: Self.echo(55_000))
    let took = Self.seconds(harness, [run])
    #expect(took >= 5 && took <= 5.3, "\(took)")
  }

  @Test func connectionsOfOneIdentityShareItsRate() async throws {
    let harness = try ChainHarness(.socks5) {
      NamedByClient()
      Bandwidth(.bytesPerSecond(10_000, burst: 5_000), per: .identity)
    }
    let first = await harness.send(MockClient(ip: "192.0.2.1", user: "ada"), end: Self.echo(52_500))
    let second = await harness.send(MockClient(ip: "192.0.2.2", user: "ada"), end: Self.echo(52_500))
    let other = await harness.send(MockClient(user: "grace"), end: Self.echo(52_500))
    let alone = Self.seconds(harness, [other])
    #expect(alone >= 4.75 && alone <= 5.1, "\(alone)")
    #expect(first.outcome == .waiting && second.outcome == .waiting)
    let both = alone + Self.seconds(harness, [first, second])
    #expect(both >= 10 && both <= 10.4, "\(both)")
  }

  @Test func aConnectionHasALimitOfItsOwnAndAGlobalOneIsShared() async throws {
    let harness = try ChainHarness(.tcp) {
      Bandwidth(.bytesPerSecond(15_000), per: .global)
      Bandwidth(.bytesPerSecond(10_000, burst: 5_000), per: .connection)
    }
    var runs = [await harness.send(end: Self.echo(50_000))]
    let alone = Self.seconds(harness, runs)
    #expect(alone >= 4.5 && alone <= 4.9, "\(alone)")
    runs = []
    for _ in 0..<3 { runs.append(await harness.send(end: Self.echo(50_000))) }
    let three = Self.seconds(harness, runs)
    // 150,000 bytes at 15,000 a second, 16 KiB of them at once.
    #expect(three >= 8.9 && three <= 9.4, "\(three)")
  }

  @Test func requestsOnOneConnectionShareWhatIsKeptPerConnection() {
    let first = MockTCPExchange(id: 7)
    guard case .custom(let read) = Per.connection.first else {
      Issue.record("no key")
      return
    }
    let keyOf = { (exchange: Exchange) in read(exchange, .process) }
    let before = keyOf(first)
    first.recycle(id: 8)
    #expect(keyOf(first) == before)
    #expect(keyOf(MockTCPExchange(id: 8)) != before)
  }

  @Test func inShadowNothingIsLimited() async throws {
    let harness = try ChainHarness(.tcp) { Bandwidth(.bytesPerSecond(1_000), per: .global).shadow() }
    let run = await harness.send(end: Self.echo(1_000_000))
    #expect(Self.seconds(harness, [run]) <= 0.1)
  }

  @Test func anExchangeWithoutAKeyIsNotLimited() async throws {
    let harness = try ChainHarness(.tcp) { Bandwidth(.bytesPerSecond(1_000), per: .custom { _ in String?.none }) }
    let run = await harness.send(end: Self.echo(1_000_000))
    #expect(Self.seconds(harness, [run]) <= 0.1)
  }

  @Test func aKeyForWhichThereIsNoRoomIsRefusedOrNotLimited() async throws {
    for (policy, wanted) in [(LimitTableFull.refuse, Outcome.refused(.overloaded)), (.admit, .served())] {
      let harness = try ChainHarness(.tcp) {
        Bandwidth(.bytesPerSecond(1_000), per: .clientAddress, maxKeys: 2, whenFull: policy)
      }
      let first = await harness.start(MockClient(ip: "192.0.2.1"))
      let second = await harness.start(MockClient(ip: "192.0.2.2"))
      #expect(await harness.run(MockClient(ip: "192.0.2.3")) == wanted)
      #expect(await harness.run(MockClient(ip: "192.0.2.1")) == .served())
      // A bucket that is full, and that nobody uses, makes room.
      await first.finish()
      #expect(await harness.run(MockClient(ip: "192.0.2.3")) == .served())
      await second.finish()
    }
  }

  @Test func anEndedExchangeGivesBackWhatItWasLent() async throws {
    let limit = Bandwidth(.bytesPerSecond(100_000, burst: 50_000), per: .global)
    let harness = try ChainHarness(.tcp) { limit }
    let table = try #require(limit.state as? BandwidthTable)
    let run = await harness.start()
    await run.perform { exchange in
      exchange.traffic = Traffic(up: 1_000, down: 2_000)
      _ = try exchange.renewLease(wanting: [.up, .down])
    }
    let bucket = try #require(table.bucket(of: .global))
    let now = harness.clock.now.nanoseconds
    #expect(bucket.load(now).exchanges == 1)
    #expect((bucket.load(now).up ?? 0) < 49_000)
    await run.cut()
    #expect(run.outcome == .refused(.clientGone))
    #expect(bucket.load(now).exchanges == 0)
    #expect(bucket.load(now).up == 49_000)
    #expect(bucket.load(now).down == 48_000)
  }

  @Test func idleBucketsAreForgotten() async throws {
    let limit = Bandwidth(.bytesPerSecond(1_000), per: .clientAddress)
    let harness = try ChainHarness(.tcp) { limit }
    let table = try #require(limit.state as? BandwidthTable)
    for last in 1...100 { #expect(await harness.run(MockClient(ip: "192.0.2.\(last)")) == .served()) }
    #expect(table.count > 1 && table.count <= 100)
    table.sweep(now: harness.clock.now.nanoseconds)
    #expect(table.count == 0)
  }

  @Test func aReloadKeepsWhatWasUsedAndGivesOpenConnectionsTheNewRate() async throws {
    let old = try ChainHarness(.tcp) { Bandwidth(.bytesPerSecond(1_000, burst: 10_000), per: .global) }
    let run = await old.send(end: Self.echo(110_000))
    for _ in 0..<100 { old.clock.advance(by: .milliseconds(10)) }
    #expect(run.outcome == .waiting)
    let limit = Bandwidth(.bytesPerSecond(100_000, burst: 100_000), per: .global)
    let new = try ChainHarness(.tcp, clock: old.clock, replacing: old.service.placement) { limit }
    let took = Self.seconds(new, [run])
    // What is left at the new rate, but for the lease that waits already. With the bucket filled up it would take no time.
    #expect(took >= 0.9 && took <= 2.2, "\(took)")
  }

  @Test func aKnownKeyAllocatesNothing() async throws {
    let limit = Bandwidth(.bytesPerSecond(1_000_000), per: .global)
    let exchange = MockTCPExchange()
    _ = try await limit.handle(exchange) { Summary() }
    let flow = limit.state as? BandwidthTable
    #expect(flow?.count == 1)
    _ = try await limit.handle(exchange) { Summary() }
    #expect(flow?.spare == 1)
  }

  @Test func thePlanShowsWhatIsLimited() {
    let both = Bandwidth(.bytesPerSecond(1_000_000), per: .identity)
    #expect(
      both.parameters == [
        Parameter("each way", "1000000 B/s, burst 100000 B"), Parameter("per", "identity"),
      ])
    let one = Bandwidth(down: .bytesPerSecond(50_000, burst: 9_000), per: .connection)
    #expect(one.parameters == [Parameter("down", "50000 B/s, burst 9000 B"), Parameter("per", "connection")])
  }

  @Test func numbersOutOfTheirDomainAreNamed() {
    func refused<Key>(_ limit: Bandwidth<Key>) -> [String] where Key.Carrier == Exchange, Key.Needs == Anyone {
      complaints { _ = try ChainHarness(.tcp) { limit } }
    }
    #expect(
      refused(Bandwidth(.bytesPerSecond(999), per: .global)).first?
        .contains("999 bytes per second: 1,000 to 1,000,000,000,000 are allowed") == true)
    #expect(
      refused(Bandwidth(up: .bytesPerSecond(5_000, burst: 100), per: .global)).first?
        .contains("up: a burst of 100 bytes: 4,096 to 1,000,000,000,000 are allowed") == true)
    #expect(
      refused(Bandwidth(down: .bytesPerSecond(1_000, burst: 1_000_000_000), per: .global)).first?
        .contains("down: a burst of 1000000000 bytes at 1000 bytes per second: no more than an hour's worth") == true)
    #expect(
      refused(Bandwidth(per: .global)).first?
        .contains("neither up nor down has a rate: give at least one of them") == true)
    #expect(
      refused(Bandwidth(.bytesPerSecond(1_000), per: .global, maxKeys: 0)).first?
        .contains("maxKeys of 0: 1 to 16,777,216 are allowed") == true)
    #expect(refused(Bandwidth(.bytesPerSecond(1_000), per: .global)) == [])
  }
}
