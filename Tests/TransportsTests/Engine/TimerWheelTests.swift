import Testing

@testable import Transports

@Suite struct TimerWheelTests {
  @Test func aTimerFiresAtItsTickAndNotBefore() {
    let wheel = TimerWheel<Int>(startingAt: 1000)
    for tick: UInt64 in [1001, 1063, 1064, 1100, 5000, 300_000, 1 << 31, 1 << 37] {
      _ = wheel.arm(at: tick, Int(tick))
      #expect(wheel.popDue(upTo: tick - 1) == nil)
      #expect(wheel.popDue(upTo: tick) == Int(tick))
      #expect(wheel.count == 0)
    }
  }

  @Test func aTimerOfThePastFiresAtTheNextTurn() {
    let wheel = TimerWheel<Int>(startingAt: 1000)
    _ = wheel.arm(at: 3, 7)
    #expect(wheel.nextTick == 1000)
    #expect(wheel.popDue(upTo: 1000) == 7)
    #expect(wheel.popDue(upTo: 1000) == nil)
  }

  @Test func nobodyWakesToMoveOneOfFewTimersDown() {
    let wheel = TimerWheel<Int>(startingAt: 1000)
    for tick: UInt64 in [300_000, 70_000, 70_001] { _ = wheel.arm(at: tick, Int(tick)) }
    #expect(wheel.nextTick == 70_000)
    // Many are not looked through: it may be earlier, and then moves them.
    for tick: UInt64 in 70_002...70_100 { _ = wheel.arm(at: tick, Int(tick)) }
    #expect(wheel.nextTick ?? .max <= 70_000)
    #expect(wheel.popDue(upTo: 69_999) == nil)
    #expect(wheel.nextTick == 70_000)
    #expect(wheel.popDue(upTo: 70_000) == 70_000)
  }

  @Test func aHandleOfAFiredTimerCancelsNobodyElse() {
    let wheel = TimerWheel<Int>(startingAt: 0)
    let old = wheel.arm(at: 1, 1)
    #expect(wheel.popDue(upTo: 1) == 1)
    let new = wheel.arm(at: 5, 2)
    #expect(!wheel.cancel(old))
    #expect(wheel.isArmed(new))
    #expect(wheel.cancel(new))
    #expect(!wheel.cancel(new))
    #expect(wheel.popDue(upTo: 100) == nil)
  }

  @Test func aTimerMayBeCancelledWhileItIsDue() {
    let wheel = TimerWheel<Int>(startingAt: 0)
    let handles = [wheel.arm(at: 5, 1), wheel.arm(at: 5, 2)]
    let first = wheel.popDue(upTo: 5)
    let other = first == 1 ? 1 : 0
    #expect(wheel.cancel(handles[other]))
    #expect(wheel.popDue(upTo: 5) == nil)
  }

  /// Random arming, cancelling and turning, against a list that is searched.
  @Test(arguments: [1 as UInt64, 2, 3, 4, 5, 6, 7, 8])
  func theWheelAgreesWithANaiveModel(seed: UInt64) {
    var random = FastRandom(state: (seed, 9, 9, 9))
    var now = UInt64.random(in: 0...(1 << 40), using: &random)
    let wheel = TimerWheel<Int>(startingAt: now)
    var model: [(id: Int, tick: UInt64, handle: TimerHandle)] = []
    var nextID = 0
    for _ in 0..<20_000 {
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<5:
        let reach = UInt64(1) << UInt64.random(in: 0...38, using: &random)
        let tick = now + UInt64.random(in: 0...reach, using: &random)
        model.append((nextID, tick, wheel.arm(at: tick, nextID)))
        nextID += 1
      case 5..<7 where !model.isEmpty:
        let index = Int.random(in: 0..<model.count, using: &random)
        #expect(wheel.cancel(model.remove(at: index).handle))
      default:
        let earliest = model.map(\.tick).min()
        // What the wheel would sleep until is never after the first timer.
        if let earliest { #expect((wheel.nextTick ?? .max) <= max(earliest, now)) }
        #expect((wheel.nextTick == nil) == model.isEmpty)
        let step = UInt64(1) << UInt64.random(in: 0...36, using: &random)
        now += UInt64.random(in: 0...step, using: &random)
        var fired: [Int] = []
        while let id = wheel.popDue(upTo: now) { fired.append(id) }
        let due = model.filter { $0.tick <= now }.map(\.id)
        #expect(fired.sorted() == due.sorted())
        model.removeAll { $0.tick <= now }
      }
      #expect(wheel.count == model.count)
    }
  }
}
