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
    #expect(run(.stop, .empty, .empty) == [.drain, .finish, .nothing])
  }

  @Test func anEmptyServerThatServesGoesOn() {
    #expect(run(.empty, .graceIsOver, .stop) == [.nothing, .nothing, .drain])
  }

  @Test func aSecondStopCuts() { #expect(run(.stop, .stop, .stop, .empty) == [.drain, .cut, .nothing, .finish]) }

  @Test func theEndOfTheGraceCuts() {
    #expect(run(.stop, .graceIsOver, .graceIsOver, .empty) == [.drain, .cut, .nothing, .finish])
  }

  @Test func cancellationCutsAtOnce() {
    #expect(run(.cancelled, .cancelled, .empty) == [.cut, .nothing, .finish])
    #expect(run(.stop, .cancelled, .empty) == [.drain, .cut, .finish])
  }

  @Test func afterTheEndNothingHappens() {
    #expect(run(.stop, .empty, .stop, .cancelled, .graceIsOver) == [.drain, .finish, .nothing, .nothing, .nothing])
  }
}
