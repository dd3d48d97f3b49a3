import PipelineTesting
import Testing

@testable import Middlewares

/// The arithmetic of a bandwidth limit, on a clock that the test moves.
@Suite struct ByteLaneTests {
  private static let millisecond: UInt64 = 1_000_000
  private static let start: UInt64 = 5_000_000_000

  /// A connection that moves what it is given, as fast as its own rate allows.
  private struct Flow {
    var share = ByteShare()
    var moved = 0
    var total = 0
    var granted = 0
    var asksAt = ByteLaneTests.start
    /// Bytes a step; `nil`: whatever is granted.
    var pace: Int?
    var renewsAt = UInt64.max

    /// One step of a relay: moves, and asks again when nothing is left.
    mutating func step(_ lane: inout ByteLane, _ now: UInt64) -> Int {
      if granted == 0, now < asksAt { return 0 }
      if granted > 0, now >= renewsAt { tick(&lane, now) }
      if granted == 0 {
        switch lane.settle(&share, moved: moved, wants: true, now: now) {
        case .bytes(let count):
          granted = count
          renewsAt = now + ByteLane.term
        case .rest(let until): asksAt = until
        case .onDemand: Issue.record("a flow that wants bytes is told to ask")
        }
        moved = 0
      }
      let count = min(granted, pace ?? granted)
      granted -= count
      moved += count
      total += count
      return count
    }

    /// What a relay does when `renewBy` of its lease has passed.
    mutating func tick(_ lane: inout ByteLane, _ now: UInt64) {
      if case .bytes(let count) = lane.settle(&share, moved: moved, wants: false, now: now) {
        granted = count
      } else {
        granted = 0
        asksAt = now
      }
      moved = 0
      renewsAt = now + ByteLane.term
    }
  }

  @Test func aFullBucketLendsItsBurstAndThenItsRate() {
    let plan = BytePlan(.bytesPerSecond(1_000_000, burst: 200_000))
    var lane = ByteLane(plan, now: Self.start)
    var flow = Flow()
    var atOnce = 0
    while true {
      let count = flow.step(&lane, Self.start)
      if count == 0 { break }
      atOnce += count
    }
    #expect(atOnce > 200_000 - plan.largest && atOnce <= 200_000)
    for tick in 1...10_000 { _ = flow.step(&lane, Self.start + UInt64(tick) * Self.millisecond) }
    // Ten seconds.
    #expect(flow.total <= 200_000 + 10_000_000)
    #expect(flow.total >= 10_000_000)
  }

  /// Every window of every schedule, against the definition.
  @Test(arguments: 1...40)
  func neverMoreThanTheBurstAndTheRateInAnyWindow(seed: Int) {
    var random = SeededRandom(seed: UInt64(seed))
    let rate = [1_000, 7_919, 1_000_000, 10_000_000, 3_000_000_000][seed % 5]
    let plan = BytePlan(.bytesPerSecond(rate, burst: max(4_096, rate / [3, 10, 50][seed % 3])))
    var lane = ByteLane(plan, now: Self.start)
    var flows = (0..<Int.random(in: 1...12, using: &random)).map { _ in
      Flow(pace: Bool.random(using: &random) ? nil : Int.random(in: 1...max(2, rate / 100), using: &random))
    }
    var now = Self.start
    var moves: [(at: UInt64, bytes: Int)] = []
    for _ in 0..<3_000 {
      now += UInt64.random(in: 0...(Bool.random(using: &random) ? 2_000 : 20_000_000), using: &random)
      let index = Int.random(in: 0..<flows.count, using: &random)
      switch Int.random(in: 0..<40, using: &random) {
      case 0:
        // It ends, and another one begins.
        lane.leave(&flows[index].share, moved: flows[index].moved, now: now)
        flows[index] = Flow(asksAt: now, pace: flows[index].pace)
      case 1:
        flows[index].tick(&lane, now)
      default:
        let count = flows[index].step(&lane, now)
        if count > 0 { moves.append((now, count)) }
      }
    }
    // Moved within [from, to] <= burst + rate * (to - from), for all pairs: a running maximum of the excess finds the worst.
    var moved = 0.0
    var worst = 0.0
    var lowest = Double.infinity
    for move in moves {
      let earned = Double(rate) * Double(move.at - Self.start) / 1e9
      lowest = min(lowest, moved - earned)
      moved += Double(move.bytes)
      worst = max(worst, moved - earned - lowest)
    }
    #expect(worst <= Double(plan.burst) + 1, "\(plan.burst) allowed")
    #expect(moves.count > 10)
  }

  @Test(arguments: [2, 3, 10, 200])
  func connectionsShareEvenly(count: Int) {
    var lane = ByteLane(BytePlan(.bytesPerSecond(10_000_000)), now: Self.start)
    var flows = (0..<count).map { _ in Flow() }
    for tick in 0..<10_000 {
      for index in flows.indices { _ = flows[index].step(&lane, Self.start + UInt64(tick) * Self.millisecond) }
    }
    let sum = flows.reduce(0) { $0 + $1.total }
    #expect(sum >= 97_000_000 && sum <= 101_000_000)
    let fair = sum / count
    // Of many, the first ones share out the burst.
    let allowed = count > 100 ? fair / 5 : fair / 10
    for flow in flows { #expect(abs(flow.total - fair) <= allowed, "\(flow.total) of \(fair)") }
  }

  /// Few wake-ups, but no lease of more than one splice where others wait.
  @Test(
    arguments: [
      (1, 10_000_000, 500_000), (2, 10_000_000, 500_000), (20, 10_000_000, 50_000), (4, 100_000_000, 1 << 20),
      (2, 100_000_000, 2 << 20),
    ])
  func leasesOfThoseWhoShareAreAsLargeAsARoundAllows(count: Int, rate: Int, size: Int) {
    var lane = ByteLane(BytePlan(.bytesPerSecond(rate)), now: Self.start)
    var flows = (0..<count).map { _ in Flow() }
    var leases: [Int] = []
    for tick in 0..<4_000 {
      for index in flows.indices {
        let moved = flows[index].step(&lane, Self.start + UInt64(tick) * Self.millisecond)
        // By then they know each other.
        if tick >= 2_000, moved > 0 { leases.append(moved) }
      }
    }
    leases.sort()
    let median = leases[leases.count / 2]
    #expect(median <= size && median >= size * 9 / 10, "\(median)")
  }

  @Test func whoComesLaterGetsItsShareAtOnce() {
    var lane = ByteLane(BytePlan(.bytesPerSecond(10_000_000)), now: Self.start)
    var first = Flow()
    for tick in 0..<5_000 { _ = first.step(&lane, Self.start + UInt64(tick) * Self.millisecond) }
    var second = Flow(asksAt: Self.start)
    let before = first.total
    for tick in 5_000..<7_000 {
      _ = first.step(&lane, Self.start + UInt64(tick) * Self.millisecond)
      _ = second.step(&lane, Self.start + UInt64(tick) * Self.millisecond)
    }
    #expect(abs(first.total - before - second.total) <= 2_000_000, "\(first.total - before) and \(second.total)")
  }

  @Test func slowConnectionsDoNotStarveAFastOne() {
    var lane = ByteLane(BytePlan(.bytesPerSecond(10_000_000)), now: Self.start)
    // A kilobyte a second each.
    var slow = (0..<500).map { _ in Flow(pace: 1) }
    var fast = Flow()
    // They get to know each other.
    for tick in 0..<5_000 {
      let now = Self.start + UInt64(tick) * Self.millisecond
      for index in slow.indices { _ = slow[index].step(&lane, now) }
      _ = fast.step(&lane, now)
    }
    let before = (slow: slow.reduce(0) { $0 + $1.total }, fast: fast.total)
    for tick in 5_000..<15_000 {
      let now = Self.start + UInt64(tick) * Self.millisecond
      for index in slow.indices { _ = slow[index].step(&lane, now) }
      _ = fast.step(&lane, now)
    }
    let trickled = slow.reduce(0) { $0 + $1.total } - before.slow
    #expect(trickled >= 4_500_000, "\(trickled)")
    #expect(fast.total - before.fast + trickled >= 95_000_000, "\(fast.total - before.fast)")
  }

  @Test func whatIsNotUsedComesBack() {
    let plan = BytePlan(.bytesPerSecond(1_000_000))
    var lane = ByteLane(plan, now: Self.start)
    var share = ByteShare()
    guard case .bytes(let lent) = lane.settle(&share, moved: 0, wants: true, now: Self.start) else {
      Issue.record("nothing lent by a full bucket")
      return
    }
    #expect(lane.credit == plan.burst - lent)
    let answer1 = lane.settle(&share, moved: 100, wants: false, now: Self.start)
    #expect(answer1 == .bytes(lent - 100))
    let later = Self.start + ByteLane.term
    let answer2 = lane.settle(&share, moved: 0, wants: false, now: later)
    #expect(answer2 == .onDemand)
    #expect(lane.outstanding == 0)
    let isWhole = lane.isWhole(later + Self.millisecond)
    #expect(isWhole)
  }

  @Test func anExchangeThatEndsLeavesNothingBehind() {
    let plan = BytePlan(.bytesPerSecond(100_000))
    var lane = ByteLane(plan, now: Self.start)
    var flows = (0..<20).map { _ in Flow() }
    for index in flows.indices { _ = flows[index].step(&lane, Self.start) }
    #expect(lane.waiting > 0)
    for index in flows.indices { lane.leave(&flows[index].share, moved: flows[index].moved, now: Self.start) }
    #expect(lane.outstanding == 0 && lane.waiting == 0)
    #expect(lane.credit == plan.burst - flows.reduce(0) { $0 + $1.total })
  }

  @Test func whatMovesWithoutALeaseIsPaidBack() {
    let plan = BytePlan(.bytesPerSecond(1_000_000))
    var lane = ByteLane(plan, now: Self.start)
    var share = ByteShare()
    let answer3 = lane.settle(&share, moved: plan.burst + 50_000, wants: false, now: Self.start)
    #expect(answer3 == .onDemand)
    #expect(lane.credit == -50_000)
    guard case .rest(let until) = lane.settle(&share, moved: 0, wants: true, now: Self.start) else {
      Issue.record("lent out of an empty bucket")
      return
    }
    // The debt and the lease, at a microsecond a byte.
    #expect(until >= Self.start + UInt64(50_000 + plan.smallest) * 1_000)
    let answer4 = lane.settle(&share, moved: 0, wants: true, now: until - 1_000)
    #expect(answer4 != .bytes(plan.smallest))
    let answer5 = lane.settle(&share, moved: 0, wants: true, now: until)
    #expect(answer5 == .bytes(plan.smallest))
  }

  @Test func anotherRateKeepsTheShareThatWasUsed() {
    var lane = ByteLane(BytePlan(.bytesPerSecond(1_000_000, burst: 100_000)), now: Self.start)
    var share = ByteShare()
    _ = lane.settle(&share, moved: 75_000, wants: false, now: Self.start)
    #expect(lane.credit == 25_000)
    lane.change(to: BytePlan(.bytesPerSecond(5_000_000, burst: 1_000_000)), now: Self.start)
    #expect(lane.credit == 250_000)
    lane.change(to: BytePlan(.bytesPerSecond(1_000_000, burst: 10_000)), now: Self.start)
    #expect(lane.credit == 2_500)
    lane.change(to: BytePlan(.bytesPerSecond(1_000_000, burst: 10_000)), now: Self.start)
    #expect(lane.credit == 2_500)
  }

  @Test func aTurnThatIsTooLargeForANewRateIsAskedForAgain() {
    var lane = ByteLane(BytePlan(.bytesPerSecond(100_000_000)), now: Self.start)
    var flow = Flow()
    while lane.waiting == 0 { _ = flow.step(&lane, Self.start) }
    let small = BytePlan(.bytesPerSecond(10_000, burst: 4_096))
    #expect(flow.share.reserved > small.burst)
    lane.change(to: small, now: Self.start)
    let before = flow.total
    flow.asksAt = Self.start
    for tick in 1...10_000 { _ = flow.step(&lane, Self.start + UInt64(tick) * Self.millisecond) }
    #expect(flow.total - before > 90_000 && flow.total - before <= 104_096)
  }

  @Test func aClockThatLagsBringsNothing() {
    var lane = ByteLane(BytePlan(.bytesPerSecond(1_000_000)), now: Self.start)
    var share = ByteShare()
    _ = lane.settle(&share, moved: 100_000, wants: false, now: Self.start)
    _ = lane.settle(&share, moved: 0, wants: false, now: Self.start - 1_000_000)
    #expect(lane.credit == 0)
    _ = lane.settle(&share, moved: 0, wants: false, now: Self.start + 1_000)
    #expect(lane.credit == 1)
  }

  @Test func hugeNumbersDoNotOverflow() {
    let plan = BytePlan(.bytesPerSecond(1_000_000_000_000, burst: 1_000_000_000_000))
    var lane = ByteLane(plan, now: 0)
    var share = ByteShare()
    _ = lane.settle(&share, moved: 900_000_000_000, wants: false, now: 1)
    _ = lane.settle(&share, moved: 0, wants: true, now: .max / 2)
    #expect(lane.credit + lane.outstanding == plan.burst)
  }
}
