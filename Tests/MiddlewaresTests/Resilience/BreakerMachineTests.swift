import Pipeline
import Testing

@testable import Middlewares

/// The states of a circuit breaker, without a chain.
@Suite struct BreakerMachineTests {
  private let start = Instant(nanoseconds: 0)
  private func at(_ seconds: Double) -> Instant { start + .seconds(seconds) }
  private func machine(probes: Int = 2) -> Machine {
    Machine(
      BreakerMachine(rest: .seconds(5), longestRest: .seconds(15), probes: probes, now: start))
  }

  /// One that has just become half open, with its first probe under way.
  private func halfOpen(probes: Int) -> Machine {
    let machine = machine(probes: probes)
    #expect(machine.trip(epoch: 0, now: at(0)) == .opened(rest: .seconds(5)))
    #expect(machine.enter(now: at(5)) == Machine.Step(.probe(batch: 0), .halfOpened))
    return machine
  }

  @Test func openNothingPassesUntilTheRestIsOver() {
    let machine = machine()
    #expect(machine.enter(now: at(1)) == Machine.Step(.passes, nil))
    #expect(machine.trip(epoch: 0, now: at(1)) == .opened(rest: .seconds(5)))
    #expect(machine.phase == .open(until: at(6)))
    #expect(machine.enter(now: at(4)) == Machine.Step(.refused(retryAfter: .seconds(2)), nil))
    #expect(machine.enter(now: at(6)) == Machine.Step(.probe(batch: 0), .halfOpened))
  }

  @Test func asManyProbesAreLetThroughAsHaveToSucceed() {
    let machine = halfOpen(probes: 3)
    #expect(machine.enter(now: at(5)).admission == .probe(batch: 0))
    #expect(machine.enter(now: at(5)).admission == .probe(batch: 0))
    #expect(machine.enter(now: at(5)).admission == .refused(retryAfter: .seconds(5)))
    for _ in 0..<2 { #expect(machine.probeEnded(.success, epoch: 1, batch: 0, now: at(6)) == nil) }
    // Two have passed and one runs: there is no place for a fourth.
    #expect(machine.enter(now: at(6)).admission == .refused(retryAfter: .seconds(5)))
    #expect(machine.probeEnded(.success, epoch: 1, batch: 0, now: at(6)) == .closed)
    #expect(machine.phase == .closed && machine.since == at(6))
  }

  @Test func oneProbeThatFailsOpensItForTwiceAsLong() {
    let machine = halfOpen(probes: 2)
    #expect(machine.probeEnded(.failure, epoch: 1, batch: 0, now: at(6)) == .opened(rest: .seconds(10)))
    #expect(machine.enter(now: at(16)) == Machine.Step(.probe(batch: 0), .halfOpened))
    #expect(machine.probeEnded(.failure, epoch: 2, batch: 0, now: at(16)) == .opened(rest: .seconds(15)))
    #expect(machine.enter(now: at(31)) == Machine.Step(.probe(batch: 0), .halfOpened))
    #expect(machine.probeEnded(.failure, epoch: 3, batch: 0, now: at(31)) == .opened(rest: .seconds(15)))
  }

  @Test func onceItWasClosedTheRestBeginsAnew() {
    let machine = halfOpen(probes: 1)
    #expect(machine.probeEnded(.failure, epoch: 1, batch: 0, now: at(5)) == .opened(rest: .seconds(10)))
    #expect(machine.enter(now: at(15)).admission == .probe(batch: 0))
    #expect(machine.probeEnded(.success, epoch: 2, batch: 0, now: at(15)) == .closed)
    #expect(machine.trip(epoch: machine.epoch, now: at(16)) == .opened(rest: .seconds(5)))
  }

  @Test func aProbeThatSaysNothingGivesItsPlaceBack() {
    let machine = halfOpen(probes: 1)
    #expect(machine.enter(now: at(5)).admission == .refused(retryAfter: .seconds(5)))
    #expect(machine.probeEnded(.nothing, epoch: 1, batch: 0, now: at(5)) == nil)
    #expect(machine.enter(now: at(5)).admission == .probe(batch: 0))
  }

  @Test func aProbeThatDoesNotComeBackLosesItsPlace() {
    let machine = halfOpen(probes: 1)
    #expect(machine.enter(now: at(9.9)).admission == .refused(retryAfter: .seconds(5)))
    #expect(machine.enter(now: at(10)).admission == .probe(batch: 1))
    // The lost one comes back and says nothing: the place belongs to the other.
    #expect(machine.probeEnded(.nothing, epoch: 1, batch: 0, now: at(11)) == nil)
    #expect(machine.enter(now: at(11)).admission == .refused(retryAfter: .seconds(5)))
    #expect(machine.probeEnded(.success, epoch: 1, batch: 1, now: at(12)) == .closed)
  }

  @Test func whatBeganBeforeAnOpeningSaysNothingAfterIt() {
    let machine = halfOpen(probes: 1)
    #expect(machine.trip(epoch: 0, now: at(5)) == nil)
    #expect(machine.probeEnded(.success, epoch: 0, batch: 0, now: at(5)) == nil)
    #expect(machine.probeEnded(.success, epoch: 1, batch: 0, now: at(5)) == .closed)
    #expect(machine.trip(epoch: 1, now: at(5)) == nil)
    #expect(machine.probeEnded(.failure, epoch: 1, batch: 0, now: at(5)) == nil)
    #expect(machine.phase == .closed)
  }
}

/// A machine that an expectation may move.
private final class Machine {
  struct Step: Equatable {
    let admission: BreakerMachine.Admission
    let change: BreakerMachine.Change?

    init(_ admission: BreakerMachine.Admission, _ change: BreakerMachine.Change?) {
      self.admission = admission
      self.change = change
    }
  }

  private var machine: BreakerMachine
  init(_ machine: BreakerMachine) { self.machine = machine }

  var phase: BreakerMachine.Phase { machine.phase }
  var since: Instant { machine.since }
  var epoch: UInt64 { machine.epoch }

  func enter(now: Instant) -> Step {
    let (admission, change) = machine.enter(now: now)
    return Step(admission, change)
  }

  func trip(epoch: UInt64, now: Instant) -> BreakerMachine.Change? { machine.trip(epoch: epoch, now: now) }

  func probeEnded(
    _ verdict: BreakerMachine.Verdict, epoch: UInt64, batch: UInt64, now: Instant
  ) -> BreakerMachine.Change? {
    machine.probeEnded(verdict, epoch: epoch, batch: batch, now: now)
  }
}
