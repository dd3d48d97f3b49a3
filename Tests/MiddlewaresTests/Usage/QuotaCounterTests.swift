import Pipeline
import PipelineTesting
import Testing

@testable import Middlewares

@Suite struct QuotaCounterTests {
  private let book = CalendarBook(.utc)
  private let start = UnixTime(seconds: 1_773_136_800)

  private func at(_ milliseconds: Int64) -> UnixTime {
    UnixTime(wholeNanoseconds: start.wholeNanoseconds + milliseconds * 1_000_000)
  }

  @Test func aCalendarWindowFreesAllAtOnce() {
    var counter = QuotaCounter(.hour, at: start, book)
    counter.consume(5)
    counter.move(to: at(3_599_999), .hour, book)
    #expect(counter.used == 5)
    #expect(counter.wait(for: 1, limit: 5, at: at(3_599_000), .hour) == .seconds(1))
    let isFree = counter.move(to: at(3_600_000), .hour, book)
    #expect(isFree)
    #expect(counter.used == 0)
  }

  @Test func nobodyGetsAWindowTwiceWhereTheClockIsSetBack() {
    var counter = QuotaCounter(.hour, at: at(3_600_000), book)
    counter.consume(5)
    counter.move(to: at(3_590_000), .hour, book)
    #expect(counter.used == 5)
    counter.move(to: at(3_700_000), .hour, book)
    #expect(counter.used == 5)
    // A clock that was a day ahead was wrong.
    counter.move(to: at(-86_400_000), .hour, book)
    #expect(counter.used == 0)
    var rolling = QuotaCounter(.rolling(.seconds(32)), at: at(3_600_000), book)
    rolling.consume(5)
    rolling.move(to: at(3_590_000), .rolling(.seconds(32)), book)
    #expect(rolling.used == 5)
  }

  @Test func aRollingWindowFreesInPartsAndSaysWhen() {
    let window = QuotaWindow.rolling(.seconds(32))
    var counter = QuotaCounter(window, at: start, book)
    for second in 0..<10 {
      counter.move(to: at(Int64(second) * 1000), window, book)
      counter.consume(1)
    }
    #expect(counter.used == 10)
    // The first part leaves after 33 seconds.
    #expect(counter.wait(for: 1, limit: 10, at: at(9_000), window) == .seconds(24))
    #expect(counter.wait(for: 3, limit: 10, at: at(9_000), window) == .seconds(26))
    counter.move(to: at(32_999), window, book)
    #expect(counter.used == 10)
    counter.move(to: at(33_000), window, book)
    #expect(counter.used == 9)
    counter.move(to: at(42_000), window, book)
    #expect(counter.used == 0)
    #expect(counter.wait(for: 1, limit: 0, at: at(42_000), window) == nil)
  }

  /// Random requests at random times: no stretch of the window's length ever has more than the limit, and a request that was
  /// told to wait so long, and did, gets in.
  @Test func aRollingWindowNeverHasMoreThanItsLimit() {
    for seed in 1...20 as ClosedRange<UInt64> {
      var random = SeededRandom(seed: seed)
      let length = Int64(1000 + random.next() % 100_000)
      let window = QuotaWindow.rolling(.milliseconds(length))
      let limit = Int(1 + random.next() % 40)
      var now: Int64 = 0
      var counter = QuotaCounter(window, at: at(now), book)
      var admitted: [Int64] = []
      for _ in 0..<2000 {
        now += Int64(random.next() % UInt64(length / 8))
        counter.move(to: at(now), window, book)
        if counter.used + 1 > limit {
          guard random.next() % 3 == 0, let wait = counter.wait(for: 1, limit: limit, at: at(now), window) else {
            continue
          }
          now += wait.nanosecondsClamped / 1_000_000 + 1
          counter.move(to: at(now), window, book)
          #expect(counter.used + 1 <= limit, "told to wait \(wait)")
        }
        counter.consume(1)
        admitted.append(now)
        #expect(admitted.count { $0 > now - length } <= limit)
      }
      #expect(admitted.count > limit)
    }
  }

  @Test func aRefundGoesBackToTheTimeInWhichItWasTaken() {
    let window = QuotaWindow.rolling(.seconds(32))
    var counter = QuotaCounter(window, at: start, book)
    counter.consume(2)
    let old = counter.stamp
    counter.move(to: at(5_000), window, book)
    counter.consume(1)
    counter.giveBack(1, from: old)
    #expect(counter.used == 2)
    counter.move(to: at(40_000), window, book)
    counter.giveBack(1, from: old)
    #expect(counter.used == 0)
    var hour = QuotaCounter(.hour, at: start, book)
    hour.consume(1)
    let stamp = hour.stamp
    hour.move(to: at(3_600_000), .hour, book)
    hour.consume(1)
    hour.giveBack(1, from: stamp)
    #expect(hour.used == 1)
  }

  @Test func whatIsLentCountsUntilItIsSettled() {
    var counter = QuotaCounter(.forever, at: start, book)
    counter.lend(100)
    #expect(counter.used == 100)
    counter.settle(used: 30, unused: 20)
    #expect(counter.used == 80)
    #expect(counter.consumed == 30)
    counter.settle(used: 50, unused: 0)
    #expect(counter.lent == 0)
    #expect(counter.used == 80)
  }

  /// Restart after restart: what was collected and is restored adds up to what was used.
  @Test(arguments: [QuotaWindow.forever, .day, .rolling(.seconds(320))])
  func aCounterGoesOnFromWhatTheLedgerKnows(_ window: QuotaWindow) {
    let account = UsageAccount.identity(Principal("ada"))
    var ledger: [UnixTime: LedgerCounter] = [:]
    var random = SeededRandom(seed: 5)
    var now: Int64 = 0
    var counter = QuotaCounter(window, at: start, book)
    for _ in 0..<400 {
      now += Int64(random.next() % 3000)
      counter.move(to: at(now), window, book)
      counter.consume(Int(random.next() % 5))
      if random.next() % 9 == 0 { counter.reset() }
      if random.next() % 4 == 0 {
        var batch: [LedgerCounter] = []
        counter.collect("q", account, window, into: &batch)
        for row in batch {
          var sum = ledger[row.start] ?? row
          sum.used = (ledger[row.start]?.used ?? 0) + row.used
          ledger[row.start] = sum
        }
        let used = counter.used
        counter = QuotaCounter(window, at: at(now), book)
        for row in ledger.values { _ = counter.restore(row, window) }
        #expect(counter.used == used)
        batch = []
        counter.collect("q", account, window, into: &batch)
        #expect(batch == [])
      }
    }
  }
}
