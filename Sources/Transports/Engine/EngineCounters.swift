internal import Synchronization

/// How many of the engine's scarce things are in use, process-wide: leak tests assert that they return to zero, and the
/// operator's metrics show them.
final class EngineCounters: Sendable {
  /// One counter, written by every loop at the pace of connections, not of messages.
  final class Gauge: Sendable {
    private let count = Atomic<Int>(0)

    var value: Int { count.load(ordering: .relaxed) }

    func add(_ delta: Int) { count.add(delta, ordering: .relaxed) }
  }

  static let shared = EngineCounters()

  /// Open sockets, listeners not counted.
  let sockets = Gauge()
  /// Connections whose task has not ended.
  let connections = Gauge()
  /// Armed timers.
  let timers = Gauge()
  /// Pipes taken by relays (kept ones are not counted).
  let pipesInFlight = Gauge()
  /// Bytes that relays hold for receivers that do not read.
  let spilledBytes = Gauge()
}
