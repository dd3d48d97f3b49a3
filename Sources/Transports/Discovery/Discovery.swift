internal import Pipeline
internal import Synchronization

/// What keeps the backends of a group what its source says: the task that looks, and the wait of exchanges that come before it
/// has seen anything.
@usableFromInline final class Discovery: Sendable {
  let source: BackendSource
  private let isKnown = Atomic<Bool>(false)
  private let known = Signal()

  init(_ source: BackendSource) { self.source = source }

  /// Looks as long as the app runs. A source of the user's that fails is started again after 1 s, 2 s, … up to 30 s.
  func run(_ services: any BackgroundServices, for group: UpstreamGroup) async throws {
    let origin = "\(source)"
    var failures = 0
    while true {
      do {
        return try await source.run(services) { [self] backends in
          try group.replace(with: backends, by: origin)
          noteKnown()
        }
      } catch let error as CancellationError {
        throw error
      } catch {
        services.log(.warning, "\(group.name): \(origin) failed, and is started again: \(error)")
      }
      try await services.sleep(for: min(.seconds(1 << min(failures, 10)), .seconds(30)))
      failures += 1
    }
  }

  private func noteKnown() {
    if isKnown.exchange(true, ordering: .releasing) { return }
    known.fire()
  }

  /// Lets an exchange wait for the first list where there is none, at most for its listener's connect timeout.
  ///
  /// - Throws: `Rejection(.overloaded)` then; what ends a wait.
  func awaitBackends(of group: UpstreamGroup, _ exchange: Exchange) async throws {
    if isKnown.load(ordering: .acquiring) || !group.seats.isEmpty { return }
    let limit = exchange.listener.options.connectTimeout
    let scope = exchange.beginDeadline(limit)
    do {
      try await exchange.runtime.wait(for: known)
      exchange.end(scope)
    } catch {
      let ended = exchange.end(scope, error)
      guard error is DeadlineExceeded, ended is Rejection else { throw ended }
      throw Rejection(
        .overloaded, retryAfter: .seconds(1),
        detail: "\(group.name): no backend is known yet: \(source) has said nothing for \(limit)")
    }
  }
}
