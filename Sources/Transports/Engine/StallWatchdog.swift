internal import Glibc
internal import Pipeline

/// A thread that looks at every loop some times a second and says which one does not get on, and because of what.
///
/// Everything on a loop waits while one piece of its work blocks, so a stall is a bug of that piece (a blocking call
/// that belongs on the offload pool, or a computation without end). The report names it while it lasts.
final class StallWatchdog: @unchecked Sendable {
  // Sound as Sendable: `loops`, `report` and `interval` never change, the detectors are used by the thread alone, and
  // `stopped` stands under the condition's mutex.
  static let interval = Duration.milliseconds(20)

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
    condition.lock()
    while !stopped {
      condition.wait(for: Self.interval)
      let now = Loop.preciseNow
      for (position, loop) in loops.enumerated() {
        let before = detectors[position].stalls
        let stall = detectors[position].look(turnStart: loop.gauge.turnStart, now: now)
        stalls.add(detectors[position].stalls - before, at: 0)
        guard let stall else { continue }
        let milliseconds = stall.lasted.nanosecondsClamped / 1_000_000
        var line = "loop \(loop.index) is stalled for \(milliseconds) ms by \(loop.gauge.currentName)"
        if stall.unreported > 0 { line += " (\(stall.unreported) more stalls since the last report)" }
        report(line)
      }
    }
    condition.unlock()
  }
}
