import Middlewares
import Pipeline
import PipelineTesting
import SQLiteLedger
import Synchronization
import Testing

/// Stores in memory, the writer and a real file together.
@Suite struct WrittenBehindTests {
  let directory: TemporaryDirectory
  let services = ManualServices()
  let clock = MovableClock()

  init() throws { directory = try TemporaryDirectory() }

  func makeStore(_ ledger: any UsageLedger, batch: Int = 5_000) -> (MemoryUsageStore, LedgerWriter) {
    let clock = clock
    let wall = WallClock { clock.now }
    let writer = LedgerWriter(ledger, batch: batch, clock: wall)
    return (MemoryUsageStore(writer: writer, clock: wall), writer)
  }

  @Test func whateverFailsAndHoweverOftenItIsStartedAnewEverythingIsCountedOnce() async throws {
    for seed in 1...6 as ClosedRange<UInt64> {
      var random = SeededRandom(seed: seed)
      let path = directory.file("\(seed).db")
      var truth: [UsageAccount: UsageChange] = [:]
      for process in 0..<3 {
        let ledger = StumblingLedger(SQLiteLedger(path), seed: seed * 10 + UInt64(process))
        let (store, writer) = makeStore(ledger, batch: 1 + Int(random.next() % 7))
        // Before the ledger has said what it knows, too.
        for step in 0..<80 {
          let number = random.next() % 10
          let account: UsageAccount =
            number < 8 ? identity("user\(number)") : number == 8 ? .anonymous : .unauthenticated
          let change = UsageChange(
            requests: 1, connections: Int(random.next() % 2), up: Int(random.next() % 5000),
            down: Int(random.next() % 9000))
          store.record(change, for: account, at: clock.now)
          truth[account] = truth[account].map { sum($0, change) } ?? change
          clock.move(by: Int64(random.next() % 20))
          if step % 7 == 0 { await writer.flush(services) }
        }
        while await !writer.flush(services) {}
        ledger.close()
      }
      let ledger = SQLiteLedger(path)
      var whole = UsageChange()
      for (account, usage) in truth {
        let found = try #require(try ledger.account(account, at: clock.now))
        #expect(found.totals.usage == usage, "seed \(seed): \(account)")
        let month = found.windows.first { $0.unit == .month }
        #expect(month?.usage == usage, "seed \(seed): the month of \(account)")
        whole = sum(whole, usage)
      }
      let all = try ledger.global(at: clock.now)
      #expect(all?.totals.usage == whole, "seed \(seed)")
      #expect(all?.windows.first { $0.unit == .month }?.usage == whole, "seed \(seed): the month")
      // And a new process knows it.
      let (store, writer) = makeStore(ledger)
      #expect(await writer.flush(services))
      for (account, usage) in truth { #expect(store.totals(of: account)?.usage == usage, "seed \(seed): \(account)") }
      #expect(store.global()?.usage == whole, "seed \(seed)")
    }
  }

  func sum(_ a: UsageChange, _ b: UsageChange) -> UsageChange { a - (UsageChange() - b) }

  @Test func threadsThatCountWhileItIsWrittenLoseNothing() async throws {
    let ledger = SQLiteLedger(directory.file())
    let (store, writer) = makeStore(ledger, batch: 20)
    let counting = Countdown(from: 4)
    try await withThrowingTaskGroup { group in
      for thread in 0..<4 {
        group.addTask { [clock] in
          for step in 0..<3000 {
            store.record(
              UsageChange(requests: 1, up: step), for: identity("user\((step + thread) % 60)"), at: clock.now)
          }
          counting.down()
        }
      }
      group.addTask { [services] in
        while !counting.isOver { await writer.flush(services) }
      }
      try await group.waitForAll()
    }
    #expect(await writer.flush(services))
    let all = try ledger.global(at: clock.now)
    #expect(all?.totals.requests == 12_000)
    #expect(all?.totals.up == 4 * 3000 * 2999 / 2)
    let accounts = try ledger.accounts(after: nil, limit: 100, at: clock.now)
    #expect(accounts.map(\.totals.requests) == [Int](repeating: 200, count: 60))
  }
}

/// Civil time that a test moves.
final class MovableClock: Sendable {
  private let seconds = Atomic<Int64>(1_795_262_430)
  var now: UnixTime { UnixTime(seconds: seconds.load(ordering: .relaxed)) }
  func move(by delta: Int64) { seconds.add(delta, ordering: .relaxed) }
}

private final class Countdown: Sendable {
  private let left: Atomic<Int>
  init(from count: Int) { left = Atomic(count) }
  var isOver: Bool { left.load(ordering: .relaxed) == 0 }
  func down() { left.subtract(1, ordering: .relaxed) }
}

/// Fails every now and then, before or after it has done what it was asked.
private final class StumblingLedger: UsageLedger {
  private let ledger: SQLiteLedger
  private let random: Mutex<SeededRandom>

  init(_ ledger: SQLiteLedger, seed: UInt64) {
    self.ledger = ledger
    random = Mutex(SeededRandom(seed: seed))
  }

  var name: String { ledger.name }

  private func chance() -> UInt64 { random.withLock { $0.next() % 4 } }

  func add(_ batch: LedgerBatch) throws {
    let chance = chance()
    if chance == 0 { throw LedgerError.unavailable("stumbled before") }
    try ledger.add(batch)
    if chance == 1 { throw LedgerError.unavailable("stumbled after") }
  }

  func load(at time: UnixTime, each: (LedgerRow) throws -> Void) throws {
    var left = chance() == 0 ? Int(chance()) * 3 : Int.max
    try ledger.load(at: time) { row in
      if left == 0 { throw LedgerError.unavailable("stumbled on the way") }
      left -= 1
      try each(row)
    }
  }

  func account(_ account: UsageAccount, at time: UnixTime) throws -> LedgerAccount? {
    try ledger.account(account, at: time)
  }
  func global(at time: UnixTime) throws -> LedgerAccount? { try ledger.global(at: time) }
  func accounts(after account: UsageAccount?, limit: Int, at time: UnixTime) throws -> [LedgerAccount] {
    try ledger.accounts(after: account, limit: limit, at: time)
  }
  func prune(_ retention: LedgerRetention, at time: UnixTime) throws { try ledger.prune(retention, at: time) }
  func close() { ledger.close() }
}
