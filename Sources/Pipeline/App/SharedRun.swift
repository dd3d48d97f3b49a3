internal import Synchronization

/// Runs what several callers want to run once: one does, the others wait, and the next takes over when that one is cancelled.
///
/// ```swift
/// func run(_ services: any BackgroundServices) async throws { try await shared.run { try await serve(services) } }
/// ```
/// So several components may hold one cache, one client, one writer, and each runs it without knowing of the others.
public final class SharedRun: Sendable {
  private struct State {
    var isTaken = false
    /// Those who want to run it when the present one stops.
    var successors: [AsyncStream<Void>.Continuation] = []
  }

  private let state = Mutex(State())

  public init() {}

  /// Runs `body` as soon as nobody else does.
  ///
  /// - Throws: what `body` throws; `CancellationError` to a caller that is cancelled while it waits.
  public func run(_ body: () async throws -> Void) async throws {
    while true {
      let (turns, turn) = AsyncStream<Void>.makeStream()
      let isMine = state.withLock { state in
        if state.isTaken {
          state.successors.append(turn)
          return false
        }
        state.isTaken = true
        return true
      }
      if isMine {
        defer { handOver() }
        return try await body()
      }
      for await _ in turns {}
      try Task.checkCancellation()
    }
  }

  private func handOver() {
    let successors = state.withLock { state in
      state.isTaken = false
      defer { state.successors = [] }
      return state.successors
    }
    for successor in successors { successor.finish() }
  }
}
