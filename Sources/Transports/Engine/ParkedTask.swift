internal import Pipeline

/// A task on a loop that waits for one thing at a time: a connection's, or one without a client (`LoopTask`).
///
/// What the dialer, the resolver and the pools need of it.
protocol ParkedTask: StreamWaker, Sendable {
  var loop: Loop { get }

  /// Starts work elsewhere, which calls `workEnded` with the ticket on this loop, and waits for it; `start` returns false
  /// when there is nothing to wait for.
  func awaitWork(_ start: (_ ticket: UInt64) throws -> Bool) async throws

  /// Work elsewhere has ended. To be called on the loop; a ticket of an earlier wait wakes nobody.
  func workEnded(_ ticket: UInt64)

  /// Waits until one of the sockets that are being connected has news. False when `limit` passed first.
  func awaitSockets(until limit: Instant) async throws -> Bool
}

extension ParkedTask {
  /// Waits for a signal that has not fired yet.
  func awaitSignal(_ signal: Signal) async throws {
    let waiter = SignalWait(self)
    do {
      try await awaitWork { ticket in
        waiter.ticket = ticket
        return signal.add(waiter)
      }
    } catch {
      signal.remove(waiter)
      throw error
    }
  }

  /// Runs `work` on the pool and waits for its result. A wait that ends early leaves it running and drops the result.
  func awaitOffloaded<Result: Sendable>(
    _ work: @escaping @Sendable () throws -> Result, on pool: OffloadPool
  ) async throws -> Result {
    let item = OffloadedCall(work, for: self)
    try await awaitWork { ticket in
      item.ticket = ticket
      guard pool.submit(item) else {
        throw Rejection(.overloaded, detail: "the queue of the offload pool is full (\(pool.queueLimit))")
      }
      return true
    }
    return try item.result()
  }
}

/// One wait for a signal that fires on any thread.
final class SignalWait: SignalWaiter, LoopMessage, @unchecked Sendable {
  // Sound as Sendable: `ticket` is written before the signal knows the waiter.
  private let task: any ParkedTask
  var ticket: UInt64 = 0

  init(_ task: any ParkedTask) { self.task = task }

  func signalled() { task.loop.post(self) }

  func received(on loop: Loop) { task.workEnded(ticket) }
}

/// One call on the offload pool, which comes back to its task's loop.
final class OffloadedCall<Result: Sendable>: OffloadWork, LoopMessage, @unchecked Sendable {
  // Sound as Sendable: `outcome` is written by the pool's thread and read by the loop after `post`, which orders the two.
  private let work: @Sendable () throws -> Result
  private let task: any ParkedTask
  private var outcome: Swift.Result<Result, any Error>?
  var ticket: UInt64 = 0

  init(_ work: @escaping @Sendable () throws -> Result, for task: any ParkedTask) {
    self.work = work
    self.task = task
  }

  func perform() {
    outcome = Swift.Result { try work() }
    task.loop.post(self)
  }

  func received(on loop: Loop) { task.workEnded(ticket) }

  func result() throws -> Result {
    // Set before the message that woke the task was posted.
    try outcome!.get()
  }
}
