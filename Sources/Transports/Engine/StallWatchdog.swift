internal import Glibc
internal import Pipeline

/// A thread that looks at every loop some times a second and says which one does not get on, and because of what.
///
/// Everything on a loop waits while one piece of its work blocks, so a stall is a bug of that piece (a blocking call
/// that belongs on the offload pool, or a computation without end). The report names it while it lasts; a stall that was over
/// before the thread looked is noted by the loop itself.
final class StallWatchdog: @unchecked Sendable {
  // Sound as Sendable: `loops` and `report` never change, the detectors are used by the thread alone, and `stopped` stands
  // under the condition's mutex.
  private let loops: [(index: Int, gauge: StallGauge)]
  private let report: @Sendable (String) -> Void
  private let condition = Condition()
  private var stopped = false
  /// Turns of loops that took too long, those that the log leaves out included.
  let stalls = MetricCounters<1>()
  private var thread: pthread_t?

  /// `report` gets one line for the log; it is called on the watchdog's own thread.
  init(_ loops: [Loop], report: @escaping @Sendable (String) -> Void) {
    self.loops = loops.map { ($0.index, $0.stall) }
    self.report = report
  }

  func start() {
    thread = startThread(named: "sluice-watch") { [self] in run() }
  }

  func stop() {
    condition.lock()
    stopped = true
    condition.wakeAll()
    condition.unlock()
    if let thread { pthread_join(thread, nil) }
    thread = nil
  }

  private func run() {
    var detectors = loops.map { _ in StallDetector() }
    var pace = WatchdogPace()
    condition.lock()
    while !stopped {
      condition.wait(for: pace.interval)
      let now = Loop.preciseNow
      var someoneIsBusy = false
      for (position, loop) in loops.enumerated() {
        let before = detectors[position].stalls
        // A turn that was reported while it lasted is not reported again when it has ended.
        for turn in loop.gauge.takeLongTurns() {
          someoneIsBusy = true
          if let stall = detectors[position].look(turnStart: turn.began, now: turn.ended) {
            report(stall, "loop \(loop.index) was stalled", "; last ran \(turn.name)")
          }
        }
        let turnStart = loop.gauge.turnStart
        if turnStart != nil { someoneIsBusy = true }
        if let stall = detectors[position].look(turnStart: turnStart, now: now) {
          report(stall, "loop \(loop.index) is stalled", " by \(loop.gauge.currentName)")
        }
        stalls.add(detectors[position].stalls - before, at: 0)
      }
      pace.looked(someoneIsBusy: someoneIsBusy)
    }
    condition.unlock()
  }

  private func report(_ stall: StallDetector.Report, _ what: String, _ who: String) {
    var line = "\(what) for \(stall.lasted.nanosecondsClamped / 1_000_000) ms\(who)"
    if stall.unreported > 0 { line += " (\(stall.unreported) more stalls since the last report)" }
    report(line)
  }
}

/// How often the watchdog looks: often while there is work, so that a stall is named while it lasts, and rarely in a process that
/// is idle, which it would be the only one to wake.
struct WatchdogPace {
  static let busy = Duration.milliseconds(20)
  static let idle = Duration.milliseconds(250)
  /// Looks in a row that found every loop waiting.
  private static let patience = 10

  private var idleLooks = 0

  mutating func looked(someoneIsBusy: Bool) { idleLooks = someoneIsBusy ? 0 : min(idleLooks + 1, Self.patience) }

  var interval: Duration { idleLooks < Self.patience ? Self.busy : Self.idle }
}
