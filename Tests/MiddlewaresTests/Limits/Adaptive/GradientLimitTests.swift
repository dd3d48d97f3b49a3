import Pipeline
import PipelineTesting
import Testing

@testable import Middlewares

/// The controller against a modelled upstream: `servers` exchanges at once take `service` each; more share the servers.
@Suite struct GradientLimitTests {
  private static let millisecond: UInt64 = 1_000_000

  private struct World {
    var options = AdaptiveConcurrencyOptions()
    var limit: GradientLimit
    var random = SeededRandom(seed: 7)
    var now: UInt64 = 1_000_000_000
    var servers = 50.0
    /// Nanoseconds of work in one exchange.
    var service = 10_000_000.0
    /// How many would like to run at once.
    var offered = 400
    var refused = 0
    var served = 0
    private var running: [(start: UInt64, left: Double)] = []

    init(_ edit: (inout AdaptiveConcurrencyOptions) -> Void = { _ in }) {
      edit(&options)
      limit = GradientLimit(options, now: now)
    }

    /// Runs for so long, in steps of a tenth of a millisecond, and returns the limits that it saw outside of measurements.
    @discardableResult mutating func run(_ duration: Duration) -> [Int] {
      let end = now + UInt64(duration.nanosecondsClamped)
      let step = 100_000.0
      var seen: [Int] = []
      while now < end {
        now += UInt64(step)
        // Everybody gets the same share of the servers.
        let share = step * min(1, servers / Double(max(running.count, 1)))
        for index in running.indices { running[index].left -= share }
        for done in running where done.left <= 0 {
          limit.record(now - done.start, start: done.start, now: now, random: random.next(), options)
          served += 1
        }
        running.removeAll { $0.left <= 0 }
        while running.count < offered {
          limit.noteArrival(running: running.count + 1, now: now)
          guard running.count < limit.allowed(options) else {
            refused += 1
            break
          }
          // No two exchanges are the same.
          let work = service * Double.random(in: 0.8...1.2, using: &random)
          running.append((now, work))
        }
        if !limit.isMeasuring { seen.append(limit.allowed(options)) }
      }
      return seen
    }
  }

  private func average(_ limits: [Int]) -> Double { Double(limits.reduce(0, +)) / Double(max(limits.count, 1)) }

  @Test(arguments: [10.0, 50, 200])
  func itSettlesNearTheKnee(servers: Double) {
    var world = World()
    world.servers = servers
    world.run(.seconds(10))
    let limits = world.run(.seconds(10))
    let mean = average(limits)
    #expect(mean >= servers && mean <= servers * 1.8, "\(mean) for a knee of \(servers)")
    let lowest = limits.min() ?? 0
    #expect(Double(lowest) >= servers * 0.8)
  }

  @Test func itServesNearlyAllThatTheUpstreamCan() {
    var world = World()
    world.run(.seconds(5))
    world.served = 0
    world.run(.seconds(20))
    // 50 servers, 10 ms: 5,000 a second.
    #expect(world.served >= 95_000, "\(world.served)")
  }

  @Test func itFallsWhenTheLatencyDoublesAndRecovers() {
    var world = World { $0.remeasureEvery = .seconds(3600) }
    world.run(.seconds(10))
    let before = average(world.run(.seconds(2)))
    world.service *= 2
    world.run(.seconds(3))
    let slow = average(world.run(.seconds(2)))
    #expect(slow < before / 2, "\(before), then \(slow)")
    world.service /= 2
    world.run(.seconds(3))
    let after = average(world.run(.seconds(2)))
    #expect(after >= before * 0.8, "\(before), \(slow), \(after)")
  }

  /// A latency that stays is the new normal: the next measurement finds that out.
  @Test func aNewBaselineIsMeasured() throws {
    var world = World { $0.remeasureEvery = .seconds(10) }
    world.run(.seconds(8))
    let old = try #require(world.limit.baseline)
    world.service *= 2
    world.run(.seconds(20))
    let new = try #require(world.limit.baseline)
    #expect(Double(new) / Double(old) > 1.7 && Double(new) / Double(old) < 2.3)
    #expect(average(world.run(.seconds(2))) >= 50)
  }

  @Test func anUpstreamThatLosesHalfOfItsServersIsSpared() {
    var world = World { $0.remeasureEvery = .seconds(3600) }
    world.run(.seconds(10))
    world.servers = 25
    world.run(.seconds(5))
    let limit = average(world.run(.seconds(5)))
    #expect(limit >= 25 && limit <= 45, "\(limit)")
  }

  @Test func aLimitThatNobodyUsesDoesNotGrow() {
    var world = World()
    world.offered = 5
    world.run(.seconds(20))
    #expect(world.limit.allowed(world.options) == world.options.initialLimit)
    #expect(world.refused == 0 || world.limit.baseline != nil)
  }

  @Test func itStaysWithinItsBounds() {
    var world = World {
      $0.minLimit = 5
      $0.initialLimit = 5
      $0.maxLimit = 30
      $0.remeasureEvery = .seconds(3600)
    }
    world.run(.seconds(10))
    #expect(world.run(.seconds(1)).allSatisfy { $0 == 30 })
    world.service *= 20
    let limits = world.run(.seconds(60))
    #expect(limits.allSatisfy { $0 >= 5 })
  }

  /// So slow, and so lastingly, that even the lowest limit does not help: the baseline is doubted before its time.
  @Test func aFloorThatDoesNotHelpIsDoubted() throws {
    var world = World { $0.remeasureEvery = .seconds(86_400) }
    world.run(.seconds(5))
    let old = try #require(world.limit.baseline)
    world.service *= 5
    world.run(.seconds(60))
    #expect(try #require(world.limit.baseline) > 4 * old)
  }

  @Test func measurementsAreJittered() {
    var times: Set<UInt64> = []
    for seed in 1...20 {
      var world = World { $0.remeasureEvery = .seconds(2) }
      world.random = SeededRandom(seed: UInt64(seed))
      world.run(.seconds(1))
      while !world.limit.isMeasuring { world.run(.milliseconds(1)) }
      let time = world.now - 1_000_000_000
      #expect(time >= 2_000 * Self.millisecond && time <= 2_700 * Self.millisecond)
      times.insert(time)
    }
    #expect(times.count > 10)
  }

  @Test func exchangesFromBeforeAMeasurementAreNoSamplesOfIt() {
    var options = AdaptiveConcurrencyOptions()
    options.remeasureSamples = 2
    var limit = GradientLimit(options, now: 1_000)
    limit.record(500, start: 900, now: 1_500, random: 0, options)
    limit.record(500, start: 900, now: 1_500, random: 0, options)
    #expect(limit.isMeasuring)
    limit.record(70, start: 1_500, now: 1_600, random: 0, options)
    limit.record(70, start: 1_500, now: 1_600, random: 0, options)
    #expect(limit.baseline == 70)
  }
}
