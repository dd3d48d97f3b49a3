import Glibc
import Pipeline
import Testing

@testable import Transports

@Suite struct StallTests {
  private let start = Instant(nanoseconds: 1_000_000_000)

  @Test func aTurnIsReportedOnceWhenItIsTooLong() {
    var detector = StallDetector()
    #expect(detector.look(turnStart: nil, now: start) == nil)
    #expect(detector.look(turnStart: start, now: start + .milliseconds(50)) == nil)
    let report = detector.look(turnStart: start, now: start + .milliseconds(60))
    #expect(report == StallDetector.Report(lasted: .milliseconds(60), unreported: 0))
    #expect(detector.look(turnStart: start, now: start + .milliseconds(80)) == nil)
  }

  @Test func reportsAreRareAndCountWhatTheyLeaveOut() {
    var detector = StallDetector()
    #expect(detector.look(turnStart: start, now: start + .milliseconds(60)) != nil)
    for second in 1...3 {
      let turn = start + .seconds(second)
      #expect(detector.look(turnStart: turn, now: turn + .milliseconds(60)) == nil)
    }
    let turn = start + .seconds(20)
    let report = detector.look(turnStart: turn, now: turn + .milliseconds(70))
    #expect(report == StallDetector.Report(lasted: .milliseconds(70), unreported: 3))
  }

  @Test func aTurnThatWasReportedWhileItLastedIsNotReportedWhenItHasEnded() {
    let gauge = StallGauge()
    var detector = StallDetector()
    gauge.turnBegan(start)
    gauge.setLabel(.named("slow"))
    #expect(detector.look(turnStart: gauge.turnStart, now: start + .milliseconds(60)) != nil)
    gauge.turnEnded(start + .milliseconds(90))
    let turns = gauge.takeLongTurns()
    #expect(turns.map(\.name) == ["slow"])
    for turn in turns { #expect(detector.look(turnStart: turn.began, now: turn.ended) == nil) }
    #expect(detector.stalls == 1)
    #expect(gauge.takeLongTurns().isEmpty)
  }

  @Test func aTurnThatNobodySawIsReportedWhenItHasEnded() {
    let gauge = StallGauge()
    var detector = StallDetector()
    gauge.turnBegan(start)
    gauge.turnEnded(start + .milliseconds(50))
    #expect(gauge.takeLongTurns().isEmpty)
    #expect(gauge.turnStart == nil)
    gauge.turnBegan(start + .seconds(1))
    gauge.setLabel(.named("slow"))
    gauge.turnEnded(start + .milliseconds(1051))
    for turn in gauge.takeLongTurns() {
      let report = detector.look(turnStart: turn.began, now: turn.ended)
      #expect(report == StallDetector.Report(lasted: .milliseconds(51), unreported: 0))
    }
    #expect(detector.stalls == 1)
  }

  @Test func anIdleProcessIsLookedAtRarely() {
    var pace = WatchdogPace()
    for _ in 0..<9 {
      pace.looked(someoneIsBusy: false)
      #expect(pace.interval == .milliseconds(20))
    }
    for _ in 0..<100 { pace.looked(someoneIsBusy: false) }
    #expect(pace.interval == .milliseconds(250))
    pace.looked(someoneIsBusy: true)
    #expect(pace.interval == .milliseconds(20))
  }

  @Test func aTaskThatBlocksItsLoopIsNamed() async throws {
    var line: LogLine?
    // On a machine that is short of processors something innocent may be reported first, and reports are rare: then the
    // next engine is tried. Either way there is one report to wait for.
    for _ in 0..<5 where line?.text.hasSuffix(" ms by listener test") != true {
      line = try await reportOfABlockedTask()
    }
    #expect(line?.level == .warning)
    #expect(line?.text.hasPrefix("loop 0 is stalled for ") == true)
    #expect(line?.text.hasSuffix(" ms by listener test") == true)
  }

  @Test func aMiddlewareThatBlocksItsLoopIsNamed() async throws {
    var line: LogLine?
    for _ in 0..<5 where line?.text.hasSuffix(" ms by blocking of stalled") != true {
      line = try await reportOfABlockingMiddleware()
    }
    #expect(line?.level == .warning)
    #expect(line?.text.hasSuffix(" ms by blocking of stalled") == true)
  }

  /// Does what no middleware may.
  private struct Blocking: Middleware {
    let gate: Gate
    func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
      gate.wait()
      return try await next()
    }
  }

  /// The first report of a server whose chain blocks its loop until that report has come.
  private func reportOfABlockingMiddleware() async throws -> LogLine? {
    let gate = Gate()
    var report: LogLine?
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.tcp, on: "127.0.0.1:0", name: "stalled") {
        Passing()
        Blocking(gate: gate)
      } to: {
        Upstream("127.0.0.1:9")
      }
    } body: { server in
      let client = try BlockingPeer.connect(server.address())
      report = await server.nextLine { $0.hasPrefix("loop 0 is stalled") }
      gate.open()
      client.reset()
    }
    return report
  }

  private struct Passing: Middleware {
    func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }
  }

  /// The first report of an engine whose only connection blocks its loop until that report has come.
  private func reportOfABlockedTask() async throws -> LogLine? {
    let gate = Gate()
    let fixture = try await EngineFixture { connection in
      if try await connection.client.readByte(connection) != nil { gate.wait() }
    }
    let client = try BlockingPeer.connect(fixture.address)
    try client.send([1])
    let line = await fixture.nextLine { $0.hasPrefix("loop 0 is stalled") }
    gate.open()
    client.reset()
    _ = await fixture.ended.next()
    await fixture.stop()
    return line
  }
}

@Suite struct OffloadPoolTests {
  private final class Work: OffloadWork {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    func perform() { body() }
  }

  @Test func threadsAndQueueAreBounded() async throws {
    let pool = OffloadPool(threads: 2, queueLimit: 3)
    let gate = Gate()
    let started = Mailbox<pthread_t>()
    let done = EngineCounters.Gauge()
    let work = {
      Work {
        started.put(pthread_self())
        gate.wait()
        done.add(1)
      }
    }
    for _ in 0..<2 {
      #expect(pool.submit(work()))
      _ = await started.next()
    }
    for _ in 0..<3 { #expect(pool.submit(work())) }
    #expect(!pool.submit(work()))
    gate.open()
    // What is queued is finished before the pool ends.
    try await onThread { pool.shutDown() }
    #expect(done.value == 5)
    #expect(!pool.submit(work()))
  }
}
