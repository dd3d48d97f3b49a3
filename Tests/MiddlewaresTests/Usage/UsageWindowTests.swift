import Pipeline
import PipelineTesting
import Synchronization
import Testing

@testable import Middlewares

/// Counts calls from any thread.
final class Counted: Sendable {
  private let calls = Atomic<Int>(0)
  var count: Int { calls.load(ordering: .relaxed) }
  func add() { calls.add(1, ordering: .relaxed) }
}

/// A wall clock that a test moves.
final class MovedWallClock: Sendable {
  private let time: Atomic<Int64>
  init(_ seconds: Int64) { time = Atomic(seconds) }
  var seconds: Int64 {
    get { time.load(ordering: .relaxed) }
    set { time.store(newValue, ordering: .relaxed) }
  }
  var now: UnixTime { UnixTime(seconds: seconds) }
  var clock: WallClock { WallClock { self.now } }
}

@Suite struct UsageWindowTests {
  private let ada = UsageAccount.identity(Principal("ada"))
  /// 2026-03-10T10:00:00Z, a Tuesday.
  private let start: Int64 = 1_773_136_800

  private func used(_ report: UsageReport?, _ unit: CalendarUnit) -> Int? {
    report?.windows.first { $0.unit == unit }?.usage.requests
  }

  @Test func usageStandsInEveryWindowInWhichItHappened() {
    let wall = MovedWallClock(start)
    let store = MemoryUsageStore(clock: wall.clock)
    func count(_ requests: Int) { store.record(UsageChange(requests: requests), for: ada, at: wall.now) }
    count(1)
    wall.seconds += 59
    count(2)
    wall.seconds += 1
    count(4)
    var report = store.report(of: ada)
    #expect(used(report, .minute) == 4)
    #expect(used(report, .hour) == 7)
    wall.seconds = start + 3600
    count(8)
    report = store.report(of: ada)
    #expect(used(report, .minute) == 8)
    #expect(used(report, .hour) == 8)
    #expect(used(report, .day) == 15)
    wall.seconds = start + 86_400
    count(16)
    report = store.report(of: ada)
    #expect(used(report, .day) == 16)
    #expect(used(report, .month) == 31)
    wall.seconds = start + 22 * 86_400
    report = store.report(of: ada)
    #expect(used(report, .month) == 0)
    #expect(report?.totals.requests == 31)
    #expect(store.globalReport()?.totals.requests == 31)
  }

  @Test func rollingUsageIsTheOpenWindowAndTheShareOfTheOneBefore() {
    let wall = MovedWallClock(start)
    let store = MemoryUsageStore(clock: wall.clock)
    store.record(UsageChange(requests: 60, down: 600), for: ada, at: wall.now)
    #expect(store.report(of: ada)?.lastHour == UsageChange(requests: 60, down: 600))
    wall.seconds = start + 3600 + 900
    store.record(UsageChange(requests: 10), for: ada, at: wall.now)
    // A quarter of the hour is over: three quarters of the one before are in the last 60 minutes.
    #expect(store.report(of: ada)?.lastHour == UsageChange(requests: 55, down: 450))
    wall.seconds = start + 2 * 3600 + 1
    #expect(store.report(of: ada)?.lastHour.requests == 10)
    wall.seconds = start + 4 * 3600
    #expect(store.report(of: ada)?.lastHour == UsageChange())
    #expect(store.report(of: ada)?.lastDay.requests == 70)
    // On 31 March the month is longer than 30 days.
    wall.seconds = start + 21 * 86_400 + 50_000
    let last = store.report(of: ada)?.last30Days.requests ?? 0
    #expect(last < 70 && last >= 67)
  }

  @Test func whatIsCollectedIsTotalsAndTheWindowsOfIt() {
    let wall = MovedWallClock(start + 3590)
    let store = MemoryUsageStore(writer: LedgerWriter(NoLedger()), clock: wall.clock)
    func collect() -> [LedgerUsage] {
      var batch = LedgerBatch(writer: LedgerWriterID(high: 1, low: 1), sequence: 1)
      while store.collect(into: &batch, limit: 2) {}
      return batch.usage
    }
    store.record(UsageChange(requests: 1, up: 10), for: ada, at: wall.now)
    let first = collect()
    #expect(first.map(\.total) == [UsageChange(requests: 1, up: 10)])
    #expect(first.first?.windows.map(\.unit) == [.minute, .hour, .day, .month])
    #expect(first.first?.windows.allSatisfy { $0.usage == UsageChange(requests: 1, up: 10) } == true)
    #expect(collect() == [])
    // Over the hour, and a change that is taken back.
    store.record(UsageChange(requests: 2), for: ada, at: wall.now)
    wall.seconds += 20
    store.record(UsageChange(requests: 5), for: ada, at: wall.now)
    store.record(UsageChange(requests: -1), for: ada, at: wall.now)
    let second = collect()
    #expect(second.map(\.total) == [UsageChange(requests: 6)])
    let hours = second.first?.windows.filter { $0.unit == .hour } ?? []
    #expect(hours.map(\.start.seconds) == [start, start + 3600])
    #expect(hours.map(\.usage.requests) == [2, 4])
    let day = second.first?.windows.filter { $0.unit == .day } ?? []
    #expect(day.map(\.usage.requests) == [6])
    #expect(store.totals(of: ada)?.requests == 7)
  }

  /// An outage of hours: one row, of each unit two windows at most, and no total is lost.
  @Test func anOutageKeepsOneRowForAnAccount() {
    let wall = MovedWallClock(start)
    let store = MemoryUsageStore(writer: LedgerWriter(NoLedger()), clock: wall.clock)
    for _ in 0..<1000 {
      store.record(UsageChange(requests: 1), for: ada, at: wall.now)
      wall.seconds += 30
    }
    var batch = LedgerBatch(writer: LedgerWriterID(high: 1, low: 1), sequence: 1)
    #expect(!store.collect(into: &batch, limit: 100))
    #expect(batch.usage.map(\.total.requests) == [1000])
    for unit in CalendarUnit.allCases {
      #expect((batch.usage.first?.windows.count { $0.unit == unit } ?? 0) <= 2)
    }
    let day = batch.usage.first?.windows.filter { $0.unit == .day } ?? []
    #expect(day.reduce(0) { $0 + $1.usage.requests } == 1000)
  }

  @Test func whatTheLedgerKnewIsAddedAndNotWrittenAgain() {
    let wall = MovedWallClock(start)
    let store = MemoryUsageStore(writer: LedgerWriter(NoLedger()), clock: wall.clock)
    store.record(UsageChange(requests: 1), for: ada, at: wall.now)
    let day = CalendarWindow(.day, containing: wall.now, in: .utc)
    let known = LedgerUsage(
      account: ada, total: UsageChange(requests: 100), firstSeen: UnixTime(seconds: 5), lastSeen: UnixTime(seconds: 9),
      windows: [LedgerWindow(unit: .day, start: day.start, end: day.end, usage: UsageChange(requests: 40))])
    store.restore(.usage(known))
    store.restore(.global(known))
    #expect(store.totals(of: ada)?.requests == 101)
    #expect(store.totals(of: ada)?.firstSeen == UnixTime(seconds: 5))
    #expect(store.totals(of: ada)?.lastSeen == wall.now)
    #expect(used(store.report(of: ada), .day) == 41)
    #expect(store.global()?.requests == 101)
    var batch = LedgerBatch(writer: LedgerWriterID(high: 1, low: 1), sequence: 1)
    _ = store.collect(into: &batch, limit: 100)
    #expect(batch.usage.map(\.total.requests) == [1])
  }

  /// Whatever is counted, when, and collected, when: the ledger ends up with the same.
  @Test func whatIsCollectedAddsUpToWhatWasCounted() {
    let wall = MovedWallClock(start)
    let store = MemoryUsageStore(zone: TestZones.berlin, writer: LedgerWriter(NoLedger()), clock: wall.clock)
    var random = SeededRandom(seed: 3)
    var totals: [UsageAccount: UsageChange] = [:]
    var written: [UsageAccount: UsageChange] = [:]
    var writtenDays = 0
    func collect() {
      var batch = LedgerBatch(writer: LedgerWriterID(high: 1, low: 1), sequence: 1)
      while store.collect(into: &batch, limit: 3) {}
      for usage in batch.usage {
        written[usage.account, default: UsageChange()] += usage.total
        for window in usage.windows where window.unit == .day { writtenDays += window.usage.requests }
      }
    }
    for _ in 0..<3000 {
      let account = UsageAccount.identity(Principal("user\(random.next() % 9)"))
      let change = UsageChange(requests: Int(random.next() % 4), up: Int(random.next() % 1000))
      store.record(change, for: account, at: wall.now)
      totals[account, default: UsageChange()] += change
      wall.seconds += Int64(random.next() % 200)
      if random.next() % 7 == 0 { collect() }
    }
    collect()
    #expect(written == totals)
    #expect(writtenDays == totals.values.reduce(0) { $0 + $1.requests })
    #expect(store.global()?.usage == totals.values.reduce(into: UsageChange()) { $0 += $1 })
  }
}

/// A ledger that is never asked.
struct NoLedger: UsageLedger {
  var name: String { "none" }
  func add(_ batch: LedgerBatch) throws {}
  func load(at time: UnixTime, each: (LedgerRow) throws -> Void) throws {}
  func account(_ account: UsageAccount, at time: UnixTime) throws -> LedgerAccount? { nil }
  func global(at time: UnixTime) throws -> LedgerAccount? { nil }
  func accounts(after account: UsageAccount?, limit: Int, at time: UnixTime) throws -> [LedgerAccount] { [] }
  func prune(_ retention: LedgerRetention, at time: UnixTime) throws {}
  func close() {}
}
