import Pipeline
import PipelineTesting
import Synchronization
import Testing

@testable import Middlewares

/// Bytes that are lent to live tunnels, in memory; over sockets see `QuotaSocketTests`.
@Suite struct ByteQuotaTests {
  private let clock = ManualClock()
  private let store: QuotaStore
  private let ada = UsageAccount.identity(Principal("ada"))

  init() { store = QuotaStore(clock: calendarClock(clock)) }

  /// A tunnel in which the client sends so many bytes and the upstream answers with as many.
  static func echo(_ bytes: Int) -> @Sendable (Exchange) async throws -> Summary {
    { exchange in
      let (near, far) = MemoryStream.pair(window: 1 << 24)
      try far.write([UInt8](repeating: 7, count: bytes))
      try far.finishWriting()
      let upstream = try await exchange.runtime.connect(to: .unixSocket("/echo"), timeout: .seconds(1))
      return try await exchange.runtime.relay(client: near, upstream: upstream, for: exchange)
    }
  }

  private func harness(
    _ quota: Quota, _ exhaustion: QuotaExhaustion = .refuse
  ) throws -> ChainHarness<SOCKS5Exchange> {
    try ChainHarness(.socks5, clock: clock) {
      NamedByClient()
      UsageQuota(quota, per: .identity, onExhausted: exhaustion, in: store)
    }
  }

  private var status: QuotaStatus? { store.report(of: ada)?.quotas.first }
  private let client = MockClient(user: "ada")

  private func settle(_ harness: ChainHarness<SOCKS5Exchange>, _ runs: [ExchangeRun], seconds: Int = 60) {
    for _ in 0..<(seconds * 20) where runs.contains(where: { $0.outcome == .waiting }) {
      clock.advance(by: .milliseconds(50))
    }
  }

  @Test func aTunnelIsEndedExactlyAtTheLimit() async throws {
    let harness = try harness(.bytes(300_000, per: .day))
    let run = await harness.send(client, end: Self.echo(1_000_000))
    settle(harness, [run])
    #expect(run.outcome == .refused(.quotaExhausted))
    #expect(status?.used == 300_000)
    #expect(await harness.run(client) == .refused(.quotaExhausted))
    clock.advance(by: .seconds(86_400))
    let next = await harness.send(client, end: Self.echo(1000))
    #expect(next.outcome == .served(Summary(traffic: Traffic(up: 1000, down: 1000), endedBy: .client)))
    #expect(status?.used == 2000)
  }

  @Test func anAccountIsNotForgottenBeforeItsFirstByte() async throws {
    let harness = try harness(.bytes(300_000, per: .day))
    let store = store
    let time = calendarClock(clock).now
    let run = await harness.send(client) { exchange in
      // As while the upstream is dialled.
      store.sweep(at: time)
      return try await Self.echo(1_000_000)(exchange)
    }
    settle(harness, [run])
    #expect(run.outcome == .refused(.quotaExhausted))
    #expect(status?.used == 300_000)
  }

  @Test func inShadowALiveTunnelIsCountedAndGoesOn() async throws {
    let harness = try ChainHarness(.socks5, clock: clock) {
      NamedByClient()
      UsageQuota(.bytes(300_000, per: .day), per: .identity, onExhausted: .closeExisting, in: store).shadow()
    }
    let run = await harness.send(client, end: Self.echo(1_000_000))
    settle(harness, [run])
    #expect(run.outcome == .served(Summary(traffic: Traffic(up: 1_000_000, down: 1_000_000), endedBy: .client)))
    #expect(status?.used == 2_000_000)
    #expect(await harness.run(client) == .served())
  }

  @Test func oneWayOnlyCountsWhereTheQuotaSaysSo() async throws {
    let harness = try harness(.bytes(300_000, per: .day, .down))
    let run = await harness.send(client, end: Self.echo(250_000))
    settle(harness, [run])
    #expect(run.outcome == .served(Summary(traffic: Traffic(up: 250_000, down: 250_000), endedBy: .client)))
    #expect(status?.used == 250_000)
  }

  @Test func tunnelsOfOneAccountShareItAndUseAllOfIt() async throws {
    let harness = try harness(.bytes(1_500_000, per: .day))
    var runs: [ExchangeRun] = []
    for _ in 0..<7 { runs.append(await harness.send(client, end: Self.echo(1_000_000))) }
    settle(harness, runs)
    #expect(runs.map(\.outcome) == runs.map { _ in .refused(.quotaExhausted) })
    #expect(status?.used == 1_500_000)
    let other = await harness.send(MockClient(user: "grace"), end: Self.echo(100_000))
    settle(harness, [other])
    #expect(other.outcome == .served(Summary(traffic: Traffic(up: 100_000, down: 100_000), endedBy: .client)))
  }

  /// A silent tunnel keeps nothing from the others for longer than a second.
  @Test func whatIsLentAndNotUsedComesBack() async throws {
    let harness = try harness(.bytes(100_000_000, per: .day))
    let silent = await harness.start(client)
    await silent.perform { exchange in _ = try exchange.renewLease(wanting: [.up, .down]) }
    #expect((status?.used ?? 0) > 0)
    clock.advance(by: .seconds(1))
    await silent.perform { exchange in _ = try exchange.renewLease() }
    #expect(status?.used == 0)
    await silent.perform { exchange in _ = try exchange.renewLease(wanting: .up) }
    #expect((status?.used ?? 0) > 0)
    await silent.finish()
    #expect(status?.used == 0)
  }

  @Test func leasesAreLargeFarFromTheLimitAndSmallNearIt() async throws {
    let harness = try harness(.bytes(100_000_000, per: .day))
    let run = await harness.start(client)
    let leases = Leases()
    for _ in 0..<10_000 {
      guard run.outcome == .waiting else { break }
      await run.perform { exchange in
        exchange.isCommitted = true
        let lease = try exchange.renewLease(wanting: .up)
        leases.sizes.withLock { $0.append(lease.up) }
        exchange.traffic.up += UInt64(max(lease.up, 0))
      }
    }
    let sizes = leases.sizes.withLock { $0 }
    #expect(sizes.max() == 4 * 1024 * 1024)
    #expect(sizes.count < 150)
    #expect(sizes.suffix(3).allSatisfy { $0 <= 16 * 1024 })
    #expect(run.outcome == .refused(.quotaExhausted))
    #expect(status?.used == 100_000_000)
  }

  @Test func throttledItGoesOnAtThatRateUntilTheWindowEnds() async throws {
    let harness = try harness(
      .bytes(100_000, per: .minute), .throttle(to: .bytesPerSecond(10_000, burst: 5_000)))
    clock.advance(by: .seconds(20))
    let run = await harness.send(client, end: Self.echo(150_000))
    let began = clock.now
    while run.outcome == .waiting, clock.now - began < .seconds(39) { clock.advance(by: .milliseconds(5)) }
    // 100,000 bytes at once, more of them up than down; then 10,000 a second each way.
    #expect((clock.now - began).inSeconds >= 9 && (clock.now - began).inSeconds <= 12, "\(clock.now - began)")
    #expect(run.outcome == .served(Summary(traffic: Traffic(up: 150_000, down: 150_000), endedBy: .client)))
    #expect(status?.used == 300_000)
    let slow = await harness.send(client, end: Self.echo(1_000_000))
    clock.advance(by: .seconds(1))
    #expect(slow.outcome == .waiting)
    // The next minute has a quota of its own: 100,000 bytes at once again.
    clock.advance(by: .seconds(60))
    #expect((status?.used ?? 0) >= 100_000)
    await slow.cut()
    #expect(store.report(of: ada)?.quotas.first?.used ?? 0 < 2_000_000)
  }

  /// Whatever tunnels come, move and go: what is counted is what moved, and nothing stays lent.
  @Test func inEveryMixWhatIsCountedIsWhatMoved() async throws {
    for seed in 1...8 as ClosedRange<UInt64> {
      var random = SeededRandom(seed: seed)
      let name = "mix\(seed)"
      let limit = 3_000_000
      let harness = try harness(.bytes(limit, per: .forever, name: name))
      var open: [ExchangeRun] = []
      let moved = Leases()
      for _ in 0..<600 {
        if random.next() % 4 == 0 || open.isEmpty { open.append(await harness.start(client)) }
        open.removeAll { $0.outcome != .waiting }
        guard let run = open.randomElement(using: &random) else { continue }
        let (up, down, all) = (random.next() % 3, random.next() % 3, random.next() % 2 == 0)
        switch random.next() % 8 {
        case 0: await run.finish()
        case 1: await run.cut()
        default:
          await run.perform { exchange in
            let lease = try exchange.renewLease(
              wanting: Directions(up > 0 ? [.up] : []).union(down > 0 ? .down : []))
            let (sent, received) = (max(lease.up, 0) / (all ? 1 : 3), max(lease.down, 0) / (all ? 1 : 3))
            exchange.isCommitted = true
            exchange.traffic.up += UInt64(sent)
            exchange.traffic.down += UInt64(received)
            moved.sizes.withLock { $0.append(sent + received) }
          }
        }
        if random.next() % 3 == 0 { clock.advance(by: .milliseconds(300)) }
      }
      for run in open where run.outcome == .waiting { await run.cut() }
      let sum = moved.sizes.withLock { $0.reduce(0, +) }
      let used = store.report(of: ada)?.quotas.first { $0.name == name }?.used
      #expect(used == sum)
      #expect(sum <= limit)
    }
  }
}

final class Leases: Sendable {
  let sizes = Mutex<[Int]>([])
}
