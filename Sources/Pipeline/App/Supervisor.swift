internal import Synchronization

/// Runs the background tasks of a whole app: ``Component/run(_:)`` once per state object, however many listeners and chains
/// share it.
///
/// A task that throws is logged and started again after a backoff; one that returns is done. They run on the global pool,
/// never on a loop.
public final class Supervisor: Sendable {
  private struct Key: Hashable {
    let object: ObjectIdentifier
    let index: Int
  }

  private struct Job {
    /// Held, so that no other object gets the identity of its state, or of its placement, meanwhile.
    let component: any Component
    let placement: Placement.Identity
    let task: Task<Void, Never>
  }

  private struct Jobs {
    var running: [Key: Job] = [:]
    var isShutDown = false
  }

  private let services: any BackgroundServices
  private let jobs = Mutex(Jobs())

  public init(_ services: any BackgroundServices) { self.services = services }

  /// Starts what is placed here and does not run yet. Call it for the first configuration, and for a new one before it
  /// serves.
  public func start(_ placements: [Placement]) {
    for placement in placements {
      for (index, entry) in placement.entries.enumerated() {
        let key = Self.key(entry, index, placement)
        jobs.withLock { jobs in
          guard !jobs.isShutDown, jobs.running[key] == nil else { return }
          jobs.running[key] = Job(
            component: entry.component, placement: placement.identity,
            task: start(entry.component, entry.qualifiedName))
        }
      }
    }
  }

  /// Cancels what is not placed here, and waits until it has ended. Call it after a reload, when the old configuration has
  /// drained.
  public func keepOnly(_ placements: [Placement]) async {
    var wanted: Set<Key> = []
    for placement in placements {
      for (index, entry) in placement.entries.enumerated() { wanted.insert(Self.key(entry, index, placement)) }
    }
    let dropped = jobs.withLock { jobs in
      let dropped = jobs.running.filter { !wanted.contains($0.key) }.map(\.value.task)
      jobs.running = jobs.running.filter { wanted.contains($0.key) }
      return dropped
    }
    await end(dropped)
  }

  /// Cancels everything, and waits until it has ended. Call it after the drain.
  public func shutDown() async {
    let all = jobs.withLock { jobs in
      defer { jobs.running = [:] }
      jobs.isShutDown = true
      return jobs.running.values.map(\.task)
    }
    await end(all)
  }

  private func end(_ tasks: [Task<Void, Never>]) async {
    for task in tasks { task.cancel() }
    for task in tasks { await task.value }
  }

  private static func key(_ entry: Placement.Entry, _ index: Int, _ placement: Placement) -> Key {
    if let state = entry.component.state { return Key(object: ObjectIdentifier(state), index: -1) }
    return Key(object: ObjectIdentifier(placement.identity), index: index)
  }

  private func start(_ component: any Component, _ name: String) -> Task<Void, Never> {
    let services = services
    return Task {
      var backoff = Backoff()
      while !Task.isCancelled {
        let began = services.now
        do {
          return try await component.run(services)
        } catch {
          if Task.isCancelled { return }
          let wait = backoff.next(afterRunning: services.now - began, randomBits: services.randomBits())
          services.log(.error, "\(name): its background task failed: \(error); it is started again in \(wait)")
          do { try await services.sleep(for: wait) } catch { return }
        }
      }
    }
  }
}

/// 100 ms, doubled with every failure up to 30 s, of which the upper half is random; from the start again after a minute
/// without failure.
private struct Backoff {
  private var failures = 0

  mutating func next(afterRunning ran: Duration, randomBits: UInt64) -> Duration {
    if ran >= .seconds(60) { failures = 0 }
    let base = min(100 << min(failures, 20), 30_000)
    failures += 1
    return .milliseconds(base / 2 + Int(randomBits % UInt64(base / 2 + 1)))
  }
}
