/// What a task that lives on one loop and serves no client may use: it holds what the exchanges of its loop share, such as
/// the connection to a cache.
///
/// It dials, waits and sleeps as an exchange does. There is no client: `introduce` and `relay` are not offered. Every wait
/// ends early with `CancellationError` when the task is cancelled.
///
/// Whoever holds a stream closes it before the task ends.
open class LoopRuntime: ConnectionRuntime {
  /// Wakes the task, from any thread. Good for as long as somebody holds it; rung too late it does nothing.
  open var bell: any LoopBell { preconditionFailure("\(type(of: self)) does not override bell") }

  /// Waits until `stream` may be read, or written where `writing`, until the bell has rung since the last wait, or until
  /// `limit`. It may return without need: the caller looks what there is to do.
  ///
  /// - Parameter stream: `nil` waits for the bell and the time alone.
  open func wait(for stream: (any ByteStream)?, writing: Bool, until limit: Instant) async throws {
    preconditionFailure("\(type(of: self)) does not override wait(for:writing:until:)")
  }
}

/// Wakes a task that waits on a loop.
public protocol LoopBell: AnyObject, Sendable {
  /// From any thread; never blocks. Costs nothing to speak of on the task's own loop, a message elsewhere.
  func ring()
}
