import Pipeline
import PipelineTesting
import Synchronization
import Testing

struct SupervisorTests {
  private func placement(_ element: Ticker, and other: Ticker? = nil) throws -> Placement {
    let other = other ?? element
    return try Service(
      Listener(.tcp, on: ":1") {
        element.named("a"); other.named("b")
      } to: {
        Served()
      }, shards: 1
    )
    .placement
  }

  @Test func aStateThatSeveralListenersShareRunsOnce() async throws {
    let services = ManualServices()
    let supervisor = Supervisor(services)
    let ticker = Ticker()
    supervisor.supervise([try placement(ticker), try placement(ticker), try placement(ticker)])
    await services.clock.sleepers(1)
    #expect(ticker.counts.starts == 1)
    services.clock.advance(by: .seconds(60))
    await services.clock.sleepers(1)
    #expect(ticker.counts.ticks == 1)
    await supervisor.stop()
    #expect(ticker.counts.ends == 1)
    #expect(services.log.lines.isEmpty)
  }

  @Test func aTaskThatThrowsIsLoggedAndStartedAgainAfterAGrowingWait() async throws {
    let services = ManualServices()
    let supervisor = Supervisor(services)
    let ticker = Ticker(failures: 2)
    supervisor.supervise([try placement(ticker)])
    await services.clock.sleepers(1)
    #expect(ticker.counts.starts == 1)
    #expect(services.log.lines.count == 1)
    #expect(services.log.lines[0].level == .error)
    #expect(
      services.log.text[0].hasPrefix("ticker \"a\": its background task failed: Broken(); it is started again in "))
    services.clock.advance(by: .milliseconds(100))
    await services.clock.sleepers(1)
    #expect(ticker.counts.starts == 2)
    services.clock.advance(by: .milliseconds(99))
    #expect(ticker.counts.starts == 2)
    services.clock.advance(by: .milliseconds(101))
    await services.clock.sleepers(1)
    #expect(ticker.counts.starts == 3)
    #expect(services.log.lines.count == 2)
    await supervisor.stop()
  }

  @Test func aReloadEndsWhatIsGoneAndLeavesTheRest() async throws {
    let services = ManualServices()
    let supervisor = Supervisor(services)
    let stays = Ticker()
    let goes = Ticker()
    let comes = Ticker()
    supervisor.supervise([try placement(stays, and: goes)])
    await services.clock.sleepers(2)
    supervisor.supervise([try placement(stays, and: comes)])
    await services.clock.sleepers(2)
    await comes.counts.started()
    await supervisor.stop()
    #expect(stays.counts.starts == 1)
    #expect(goes.counts.starts == 1)
    #expect(goes.counts.ends == 1)
    #expect(comes.counts.starts == 1)
    #expect(comes.counts.ends == 1)
  }

  @Test func nothingStartsAfterTheStop() async throws {
    let services = ManualServices()
    let supervisor = Supervisor(services)
    await supervisor.stop()
    let ticker = Ticker()
    supervisor.supervise([try placement(ticker)])
    #expect(ticker.counts.starts == 0)
  }
}

private struct Ticker: Middleware {
  final class Counts: Sendable {
    private let state = Mutex((starts: 0, ticks: 0, ends: 0, failures: 0))
    private let hasStarted = AsyncStream<Void>.makeStream()
    init(failures: Int) { state.withLock { $0.failures = failures } }

    var starts: Int { state.withLock { $0.starts } }
    var ticks: Int { state.withLock { $0.ticks } }
    var ends: Int { state.withLock { $0.ends } }

    func start() throws {
      let fails = state.withLock { state in
        state.starts += 1
        return state.starts <= state.failures
      }
      hasStarted.continuation.finish()
      if fails { throw Broken() }
    }

    func tick() { state.withLock { $0.ticks += 1 } }
    func end() { state.withLock { $0.ends += 1 } }
    func started() async { for await _ in hasStarted.stream {} }
  }

  let counts: Counts
  init(failures: Int = 0) { counts = Counts(failures: failures) }

  var state: AnyObject? { counts }
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }

  func run(_ services: any BackgroundServices) async throws {
    try counts.start()
    defer { counts.end() }
    while true {
      try await services.sleep(for: .seconds(60))
      counts.tick()
    }
  }
}
