internal import Pipeline
internal import Synchronization

/// Runs the background tasks of an app's components: once per state object, however many chains share it.
///
/// A task that returns has ended for good. One that throws is logged and started again, after a wait that grows from one
/// second to a minute and falls back after a minute without failure.
final class BackgroundSupervisor: Sendable {
  private static let firstDelay = Duration.seconds(1)
  private static let longestDelay = Duration.seconds(60)

  private struct Running {
    /// Kept, so that no other object gets its identity.
    var state: AnyObject?
    var task: Task<Void, Never>
  }

  private let services: any BackgroundServices
  private let executor: (any TaskExecutor)?
  private let running = Mutex<[Running]>([])

  /// - Parameter executor: where the tasks run; `nil`: the global one.
  init(_ services: any BackgroundServices, on executor: (any TaskExecutor)? = nil) {
    self.services = services
    self.executor = executor
  }

  /// Makes these components the ones whose tasks run: those of a state object that runs already go on, those of one that
  /// is not among them end, the rest begin.
  func run(_ components: [any Component]) {
    let ended = running.withLock { running in
      var kept: [Running] = []
      var seen: Set<ObjectIdentifier> = []
      var old = running
      for component in components {
        if let state = component.state {
          guard seen.insert(ObjectIdentifier(state)).inserted else { continue }
          if let index = old.firstIndex(where: { $0.state === state }) {
            kept.append(old.remove(at: index))
            continue
          }
        }
        kept.append(Running(state: component.state, task: start(component)))
      }
      running = kept
      return old
    }
    for task in ended { task.task.cancel() }
  }

  /// Ends all and waits for them.
  func stop() async {
    let ended = running.withLock { running in
      defer { running = [] }
      return running
    }
    for task in ended { task.task.cancel() }
    for task in ended { await task.task.value }
  }

  private func start(_ component: any Component) -> Task<Void, Never> {
    let services = services
    return Task(executorPreference: executor) { await Self.supervise(component, services) }
  }

  private static func supervise(_ component: any Component, _ services: any BackgroundServices) async {
    var delay = firstDelay
    while true {
      let begun = services.now
      do {
        return try await component.run(services)
      } catch {
        // A task that is told to end may say so in whatever words.
        if Task.isCancelled { return }
        if services.now - begun > longestDelay { delay = firstDelay }
        let name = type(of: component).label + (component.name.map { " \"\($0)\"" } ?? "")
        services.log(.error, "\(name): its background task failed and is started again in \(delay): \(error)")
      }
      do { try await services.sleep(for: delay) } catch { return }
      delay = min(delay * 2, longestDelay)
    }
  }
}
