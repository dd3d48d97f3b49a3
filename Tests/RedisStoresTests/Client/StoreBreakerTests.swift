import Middlewares
import Pipeline
import Testing

@testable import RedisStores

struct StoreBreakerTests {
  private func at(_ milliseconds: Int) -> Instant { Instant(nanoseconds: 1_000_000 * UInt64(milliseconds)) }

  @Test func itOpensAtTheThresholdOfFailuresInARow() {
    var breaker = StoreBreaker(threshold: 3, pause: .milliseconds(100))
    func failed(_ milliseconds: Int) -> StoreBreaker.Change? { breaker.failed(now: at(milliseconds)) }
    func succeeded() -> StoreBreaker.Change? { breaker.succeeded() }
    #expect(failed(0) == nil)
    #expect(failed(1) == nil)
    #expect(succeeded() == nil)
    #expect(failed(2) == nil)
    #expect(failed(3) == nil)
    #expect(breaker.isClosed)
    #expect(failed(4) == .opened(failures: 3))
    #expect(!breaker.isClosed)
    // What began before it opened changes nothing.
    #expect(failed(5) == nil)
    #expect(succeeded() == nil)
    #expect(!breaker.isClosed)
  }

  @Test func halfOpenItLetsOneProbeThroughWhichDecides() {
    var breaker = StoreBreaker(threshold: 1, pause: .milliseconds(100))
    func mayProbe(_ milliseconds: Int) -> Bool { breaker.mayProbe(now: at(milliseconds)) }
    #expect(!mayProbe(0))
    _ = breaker.failed(now: at(0))
    #expect(breaker.probeAt == at(100))
    #expect(!mayProbe(99))
    #expect(mayProbe(100))
    #expect(!mayProbe(100), "one probe")
    let again = breaker.failed(now: at(150))
    #expect(again == nil, "it was open, and stays so: no change")
    #expect(breaker.probeAt == at(250))
    #expect(mayProbe(250))
    let change = breaker.succeeded()
    #expect(change == .closed)
    #expect(breaker.isClosed)
  }
}

struct LeaseTableTests {
  private let holder = LeaseTable.Holder(key: .named("a"), rate: nil)
  private let allowed = LimitDecision(isAllowed: true, limit: 100, remaining: 59, reset: .seconds(1))

  private func at(_ milliseconds: Int) -> Instant { Instant(nanoseconds: 1_000_000 * UInt64(milliseconds)) }

  private func want(_ answer: LeaseTable.Answer) -> Int? {
    if case .fetch(let want) = answer { want } else { nil }
  }

  private func remaining(_ answer: LeaseTable.Answer) -> Int? {
    if case .served(let decision) = answer { decision.remaining } else { nil }
  }

  private func isAsk(_ answer: LeaseTable.Answer) -> Bool {
    if case .ask = answer { true } else { false }
  }

  @Test func aLeaseIsFetchedOnceAndServedUntilItIsUsedUp() {
    let table = LeaseTable(batch: 10, holdFor: .seconds(1), maxKeys: 1000)
    #expect(want(table.take(1, holder, now: at(0))) == 10)
    #expect(isAsk(table.take(1, holder, now: at(0))), "somebody fetches already")
    table.fetched(10, allowed, cost: 1, holder, now: at(1))
    #expect(table.held == 9)
    for left in (0..<9).reversed() { #expect(remaining(table.take(1, holder, now: at(2))) == 50 + left) }
    #expect(want(table.take(1, holder, now: at(3))) == 10)
  }

  @Test func neverMoreThanABatchIsHeld() {
    let table = LeaseTable(batch: 10, holdFor: .seconds(1), maxKeys: 1000)
    #expect(want(table.take(1, holder, now: at(0))) == 10)
    table.fetched(10, allowed, cost: 1, holder, now: at(0))
    // 9 are here, 3 + 3 + 2 go; 1 is left, and a cost of 2 fetches the rest of a batch only.
    for cost in [3, 3, 2] { #expect(remaining(table.take(cost, holder, now: at(1))) != nil) }
    #expect(want(table.take(2, holder, now: at(1))) == 9)
    table.fetched(9, allowed, cost: 2, holder, now: at(1))
    #expect(table.held == 8)
    #expect(isAsk(table.take(10, holder, now: at(1))), "a cost of a whole batch is asked for by itself")
  }

  @Test func whatExpiredIsNotUsedAndComesBackOnce() {
    let table = LeaseTable(batch: 10, holdFor: .milliseconds(100), maxKeys: 1000)
    _ = table.take(1, holder, now: at(0))
    table.fetched(10, allowed, cost: 1, holder, now: at(0))
    #expect(table.collect(now: at(99)).isEmpty)
    #expect(isAsk(table.take(1, holder, now: at(100))))
    #expect(table.collect(now: at(100)) == [LeaseTable.Leftover(holder: holder, tokens: 9)])
    #expect(table.collect(now: at(100)).isEmpty)
    #expect(table.held == 0)
    #expect(want(table.take(1, holder, now: at(101))) == 10)
    table.fetched(nil, nil, cost: 1, holder, now: at(101))
    #expect(want(table.take(1, holder, now: at(102))) == 10, "a failed fetch is over")
    table.fetched(4, allowed, cost: 1, holder, now: at(102))
    #expect(table.collect(now: at(102), everything: true).map(\.tokens) == [3])
  }

  @Test func keysBeyondTheBoundHaveNoLease() {
    let table = LeaseTable(batch: 10, holdFor: .seconds(1), maxKeys: 16)
    var asked = 0
    for number in 0..<100 {
      let holder = LeaseTable.Holder(key: .named("\(number)"), rate: nil)
      if isAsk(table.take(1, holder, now: at(0))) { asked += 1 }
    }
    #expect(asked >= 84)
  }
}

struct RedisLimitOptionsTests {
  @Test func numbersOutOfRangeAreNamed() {
    func problem(_ edit: (inout RedisLimitOptions) -> Void) -> String {
      var options = RedisLimitOptions()
      edit(&options)
      return options.problems.joined(separator: "; ")
    }
    #expect(problem { _ in } == "")
    #expect(problem { $0.prefix = "{a}" } == "prefix of \"{a}\": 1 to 100 bytes without braces are allowed")
    #expect(problem { $0.prefix = "" }.hasPrefix("prefix of \"\""))
    #expect(problem { $0.breakAfter = 0 } == "breakAfter of 0: 1...1,000 are allowed")
    #expect(problem { $0.breakFor = .zero }.contains("10 ms to 1 hour"))
    #expect(problem { $0.whenInTrouble = .local(processes: 0) }.contains("local(processes: 0)"))
    #expect(problem { $0.localTier = .init(batch: 1) }.contains("localTier.batch of 1"))
    #expect(problem { $0.localTier = .init(batch: 2, holdFor: .zero) }.contains("localTier.holdFor"))
    #expect(problem { $0.localTier = .init(batch: 2, maxKeys: 1) }.contains("localTier.maxKeys of 1"))
  }

  @Test func aRateThatTheScriptCannotCountIsRefusedAndANameToo() throws {
    let client = try RedisClient("redis://127.0.0.1:1")
    func problems(_ name: String, _ rate: Rate) -> [String] {
      RedisLimitStore(client, name, rate, algorithm: .tokenBucket).problems
    }
    #expect(problems("api", .perMinute(600)).isEmpty)
    #expect(problems("api", .perSecond(1_000_000_000)).isEmpty)
    #expect(problems("a b", .perMinute(600)).first?.contains("a limit named \"a b\"") == true)
    #expect(
      problems("api", .per(.seconds(86_400), 999_999_937)).first?.contains("too large to be counted exactly") == true)
  }

  @Test func theShareOfAProcessIsRoundedDownAndAtLeastOne() {
    #expect(Rate.perMinute(100, burst: 50).share(of: 3) == .perMinute(33, burst: 16))
    #expect(Rate.perMinute(1).share(of: 10) == .perMinute(1))
  }
}
