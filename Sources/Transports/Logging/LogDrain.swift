internal import Glibc
internal import Pipeline
internal import Synchronization

/// The thread of a log writer.
///
/// While lines come it wakes every flush interval and nobody has to wake it; only when a whole interval brought nothing does
/// it go to sleep, and the next line wakes it. So a busy log costs the loops no system call.
final class LogDrain: Sendable {
  private static let flushInterval = Duration.milliseconds(20)

  private struct Orders {
    var stopBy: Instant?
    var reopen = false
    var isFinished = false
    var wroteAll = false
    var lastError: String?
    var roundsDone = 0
    var roundsWanted = 0
    var thread: pthread_t?
  }

  private let buffers: LogBuffers
  private let notice: LogWriter.Options.Notice
  /// Only the thread takes it, and keeps it while it writes.
  private let output: Mutex<LogOutput>
  private let condition = Condition()
  private let orders = Mutex(Orders())
  private let isAsleep = Atomic<Bool>(false)

  init(_ buffers: LogBuffers, _ output: consuming LogOutput, _ notice: LogWriter.Options.Notice) {
    self.buffers = buffers
    self.notice = notice
    self.output = Mutex(output)
  }

  func start() {
    // Every signal is blocked there, SIGPIPE too: a pipe without a reader is an error like any other.
    let thread = startThread(named: "sluice-log") { [self] in run() }
    orders.withLock { $0.thread = thread }
  }

  var lastError: String? { orders.withLock { $0.lastError } }

  // MARK: - From the loops

  /// There is a line.
  func wake() {
    if isAsleep.load(ordering: .sequentiallyConsistent) { hurry() }
  }

  /// Do not wait for the end of the interval.
  func hurry() {
    condition.lock()
    isAsleep.store(false, ordering: .sequentiallyConsistent)
    condition.wakeAll()
    condition.unlock()
  }

  func reopen() {
    orders.withLock { $0.reopen = true }
    hurry()
  }

  func stop(within limit: Duration) -> Bool {
    let deadline = Loop.preciseNow + limit
    buffers.close()
    let thread = orders.withLock { orders in
      orders.stopBy = min(orders.stopBy ?? .distantFuture, deadline)
      defer { orders.thread = nil }
      return orders.thread
    }
    hurry()
    condition.lock()
    while !orders.withLock({ $0.isFinished }), Loop.preciseNow < deadline {
      condition.wait(for: deadline - Loop.preciseNow)
    }
    condition.unlock()
    let (isFinished, wroteAll) = orders.withLock { ($0.isFinished, $0.wroteAll) }
    // A thread that still hangs in a write ends with the process.
    if let thread { if isFinished { pthread_join(thread, nil) } else { pthread_detach(thread) } }
    return isFinished && wroteAll
  }

  /// Waits until a round that began after this call has ended. False when the thread has ended.
  func awaitRound() -> Bool {
    let wanted = orders.withLock { orders in
      orders.roundsWanted = orders.roundsDone + 2
      return orders.roundsWanted
    }
    hurry()
    condition.lock()
    defer { condition.unlock() }
    while orders.withLock({ $0.roundsDone < wanted && !$0.isFinished }) { condition.wait() }
    return !orders.withLock { $0.isFinished }
  }

  // MARK: - On its thread

  private func run() {
    var spare: [UInt8] = []
    var reported = 0
    while true {
      // Read before the buffers are emptied: a stop closes them first, so that this round is then the last.
      let isLast = orders.withLock { $0.stopBy != nil }
      let isReopening = orders.withLock { take(&$0.reopen) }
      var wroteAll = true
      let found = output.withLock { output in
        report(&reported, &output)
        let found = buffers.takeAll(&spare) { wroteAll = write($0, &output) && wroteAll }
        if isLast {
          report(&reported, &output)
          // Lines were lost, and not even that could be said.
          if buffers.dropped > reported { wroteAll = false }
        }
        if isReopening, let error = output.reopen() { fail(error) }
        return found
      }
      if isLast {
        orders.withLock { orders in
          orders.isFinished = true
          orders.wroteAll = wroteAll
        }
        hurry()
        return
      }
      orders.withLock { $0.roundsDone += 1 }
      hurry()
      pause(foundNothing: !found)
    }
  }

  private func pause(foundNothing: Bool) {
    if foundNothing {
      isAsleep.store(true, ordering: .sequentiallyConsistent)
      // A line that came before the store is found now, one that comes later wakes.
      if buffers.hasLines { isAsleep.store(false, ordering: .sequentiallyConsistent) }
    }
    condition.lock()
    if foundNothing {
      while isAsleep.load(ordering: .sequentiallyConsistent), !hasOrders { condition.wait() }
    } else if !hasOrders {
      condition.wait(for: Self.flushInterval)
    }
    condition.unlock()
  }

  private var hasOrders: Bool { orders.withLock { $0.reopen || $0.stopBy != nil || $0.roundsDone < $0.roundsWanted } }

  private func take(_ flag: inout Bool) -> Bool {
    defer { flag = false }
    return flag
  }

  private func fail(_ error: SystemError) { orders.withLock { $0.lastError = "\(error)" } }

  /// A line about the lines that were dropped since the last one.
  private func report(_ reported: inout Int, _ output: inout LogOutput) {
    let dropped = buffers.dropped
    guard dropped > reported else { return }
    let count = dropped - reported
    let text = notice == .json ? "{\"dropped\":\(count)}\n" : "\(count) lines dropped\n"
    if put(Array(text.utf8), &output) == .all { reported = dropped }
  }

  /// False when lines were lost.
  private func write(_ bytes: borrowing [UInt8], _ output: inout LogOutput) -> Bool {
    switch put(bytes, &output) {
    case .all: return true
    case .failed(let written, _), .gaveUp(let written):
      var lines = 0
      for i in written..<bytes.count where bytes[i] == UInt8(ascii: "\n") { lines += 1 }
      buffers.drop(lines)
      return false
    }
  }

  private func put(_ bytes: borrowing [UInt8], _ output: inout LogOutput) -> LogOutput.Written {
    let giveUp = { [self] in orders.withLock { $0.stopBy.map { $0 <= Loop.preciseNow } ?? false } }
    // The rest of a line that was cut by an error must not become the beginning of this one.
    if !output.isAtLineStart, output.write([UInt8(ascii: "\n")], giveUp: giveUp) != .all { return .gaveUp(after: 0) }
    let written = output.write(bytes, giveUp: giveUp)
    if case .failed(_, let code) = written { fail(SystemError("write", code)) }
    return written
  }
}
