import Testing

@testable import Transports

@Suite struct ServerLifecycleTests {
  typealias Event = ServerLifecycle.Event
  typealias Action = ServerLifecycle.Action

  private func run(_ events: Event...) -> [Action] {
    var lifecycle = ServerLifecycle()
    return events.map { lifecycle.handle($0) }
  }

  @Test func stopDrainsAndTheLastConnectionEndsIt() {
    #expect(run(.stop, .empty, .operatorsGone, .empty) == [.drain, .closeOperators, .finish, .nothing])
  }

  @Test func anEmptyServerThatServesGoesOn() {
    #expect(run(.empty, .graceIsOver, .stop) == [.nothing, .nothing, .drain])
  }

  @Test func aSecondStopCuts() {
    #expect(
      run(.stop, .stop, .stop, .empty, .operatorsGone) == [.drain, .cut, .nothing, .closeOperators, .finish])
  }

  @Test func theEndOfTheGraceCuts() {
    #expect(run(.stop, .graceIsOver, .graceIsOver, .empty) == [.drain, .cut, .nothing, .closeOperators])
  }

  @Test func cancellationCutsAtOnce() {
    #expect(run(.cancelled, .cancelled, .empty) == [.cut, .nothing, .closeOperators])
    #expect(run(.stop, .cancelled, .empty) == [.drain, .cut, .closeOperators])
  }

  @Test func afterTheEndNothingHappens() {
    #expect(
      run(.stop, .empty, .stop, .stop, .cancelled, .graceIsOver, .patienceIsOver)
        == [.drain, .closeOperators, .finish, .nothing, .nothing, .nothing, .nothing])
  }

  @Test func operatorsComeAndGoWithoutConsequence() {
    #expect(run(.operatorsGone, .stop, .operatorsGone, .stop, .operatorsGone).filter { $0 == .finish } == [])
  }

  @Test func operatorsGetAMomentForTheirLastAnswers() {
    #expect(run(.stop, .empty, .graceIsOver, .patienceIsOver) == [.drain, .closeOperators, .nothing, .finish])
  }
}
