import Pipeline
import PipelineTesting
import Synchronization
import Testing

@testable import Middlewares

/// How many retries there may be over many exchanges.
@Suite struct RetryBudgetTests {
  private static let second: UInt64 = 1_000_000_000

  // MARK: The purse

  @Test func aShareOfWhatWasSeenMayBeRetried() {
    let purse = Purse(.share(0.2, plus: 0), now: 0)
    for _ in 0..<20 { #expect(purse.take(seen: 100, now: Self.second)) }
    #expect(!purse.take(seen: 100, now: Self.second))
    #expect(!purse.take(seen: 104, now: Self.second))
    #expect(purse.take(seen: 105, now: Self.second))
  }

  @Test func whatWasSpentIsForgottenWithTheWindow() {
    let purse = Purse(.share(0.5, plus: 0), now: 0)
    for _ in 0..<5 { #expect(purse.take(seen: 10, now: 3 * Self.second)) }
    #expect(!purse.take(seen: 10, now: 12 * Self.second))
    for _ in 0..<5 { #expect(purse.take(seen: 10, now: 13 * Self.second)) }
    #expect(!purse.take(seen: 10, now: 13 * Self.second))
  }

  @Test func theReserveFillsWithTimeUpToOneSecondsWorth() {
    let purse = Purse(.share(0, plus: 4), now: 0)
    func taken(_ now: UInt64) -> Int { (0..<100).count { _ in purse.take(seen: 0, now: now) } }
    #expect(taken(0) == 4)
    #expect(taken(Self.second / 2) == 2)
    #expect(taken(Self.second / 2) == 0)
    #expect(taken(60 * Self.second) == 4)
  }

  @Test func theShareIsUsedBeforeTheReserve() {
    let purse = Purse(.share(0.1, plus: 1), now: 0)
    for _ in 0..<2 { #expect(purse.take(seen: 10, now: 0)) }
    #expect(!purse.take(seen: 10, now: 0))
  }

  @Test(arguments: [(0.2, 35), (0.1, 30), (0.3, 10), (0.7, 10)]) func multiplicationCostsNoRetry(
    _ share: Double, _ seen: Int
  ) {
    let purse = Purse(.share(share, plus: 0), now: 0)
    let granted = (0..<100).count { _ in purse.take(seen: seen, now: 0) }
    #expect(granted == Int((share * Double(seen)).rounded()))
  }

  // MARK: The window

  @Test func theWindowForgetsWhatIsOlder() {
    let window = ShardedWindow(.seconds(10))
    for second in 0..<30 { window.add(marked: second % 2 == 0, on: second % 3, now: UInt64(second) * Self.second) }
    #expect(window.counts(now: 29 * Self.second) == ShardedWindow.Counts(all: 10, marked: 5))
    #expect(window.counts(now: 34 * Self.second) == ShardedWindow.Counts(all: 5, marked: 2))
    #expect(window.counts(now: 60 * Self.second) == ShardedWindow.Counts())
  }

  @Test func theWindowTellsEpochsApart() {
    let window = ShardedWindow(.seconds(10))
    for _ in 0..<3 { window.add(on: 0, now: 0, epoch: 1) }
    #expect(window.counts(now: 0, epoch: 1).all == 3)
    #expect(window.counts(now: 0, epoch: 2).all == 0)
    window.add(on: 0, now: 0, epoch: 2)
    #expect(window.counts(now: 0, epoch: 2).all == 1)
  }

  @Test func everyLoopIsSeen() {
    let window = ShardedWindow(.seconds(10))
    for shard in 0..<32 { for _ in 0...shard { window.add(on: shard, now: 5) } }
    #expect(window.counts(now: 5).all == 32 * 33 / 2)
  }

  // MARK: In a chain

  /// Sends so many exchanges in each of some seconds, all of which fail in every attempt, and says how many attempts came.
  private func attempts(
    _ harness: ChainHarness<TCPExchange>, perSecond: Int, seconds: Int
  ) async -> Int {
    let calls = ArrivalCount()
    for _ in 0..<seconds {
      for index in 0..<perSecond {
        await harness.run(on: index % 4) { _ in
          calls.add()
          throw Rejection(.connectionRefused)
        }
      }
      harness.clock.advance(by: .seconds(1))
    }
    return calls.value
  }

  @Test(arguments: [1, 5, 40, 400]) func withEverythingFailingRetriesAddAtMostTheBudget(_ perSecond: Int) async throws {
    let harness = try ChainHarness(.tcp, shards: 4) { Retry(attempts: 3, backoff: .none) }
    let seconds = 15
    let attempts = await attempts(harness, perSecond: perSecond, seconds: seconds)
    let exchanges = perSecond * seconds
    let retries = attempts - exchanges
    #expect(Double(retries) <= 0.2 * Double(exchanges) + 10 * Double(seconds))
    // And what the budget allows is used.
    let wanted = min(Double(2 * exchanges), 0.2 * Double(exchanges) + 10 * Double(seconds - 1))
    #expect(Double(retries) >= wanted * 0.95)
  }

  @Test func withoutABudgetEveryAttemptIsMade() async throws {
    let harness = try ChainHarness(.tcp, shards: 4) { Retry(attempts: 3, backoff: .none, budget: .unlimited) }
    #expect(await attempts(harness, perSecond: 100, seconds: 1) == 300)
  }

  @Test func whatIsNotRetriedForLackOfBudgetEndsWithItsOwnErrorAndIsCounted() async throws {
    let retry = Retry(attempts: 2, backoff: .none, budget: .share(0, plus: 2))
    let harness = try ChainHarness(.tcp) { retry }
    for _ in 0..<5 { await harness.run { _ in throw Rejection(.connectTimeout) } }
    #expect(await harness.run { _ in throw Rejection(.connectTimeout) } == .refused(.connectTimeout))
    #expect(retry.report() == RetryReport(retried: 2, withoutBudget: 4, exhausted: 2))
  }

  @Test func theLogSaysNowAndThenThatTheBudgetIsUsedUp() async throws {
    let harness = try ChainHarness(.tcp) { Retry(attempts: 2, backoff: .none, budget: .share(0, plus: 1)) }
    func fail(_ count: Int) async {
      for _ in 0..<count { await harness.run { _ in throw Rejection(.connectionRefused) } }
    }
    await fail(50)
    harness.clock.advance(by: .seconds(9))
    await fail(2)
    harness.clock.advance(by: .seconds(2))
    await fail(2)
    let lines = harness.log.lines.filter { $0.level == .warning }.map(\.message)
    let begin = "tcp: retry: the budget of 0 % plus 1 per second is used up:"
    #expect(
      lines == [
        "\(begin) 1 not retried since it was last said", "\(begin) 50 not retried since it was last said",
      ])
  }

  @Test func aReloadKeepsTheBudgetThatIsLeft() async throws {
    let clock = ManualClock()
    func harness(_ budget: RetryBudget, replacing old: Placement? = nil) throws -> ChainHarness<TCPExchange> {
      try ChainHarness(.tcp, clock: clock, replacing: old) { Retry(attempts: 2, backoff: .none, budget: budget) }
    }
    func isRetried(_ harness: ChainHarness<TCPExchange>) async -> Bool {
      let calls = ArrivalCount()
      await harness.run { _ in
        calls.add()
        throw Rejection(.connectionRefused)
      }
      return calls.value == 2
    }
    let first = try harness(.share(0, plus: 1))
    #expect(await isRetried(first))
    let second = try harness(.share(0, plus: 1), replacing: first.service.placement)
    #expect(await !isRetried(second))
    let other = try harness(.share(0, plus: 2), replacing: second.service.placement)
    #expect(await isRetried(other))
  }

  @Test func aBudgetThatCannotWorkIsRefusedWithItsNumbers() {
    func found(_ budget: RetryBudget) -> [String] {
      complaints { _ = try ChainHarness(.tcp) { Retry(attempts: 2, budget: budget) } }
    }
    #expect(
      found(.share(0, plus: 0)) == [
        "retry: a budget of 0 % plus 0 per second allows no retry: leave the retry out"
      ])
    #expect(found(.share(11, plus: 1)) == ["retry: a budget of 11.0 retries for each exchange: 0 to 10 are allowed"])
    #expect(found(.share(.nan, plus: 1)) == ["retry: a budget of nan retries for each exchange: 0 to 10 are allowed"])
    #expect(found(.share(0.2, plus: -1)) == ["retry: a budget of -1 retries per second: 0 to 1,000,000 are allowed"])
    #expect(found(.unlimited) == [])
  }
}

/// Counts what a chain's end sees.
final class ArrivalCount: Sendable {
  private let count = Atomic<Int>(0)
  var value: Int { count.load(ordering: .relaxed) }
  func add() { count.add(1, ordering: .relaxed) }
}

/// A purse that an expectation may take from.
private final class Purse {
  private var purse: RetryPurse
  init(_ budget: RetryBudget, now: UInt64) { purse = RetryPurse(budget, now: now) }
  func take(seen: Int, now: UInt64) -> Bool { purse.take(seen: seen, now: now) }
}
