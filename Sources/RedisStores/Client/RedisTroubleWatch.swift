internal import Pipeline
internal import Synchronization

/// Whether Redis is asked at present, on behalf of one store: a circuit breaker, one line in the log and one count for each
/// of its changes, and the probes that find out in the background when Redis is back.
final class RedisTroubleWatch: Sendable {
  private struct State {
    var breaker: StoreBreaker
    var opened = 0
    var closed = 0
    var services: (any BackgroundServices)?
    /// Tells the background task that the breaker has opened.
    var bell: AsyncStream<Void>.Continuation?
  }

  /// Of the store, as log lines begin.
  private let name: String
  /// What holds meanwhile, for the log; "" where that is plain.
  private let meanwhile: String
  private let state: Mutex<State>

  /// - Parameters:
  ///   - threshold: failures in a row after which Redis is left alone.
  ///   - pause: between two probes.
  init(_ name: String, threshold: Int, pause: Duration, meanwhile: String = "") {
    self.name = name
    self.meanwhile = meanwhile
    state = Mutex(State(breaker: StoreBreaker(threshold: threshold, pause: pause)))
  }

  /// Whether ordinary work may ask.
  var mayAsk: Bool { state.withLock { $0.breaker.isClosed } }

  /// How often the breaker has opened and closed.
  var changes: (opened: Int, closed: Int) { state.withLock { ($0.opened, $0.closed) } }

  /// The time of the background task; `nil`: none runs.
  var now: Instant? { state.withLock { $0.services }?.now }

  func succeeded() {
    let services = state.withLock { state -> (any BackgroundServices)? in
      guard state.breaker.succeeded() != nil else { return nil }
      state.closed += 1
      return state.services
    }
    services?.log(.notice, "\(name): Redis is back")
  }

  /// - Parameter why: for the log; holds no key and no value.
  func failed(_ why: @autoclosure () -> String, now: Instant) {
    let (failures, services, bell) = state.withLock { state in
      guard case .opened(let failures)? = state.breaker.failed(now: now) else {
        return (nil as Int?, nil as (any BackgroundServices)?, nil as AsyncStream<Void>.Continuation?)
      }
      state.opened += 1
      return (failures, state.services, state.bell)
    }
    guard let failures else { return }
    services?.log(.warning, "\(name): Redis failed \(failures) times in a row\(meanwhile): \(why())")
    bell?.yield()
  }

  // MARK: In the background

  /// The background task begins. What it returns is for ``probe(_:_:_:)``.
  func begin(_ services: any BackgroundServices) -> AsyncStream<Void> {
    let (opened, bell) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    state.withLock { state in
      state.services = services
      state.bell = bell
      if !state.breaker.isClosed { bell.yield() }
    }
    return opened
  }

  /// The background task is over.
  func end() {
    state.withLock { state in
      state.services = nil
      state.bell = nil
    }
  }

  /// Lets ``probe(_:_:_:)`` return.
  func close() { state.withLock { $0.bell }?.finish() }

  /// Sends a probe whenever one is due, until the store is closed.
  ///
  /// - Parameter ask: one question to Redis; throws a `RedisError` where it fails.
  func probe(
    _ opened: AsyncStream<Void>, _ services: any BackgroundServices, _ ask: () async throws -> Void
  ) async throws {
    for await _ in opened {
      while let due = state.withLock({ $0.breaker.probeAt }) {
        try await services.sleep(for: max(.zero, due - services.now))
        guard state.withLock({ $0.breaker.mayProbe(now: services.now) }) else { continue }
        do {
          try await ask()
          succeeded()
        } catch let error as RedisError {
          _ = state.withLock { $0.breaker.failed(now: services.now) }
          if case .cancelled = error { throw CancellationError() }
        }
      }
    }
  }
}
