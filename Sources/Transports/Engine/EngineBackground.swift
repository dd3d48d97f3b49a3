internal import Pipeline

/// What the engine offers to background tasks of components: tasks that serve no connection, run on one of the loops
/// (`Task(executorPreference: services.loop)`) and end by their cancellation.
struct EngineBackground: BackgroundServices {
  let engine: Engine
  let loop: Loop

  var now: Instant { Loop.preciseNow }

  func sleep(for duration: Duration) async throws {
    let sleep = BackgroundSleep(until: now + duration)
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        loop.post { loop in sleep.begin(continuation, on: loop) }
      }
    } onCancel: {
      loop.post { loop in sleep.end(on: loop) }
    }
    try Task.checkCancellation()
  }

  func randomBits() -> UInt64 { UInt64.random(in: .min ... .max) }

  func offload<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
    let (pool, limit) = (engine.offloadPool, engine.offloadPool.queueLimit)
    return try await withCheckedThrowingContinuation { continuation in
      let item = BackgroundWork { continuation.resume(with: Swift.Result { try work() }) }
      if !pool.submit(item) {
        continuation.resume(
          throwing: Rejection(.overloaded, detail: "the queue of the offload pool is full (\(limit))"))
      }
    }
  }

  func log(_ level: LogLevel, _ message: @autoclosure () -> String) { engine.log(level, message()) }
}

private final class BackgroundWork: OffloadWork {
  private let work: @Sendable () -> Void

  init(_ work: @escaping @Sendable () -> Void) { self.work = work }

  func perform() { work() }
}

/// One wait of a background task; it is woken by its timer or by the task's cancellation, whichever reaches the loop
/// first (a cancellation may come before the wait has begun).
private final class BackgroundSleep: TimerTarget, @unchecked Sendable {
  // Sound as Sendable: everything that changes is used on the loop's thread alone (see `Loop`).
  private let end: Instant
  private var continuation: CheckedContinuation<Void, Never>?
  private var timer = TimerHandle.none
  private var hasEnded = false
  /// The loop does not retain the targets of its timers.
  private var itself: BackgroundSleep?

  init(until end: Instant) { self.end = end }

  func begin(_ continuation: CheckedContinuation<Void, Never>, on loop: Loop) {
    if hasEnded { return continuation.resume() }
    self.continuation = continuation
    itself = self
    timer = loop.arm(at: end, self)
  }

  func end(on loop: Loop) {
    loop.cancel(&timer)
    wake()
  }

  func timerFired() {
    timer = .none
    wake()
  }

  private func wake() {
    hasEnded = true
    continuation?.resume()
    continuation = nil
    itself = nil
  }
}
