import Pipeline
import PipelineTesting
import Testing

@Suite struct SharedRunTests {
  private struct Failure: Error {}

  @Test func oneRunsAndTheNextTakesOverWhenItIsCancelled() async throws {
    let shared = SharedRun()
    let clock = ManualClock()
    let running = (0..<3).map { _ in Task { try await shared.run { try await clock.sleep(until: .distantFuture) } } }
    for task in running {
      await clock.sleepers(1)
      #expect(clock.sleeperCount == 1)
      // Whoever runs ends with its own cancellation; who waits does, too.
      task.cancel()
      await #expect(throws: CancellationError.self) { try await task.value }
    }
  }

  @Test func whatTheBodyThrowsIsThrownToWhoRanIt() async throws {
    let shared = SharedRun()
    await #expect(throws: Failure.self) { try await shared.run { throw Failure() } }
    var ran = false
    try await shared.run { ran = true }
    #expect(ran)
  }
}
