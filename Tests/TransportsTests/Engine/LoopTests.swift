import CShim
import Glibc
import Pipeline
import Testing

@testable import Transports

@Suite struct LoopTests {
  @Test func noWakeUpBetweenTwoLoopsIsLost() async throws {
    let engine = try Engine(EngineOptions(loops: 2, counters: EngineCounters()))
    let (first, second) = (engine.loops[0], engine.loops[1])
    // Each step finds the other loop asleep or about to fall asleep: one lost wake-up and this never ends.
    let sum = await Task(executorPreference: first) {
      var sum = 0
      for step in 0..<20_000 { sum += await second.run { _ in step } }
      return sum
    }.value
    #expect(sum == 20_000 * 19_999 / 2)
    try await onThread { engine.stop() }
  }

  @Test func everyMessageOfManyThreadsArrivesOnTheLoop() async throws {
    let engine = try Engine(EngineOptions(loops: 1, counters: EngineCounters()))
    let loop = engine.loops[0]
    let arrived = EngineCounters.Gauge()
    let elsewhere = EngineCounters.Gauge()
    try await withThrowingTaskGroup { group in
      for _ in 0..<4 {
        group.addTask {
          try await onThread {
            for _ in 0..<5_000 {
              loop.post { loop in
                if loop.isCurrent { arrived.add(1) } else { elsewhere.add(1) }
              }
            }
          }
        }
      }
      try await group.waitForAll()
    }
    // Behind everything that was posted before.
    await loop.run { _ in }
    #expect(arrived.value == 20_000)
    #expect(elsewhere.value == 0)
    try await onThread { engine.stop() }
  }

  @Test func aTaskReturnsToItsLoopAfterAForeignWait() async throws {
    let engine = try Engine(EngineOptions(loops: 1, counters: EngineCounters()))
    let loop = engine.loops[0]
    let isAtHome = try await Task(executorPreference: loop) {
      let before = loop.isCurrent
      try await onThread {}
      return before && loop.isCurrent
    }.value
    #expect(isAtHome)
    try await onThread { engine.stop() }
  }

  @Test func timersFireInOrderAndNeverEarly() async throws {
    final class Probe: TimerTarget, @unchecked Sendable {
      // Sound as Sendable: used on the loop alone.
      let due: Instant
      let fired: @Sendable (Instant) -> Void
      init(due: Instant, fired: @escaping @Sendable (Instant) -> Void) {
        self.due = due
        self.fired = fired
      }
      func timerFired() { fired(due) }
    }
    let engine = try Engine(EngineOptions(loops: 1, counters: EngineCounters()))
    let loop = engine.loops[0]
    let mailbox = Mailbox<(due: Instant, at: Instant)>()
    let probes = await loop.run { loop in
      [30, 1, 7, 2, 15].map { milliseconds in
        let due = Loop.preciseNow + .milliseconds(milliseconds)
        let probe = Probe(due: due) { mailbox.put(($0, Loop.preciseNow)) }
        _ = loop.arm(at: due, probe)
        return probe
      }
    }
    var last = Instant(nanoseconds: 0)
    for _ in probes {
      let fired = try #require(await mailbox.next())
      #expect(fired.at >= fired.due)
      #expect(fired.due >= last)
      last = fired.due
    }
    #expect(engine.counters.timers.value == 0)
    try await onThread { engine.stop() }
  }

  @Test func aStoppedEngineLeavesNoDescriptorBehind() async {
    // In a process of its own, where nobody else opens descriptors.
    await #expect(processExitsWith: .success) {
      let before = openDescriptors()
      for _ in 0..<3 {
        let origin = try BlockingOrigin()
        let fixture = try await EngineFixture.tunnel(to: origin.address, engine: EngineOptions(loops: 2))
        let proxy = fixture.address
        async let served: Void = onThread {
          // A client that resets at once may be gone before its upstream connection is made.
          var number = 0
          while let peer = try? origin.accept() {
            number += 1
            _ = try? peer.receive(upTo: 10)
            if number % 2 == 0 { peer.reset() } else { peer.close() }
          }
        }
        try await onThread {
          for number in 0..<20 {
            let client = try BlockingPeer.connect(proxy)
            try client.send([1, 2, 3])
            if number % 3 == 0 { client.reset() } else { _ = try? client.receiveToEnd() }
          }
        }
        for _ in 0..<20 { _ = await fixture.ended.next() }
        origin.stop()
        try await served
        await fixture.stop()
        let counters = fixture.counters
        if counters.sockets.value != 0 { fatalError("sockets: \(counters.sockets.value)") }
        if counters.connections.value != 0 { fatalError("connections: \(counters.connections.value)") }
        if counters.timers.value != 0 { fatalError("timers: \(counters.timers.value)") }
        if counters.pipesInFlight.value != 0 { fatalError("pipes: \(counters.pipesInFlight.value)") }
        if counters.spilledBytes.value != 0 { fatalError("spilled: \(counters.spilledBytes.value)") }
      }
      // The thread that stopped the last engine lets go of it a moment after it has said that it is done.
      let patience = Loop.preciseNow + .seconds(10)
      // Fewer than before are no leak: the runtime around the test closes some of its own.
      while openDescriptors() > before {
        if Loop.preciseNow > patience { fatalError("descriptors before: \(before), after: \(openDescriptors())") }
        await Task.yield()
      }
    }
  }
}

/// How many sockets, pipes and pollers this process has open. The timers of the system's libraries are not counted: they
/// are made when they are first needed.
func openDescriptors() -> Int {
  (0..<Int32(1024)).count { fd in
    var target = [UInt8](repeating: 0, count: 64)
    let length = target.withUnsafeMutableBytes { buffer in
      readlink("/proc/self/fd/\(fd)", buffer.baseAddress!.assumingMemoryBound(to: CChar.self), buffer.count)
    }
    let name = String(decoding: target[..<max(length, 0)], as: UTF8.self)
    return ["socket:", "pipe:", "anon_inode:[event"].contains { name.hasPrefix($0) }
  }
}
