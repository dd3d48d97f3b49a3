internal import CShim
internal import Glibc
internal import Synchronization

/// SIGTERM, SIGINT and, where asked for, SIGHUP, turned into calls on a loop.
///
/// A handler may do next to nothing, so it writes a byte into a pipe, and a loop watches the other end. One at a time
/// in a process: signals are the process's. They are taken from the start: one that arrives before the loop watches waits in
/// the pipe.
final class TerminationSignals: ReadinessTarget, @unchecked Sendable {
  // Sound as Sendable: what changes is used on the loop's thread alone, the rest is set before the watch begins.

  private let signals: [Int32]
  private let readEnd: Int32
  private let writeEnd: Int32
  private let received: @Sendable () -> Void
  private let hungUp: (@Sendable () -> Void)?
  private var before: [sigaction] = []

  /// - Parameters:
  ///   - hungUp: called on the loop, once per batch of SIGHUP; `nil`: that signal is not taken.
  ///   - received: called on the loop, once per batch of the other two.
  /// - Throws: `SystemError` when the process has no descriptors left.
  init(hungUp: (@Sendable () -> Void)? = nil, _ received: @escaping @Sendable () -> Void) throws {
    self.received = received
    self.hungUp = hungUp
    signals = [SIGTERM, SIGINT] + (hungUp == nil ? [] : [SIGHUP])
    var ends: [Int32] = [-1, -1]
    guard shim_pipe(&ends) == 0 else { throw SystemError("pipe", errno) }
    readEnd = ends[0]
    writeEnd = ends[1]
    take()
  }

  deinit {
    // Given back already, unless no loop ever watched.
    giveBack()
    close(readEnd)
    close(writeEnd)
  }

  /// Hears of the signals. On the loop.
  func start(on loop: Loop) { _ = loop.watch(readEnd, .connection, self) }

  /// Gives the signals back to whoever had them. On the loop.
  func stop(on loop: Loop) {
    giveBack()
    loop.unwatch(readEnd)
  }

  private func take() {
    let taken = signalPipe.compareExchange(expected: -1, desired: writeEnd, ordering: .sequentiallyConsistent).exchanged
    precondition(taken, "one server of a process can take its signals")
    for signal in signals {
      var action = sigaction()
      var old = sigaction()
      action.__sigaction_handler.sa_handler = writeIntoSignalPipe
      action.sa_flags = SA_RESTART
      sigaction(signal, &action, &old)
      before.append(old)
    }
  }

  private func giveBack() {
    guard !before.isEmpty else { return }
    for (signal, var old) in zip(signals, before) { sigaction(signal, &old, nil) }
    before = []
    signalPipe.store(-1, ordering: .sequentiallyConsistent)
  }

  func becameReady(_ readiness: Readiness) {
    var numbers = [UInt8](repeating: 0, count: 16)
    var (isHungUp, isReceived) = (false, false)
    while case let count = read(readEnd, &numbers, numbers.count), count > 0 {
      for number in numbers[..<count] {
        if Int32(number) == SIGHUP { isHungUp = true } else { isReceived = true }
      }
    }
    if isHungUp { hungUp?() }
    if isReceived { received() }
  }
}

/// Where the handler writes; -1 while nobody takes signals.
private let signalPipe = Atomic<Int32>(-1)

/// Async-signal-safe: an atomic load and write(2), and `errno` left as it was.
private func writeIntoSignalPipe(_ signal: Int32) {
  let saved = errno
  let pipe = signalPipe.load(ordering: .relaxed)
  var byte = UInt8(truncatingIfNeeded: signal)
  if pipe >= 0 { _ = write(pipe, &byte, 1) }
  errno = saved
}

/// A write to a connection that is gone is an error to be read, never a signal that ends the process.
func ignoreBrokenPipes() { signal(SIGPIPE, SIG_IGN) }
