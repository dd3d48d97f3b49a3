/// What a component's background task (``Component/run(_:)``) may use.
public protocol BackgroundServices: Sendable {
  /// Monotonic time.
  var now: Instant { get }

  /// Waits; ends early with `CancellationError` when the app stops.
  func sleep(for duration: Duration) async throws

  /// 64 uniformly random bits. Not for keys or tokens.
  func randomBits() -> UInt64

  /// Runs blocking or long work on the bounded offload pool.
  func offload<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result

  /// How many loops serve exchanges: `exchange.shard` is below it.
  var loops: Int { get }

  /// Runs `body` in a task on one loop, with a runtime of its own, and waits until it has ended. When the caller is
  /// cancelled, so is the body.
  ///
  /// - Parameter loop: 0..<``loops``.
  /// - Throws: what `body` throws.
  func run(on loop: Int, _ body: @escaping @Sendable (LoopRuntime) async throws -> Void) async throws

  /// Writes a line to the operational log.
  func log(_ level: LogLevel, _ message: @autoclosure () -> String)
}
