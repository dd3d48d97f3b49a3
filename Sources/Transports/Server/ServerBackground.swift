internal import Pipeline

/// What the engine offers to background tasks, which have no connection.
final class ServerBackground: BackgroundServices {
  private let engine: Engine
  private let loop: Loop

  init(_ engine: Engine) {
    self.engine = engine
    loop = engine.loops[0]
  }

  var now: Instant { Loop.preciseNow }

  func randomBits() -> UInt64 { .random(in: .min ... .max) }

  func log(_ level: LogLevel, _ message: @autoclosure () -> String) { engine.log(level, message()) }

  func sleep(for duration: Duration) async throws {
    let alarm = Alarm(on: loop)
    let end = now + duration
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        alarm.set(for: end) { isCancelled in
          if isCancelled { continuation.resume(throwing: CancellationError()) } else { continuation.resume() }
        }
      }
    } onCancel: {
      alarm.cancel()
    }
  }

  var loops: Int { engine.loops.count }

  func run(on loop: Int, _ body: @escaping @Sendable (LoopRuntime) async throws -> Void) async throws {
    try await LoopTask.run(on: engine.loops[loop], of: engine, body)
  }

  func offload<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
      if !engine.offloadPool.submit(BackgroundWork(work, continuation)) {
        let limit = engine.offloadPool.queueLimit
        continuation.resume(
          throwing: Rejection(.overloaded, detail: "the queue of the offload pool is full (\(limit))"))
      }
    }
  }
}

private final class BackgroundWork<Result: Sendable>: OffloadWork {
  private let work: @Sendable () throws -> Result
  private let continuation: CheckedContinuation<Result, any Error>

  init(_ work: @escaping @Sendable () throws -> Result, _ continuation: CheckedContinuation<Result, any Error>) {
    self.work = work
    self.continuation = continuation
  }

  func perform() { continuation.resume(with: Swift.Result { try work() }) }
}

/// One call at a later time, from any thread, that can be taken back. Called exactly once.
final class Alarm: TimerTarget, @unchecked Sendable {
  // Sound as Sendable: what changes is used on the loop's thread alone (see `Loop`); `set` and `cancel` go there.

  private let loop: Loop
  private var timer = TimerHandle.none
  private var call: ((_ isCancelled: Bool) -> Void)?
  private var isCancelled = false
  /// The loop does not retain what a timer fires into.
  private var itself: Alarm?

  init(on loop: Loop) { self.loop = loop }

  /// To be called once.
  func set(for instant: Instant, _ call: @escaping @Sendable (_ isCancelled: Bool) -> Void) {
    loop.post { [self] loop in
      if isCancelled { return call(true) }
      self.call = call
      itself = self
      timer = loop.arm(at: instant, self)
    }
  }

  func cancel() {
    loop.post { [self] loop in
      isCancelled = true
      loop.cancel(&timer)
      end()
    }
  }

  func timerFired() {
    timer = .none
    end()
  }

  private func end() {
    let call = call
    self.call = nil
    itself = nil
    call?(isCancelled)
  }
}
