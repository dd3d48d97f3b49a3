import Pipeline
import PipelineTesting
import Synchronization
import Testing

@testable import Middlewares

@Suite struct ConcurrencyLimitTests {
  @Test func oneMoreThanTheLimitIsRefusedWhereNobodyMayWait() async throws {
    let harness = try ChainHarness(.tcp) { ConcurrencyLimit(2) }
    let first = await harness.start()
    let second = await harness.start()
    let third = await harness.start()
    #expect(first.isAtEnd && second.isAtEnd)
    #expect(third.rejection?.kind == .overloaded)
    #expect(third.rejection?.detail == "2 at once and 0 waiting, per global")
    await first.finish()
    #expect(await harness.run() == .served())
    await second.finish()
  }

  @Test func aPermitIsGivenBackHoweverTheExchangeEnds() async throws {
    let harness = try ChainHarness(.tcp) { ConcurrencyLimit(1) }
    let served = await harness.start()
    await served.finish()
    let failed = await harness.start()
    await failed.fail(Rejection(.connectionRefused))
    let broken = await harness.start()
    await broken.fail(CancellationError())
    let gone = await harness.start()
    await gone.cut(.clientGone)
    #expect(gone.outcome == .refused(.clientGone))
    #expect(await harness.run() == .served())
  }

  @Test func permitsGoToThoseWhoWaitInTheOrderOfTheirArrival() async throws {
    let harness = try ChainHarness(.tcp) { ConcurrencyLimit(1, queue: 3, maxWait: .seconds(60)) }
    let running = await harness.start()
    let waiting = [await harness.start(), await harness.start(), await harness.start()]
    #expect(waiting.allSatisfy { $0.outcome == .waiting && $0.calls == 0 })
    #expect(await harness.run() == .refused(.overloaded))
    await running.finish()
    for (index, run) in waiting.enumerated() {
      #expect(waiting.map(\.isAtEnd) == (0..<3).map { $0 == index })
      await run.finish()
    }
    #expect(waiting.allSatisfy { $0.outcome == .served() })
  }

  @Test func theOrderHoldsAcrossLoops() async throws {
    let harness = try ChainHarness(.tcp, shards: 3) { ConcurrencyLimit(1, queue: 3, maxWait: .seconds(60)) }
    let running = await harness.start(on: 0)
    let waiting = [await harness.start(on: 2), await harness.start(on: 0), await harness.start(on: 1)]
    await running.finish()
    for (index, run) in waiting.enumerated() {
      #expect(waiting.map(\.isAtEnd) == (0..<3).map { $0 == index })
      await run.finish()
    }
  }

  @Test func whoWaitsTooLongIsRefused() async throws {
    let harness = try ChainHarness(.tcp) { ConcurrencyLimit(1, queue: 1, maxWait: .seconds(2)) }
    let running = await harness.start()
    let waiting = await harness.start()
    harness.clock.advance(by: .milliseconds(1999))
    #expect(waiting.outcome == .waiting)
    harness.clock.advance(by: .milliseconds(1))
    #expect(waiting.rejection?.kind == .overloaded)
    #expect(waiting.rejection?.detail == "waited 2.0 seconds for one of 1")
    // Its place in the queue is free again.
    let next = await harness.start()
    await running.finish()
    #expect(next.isAtEnd)
    await next.finish()
  }

  @Test func aNearerDeadlineAboveEndsTheWaitAsItsOwn() async throws {
    let harness = try ChainHarness(.tcp) {
      Timeout(.seconds(1))
      ConcurrencyLimit(1, queue: 1, maxWait: .seconds(2))
    }
    let running = await harness.start()
    let waiting = await harness.start()
    harness.clock.advance(by: .seconds(1))
    #expect(waiting.outcome == .refused(.deadlineExceeded))
    #expect(running.outcome == .refused(.deadlineExceeded))
    #expect(await harness.run() == .served())
  }

  @Test func theDeadlineOfTheWaitDoesNotOutliveIt() async throws {
    let harness = try ChainHarness(.tcp) { ConcurrencyLimit(1, queue: 1, maxWait: .seconds(2)) }
    let running = await harness.start()
    let waiting = await harness.start()
    await running.finish()
    harness.clock.advance(by: .seconds(100))
    #expect(waiting.isAtEnd)
    await waiting.perform { #expect($0.deadline == .distantFuture) }
    await waiting.finish()
  }

  @Test func aClientThatGoesAwayLeavesTheQueue() async throws {
    let harness = try ChainHarness(.tcp) { ConcurrencyLimit(1, queue: 2, maxWait: .seconds(60)) }
    let running = await harness.start()
    let gone = await harness.start()
    let patient = await harness.start()
    await gone.cut(.clientGone)
    #expect(gone.outcome == .refused(.clientGone))
    let last = await harness.start()
    #expect(last.outcome == .waiting)
    await running.finish()
    #expect(patient.isAtEnd)
    await patient.finish()
    #expect(last.isAtEnd)
    await last.finish()
    #expect(await harness.run() == .served())
  }

  @Test func everyKeyHasALimitOfItsOwn() async throws {
    let harness = try ChainHarness(.socks5) {
      NamedByClient()
      ConcurrencyLimit(1, per: .identity)
    }
    let ada = await harness.start(MockClient(user: "ada"))
    #expect(await harness.run(MockClient(user: "grace")) == .served())
    #expect(await harness.run(MockClient(user: "ada")) == .refused(.overloaded))
    await ada.finish()
    #expect(await harness.run(MockClient(user: "ada")) == .served())
  }

  @Test func aReloadCountsWhoStillRuns() async throws {
    let old = try ChainHarness(.tcp) { ConcurrencyLimit(2) }
    let draining = [await old.start(), await old.start()]
    let new = try ChainHarness(.tcp, clock: old.clock, replacing: old.service.placement) { ConcurrencyLimit(1) }
    #expect(await new.run() == .refused(.overloaded))
    await draining[0].finish()
    #expect(await new.run() == .refused(.overloaded))
    await draining[1].finish()
    #expect(await new.run() == .served())
  }

  @Test func aReloadThatRaisesTheLimitLetsThoseWhoWaitInFirst() async throws {
    let old = try ChainHarness(.tcp) { ConcurrencyLimit(1, queue: 3, maxWait: .seconds(60)) }
    let running = await old.start()
    let waiting = [await old.start(), await old.start(), await old.start()]
    let new = try ChainHarness(.tcp, clock: old.clock, replacing: old.service.placement) {
      ConcurrencyLimit(3, queue: 3, maxWait: .seconds(60))
    }
    let newcomer = await new.start()
    await waiting[0].settle()
    #expect(waiting.map(\.isAtEnd) == [true, true, false])
    #expect(newcomer.outcome == .waiting && !newcomer.isAtEnd)
    for run in [running, waiting[0], waiting[1]] { await run.finish() }
    await newcomer.settle()
    #expect(waiting[2].isAtEnd && newcomer.isAtEnd)
    await waiting[2].finish()
    await newcomer.finish()
    #expect(await new.run() == .served())
  }

  @Test func aPermitThatIsGrantedWhileItsTakerLeavesIsPassedOn() async {
    // Both orders of the race, over and over: no permit may be lost and none may be doubled.
    let gate = Gate()
    let inside = Counter()
    await withTaskGroup(of: Void.self) { group in
      for worker in 0..<4 {
        group.addTask {
          var random = SeededRandom(seed: UInt64(worker))
          for _ in 0..<5000 {
            switch gate.enter(limit: 1, queue: 8) {
            case .queueFull: continue
            case .enter: break
            case .wait(let waiter):
              while !waiter.signal.hasFired, random.next() % 64 != 0 { await Task.yield() }
              if gate.leave(waiter) { continue }
            }
            let permit = Permit(gate)
            #expect(inside.enter() == 1)
            inside.leave()
            _ = consume permit
          }
        }
      }
    }
    #expect(gate.load == (0, 0))
  }

  @Test func whoLeavesAVeryLongQueueLeavesNothingBehind() {
    let gate = Gate()
    guard case .enter = gate.enter(limit: 1, queue: 10) else { return #expect(Bool(false)) }
    weak var left: PermitWaiter?
    for _ in 0..<10_000 {
      guard case .wait(let waiter) = gate.enter(limit: 1, queue: 10) else { return #expect(Bool(false)) }
      if left == nil { left = waiter }
      #expect(gate.leave(waiter))
    }
    #expect(left == nil)
    #expect(gate.load == (1, 0))
    _ = Permit(gate)
    #expect(gate.load == (0, 0))
  }

  @Test func gatesThatNobodyUsesAreDropped() {
    let gates = Gates()
    let held = (0..<100).map { number in
      let (gate, _) = gates.enter(LimitKey(hashing: number), limit: 1, queue: 0)
      return gate
    }
    for number in 1000..<50_000 {
      let (gate, entry) = gates.enter(LimitKey(hashing: number), limit: 1, queue: 0)
      guard case .enter = entry else { return #expect(Bool(false)) }
      _ = Permit(gate)
    }
    #expect(gates.count < 16 * 64 + 200)
    for number in 0..<100 {
      // The very gate, with the permit that is still held.
      let (gate, entry) = gates.enter(LimitKey(hashing: number), limit: 1, queue: 0)
      guard case .queueFull = entry else { return #expect(Bool(false)) }
      #expect(gate === held[number])
    }
  }

  @Test(arguments: [
    (0, 0, Duration.seconds(1), "concurrency-limit: a limit of 0: 1 to 1,000,000 are allowed"),
    (1, -1, .seconds(1), "concurrency-limit: a queue of -1: 0 to 100,000 are allowed"),
    (1, 1, .zero, "concurrency-limit: a wait of 0.0 seconds: it must be more than 0 seconds"),
  ])
  func numbersOutOfRangeAreRefusedByName(_ limit: Int, _ queue: Int, _ wait: Duration, _ message: String) {
    let found = complaints {
      _ = try ChainHarness(.tcp) { ConcurrencyLimit(limit, queue: queue, maxWait: wait) }
    }
    #expect(found == [message])
  }
}

private final class Counter: Sendable {
  private let count = Atomic<Int>(0)
  func enter() -> Int { count.add(1, ordering: .acquiringAndReleasing).newValue }
  func leave() { count.subtract(1, ordering: .acquiringAndReleasing) }
}
