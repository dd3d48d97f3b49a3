internal import Pipeline
internal import Synchronization

/// An answer that is awaited, by an exchange or by a task that has none.
///
/// Whoever awaits it may leave early; what comes then is dropped. Whoever took the command always fulfils it: with the
/// answer, or with the reason why there is none.
final class PendingReply: Sendable {
  private let outcome = Mutex<Result<RESPValue, RedisError>?>(nil)
  private let done = Signal()

  /// Once; later calls do nothing.
  func fulfil(_ result: Result<RESPValue, RedisError>) {
    let isFirst = outcome.withLock { outcome in
      if outcome != nil { return false }
      outcome = result
      return true
    }
    if isFirst { done.fire() }
  }

  /// Waits for it: as the exchange waits, at most until `limit`; without an exchange until the task is cancelled.
  ///
  /// - Throws: ``RedisError``, or what ends a wait of the exchange.
  func value(on exchange: Exchange?, atMost limit: Duration) async throws -> RESPValue {
    try await done.awaited(on: exchange, atMost: limit)
    guard let result = outcome.withLock({ $0 }) else {
      preconditionFailure("the signal fires after the outcome is stored")
    }
    return try result.get()
  }
}

extension Signal {
  /// Waits as the exchange does, at most until `limit`; without an exchange until the task is cancelled.
  func awaited(on exchange: Exchange?, atMost limit: Duration) async throws {
    if hasFired { return }
    guard let exchange else { return try await awaitedOutside() }
    let outer = exchange.deadline
    let mine = exchange.now + limit
    if mine < outer { exchange.deadline = mine }
    defer { exchange.deadline = outer }
    do {
      try await exchange.runtime.wait(for: self)
    } catch let exceeded as DeadlineExceeded where mine < outer && exceeded.deadline == mine {
      throw RedisError.timeout(limit)
    }
  }

  private func awaitedOutside() async throws(RedisError) {
    let wait = OutsideWait()
    guard add(wait) else { return }
    await withTaskCancellationHandler {
      await wait.park()
    } onCancel: {
      wait.signalled()
    }
    if hasFired { return }
    remove(wait)
    throw .cancelled
  }
}

/// A wait of a task that belongs to no exchange.
private final class OutsideWait: SignalWaiter {
  private enum State {
    case running
    case parked(CheckedContinuation<Void, Never>)
    case signalled
  }

  private let state = Mutex(State.running)

  func park() async {
    await withCheckedContinuation { continuation in
      let isSignalled = state.withLock { state in
        if case .signalled = state { return true }
        state = .parked(continuation)
        return false
      }
      if isSignalled { continuation.resume() }
    }
  }

  func signalled() {
    let before = state.withLock { state in
      defer { state = .signalled }
      return state
    }
    if case .parked(let continuation) = before { continuation.resume() }
  }
}
