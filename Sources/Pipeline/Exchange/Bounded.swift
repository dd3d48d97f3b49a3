internal import Synchronization

extension Exchange {
  /// Awaits something that knows nothing of this exchange (an HTTP client, an actor, a database driver), and no longer than
  /// the exchange's deadline; a client that went away and a drain end the wait, too.
  ///
  /// The engine cannot interrupt a foreign await. So `work` runs in a task of its own, on the global pool, and gets
  /// `Sendable` values only, never the exchange; when the wait ends early that task is cancelled, and what it still returns
  /// is dropped. Costs about a microsecond and a handful of allocations: for calls that leave the process, not for others.
  ///
  /// - Throws: what `work` throws, or what ends a wait (see ``ConnectionRuntime``).
  public final func bounded<Result: Sendable>(
    _ work: @escaping @Sendable () async throws -> Result
  ) async throws -> Result {
    let call = ForeignCall<Result>()
    let task = Task {
      do {
        call.end(.success(try await work()))
      } catch {
        call.end(.failure(error))
      }
    }
    do {
      try await runtime.wait(for: call.done)
    } catch {
      task.cancel()
      throw error
    }
    return try call.result()
  }
}

private final class ForeignCall<Value: Sendable>: Sendable {
  let done = Signal()
  private let outcome = Mutex<Result<Value, any Error>?>(nil)

  func end(_ result: Result<Value, any Error>) {
    outcome.withLock { $0 = result }
    done.fire()
  }

  func result() throws -> Value {
    guard let result = outcome.withLock({ $0 }) else {
      preconditionFailure("the signal fires after the outcome is stored")
    }
    return try result.get()
  }
}
