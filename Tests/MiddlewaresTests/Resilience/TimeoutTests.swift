import Middlewares
import Pipeline
import PipelineTesting
import Testing

@Suite struct TimeoutTests {
  @Test func endsAnExchangeThatTakesTooLong() async throws {
    let harness = try ChainHarness(.tcp) { Timeout(.seconds(30)) }
    let run = await harness.start()
    harness.clock.advance(by: .milliseconds(29_999))
    #expect(run.outcome == .waiting)
    harness.clock.advance(by: .milliseconds(1))
    #expect(run.rejection?.kind == .deadlineExceeded)
    #expect(run.rejection?.detail == "after 30.0 seconds")
  }

  @Test func anExchangeThatEndsInTimePasses() async throws {
    let harness = try ChainHarness(.tcp) { Timeout(.seconds(30)) }
    let run = await harness.start()
    harness.clock.advance(by: .seconds(29))
    await run.finish()
    #expect(run.outcome == .served())
  }

  @Test func theNearestOfSeveralEndsIt() async throws {
    let harness = try ChainHarness(.tcp) {
      Timeout(.seconds(5))
      Timeout(.seconds(30))
    }
    let run = await harness.start()
    harness.clock.advance(by: .seconds(5))
    #expect(run.rejection?.detail == "after 5.0 seconds")
  }

  @Test func aLimitThatNeverPassesIsNoted() throws {
    let harness = try ChainHarness(.tcp) {
      Timeout(.seconds(5))
      Timeout(.seconds(30))
    }
    #expect(
      harness.service.placement.problems.notes == [
        "timeout: 30.0 seconds never passes, because the timeout of 5.0 seconds above it passes first"
      ])
  }

  @Test(arguments: [Duration.zero, .seconds(-1)])
  func aLimitOfNothingIsRefused(_ limit: Duration) {
    let found = complaints { _ = try ChainHarness(.tcp) { Timeout(limit) } }
    #expect(found == ["timeout: a limit of \(limit): it must be more than 0 seconds"])
  }
}
