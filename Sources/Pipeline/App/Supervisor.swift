internal import Synchronization

/// Runs the background tasks of a whole app: ``Component/run(_:)`` once per state object, however many listeners and chains
/// share it.
///
/// A task that throws is logged and started again after a backoff; one that returns is done.
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
    /// Cancelled, and perhaps not over yet.
    var ending: [Task<Void, Never>] = []
    var isStopped = false
  }

  private let services: any BackgroundServices
  private let executor: (any TaskExecutor)?
  private let jobs = Mutex(Jobs())

  /// - Parameter executor: where the tasks run; `nil`: the global pool.
  public init(_ services: any BackgroundServices, on executor: (any TaskExecutor)? = nil) {
    self.services = services
    self.executor = executor
  }

  /// Makes what is placed here the components whose tasks run: those that run already go on, those that are placed no more
  /// are cancelled, the rest begin.
  public func supervise(_ placements: [Placement]) {
    jobs.withLock { jobs in
      guard !jobs.isStopped else { return }
      var old = jobs.running
      jobs.running = [:]
      for placement in placements {
        for (index, entry) in placement.entries.enumerated() {
          let key = Self.key(entry, index, placement)
          if jobs.running[key] != nil { continue }
          jobs.running[key] =
            old.removeValue(forKey: key)
            ?? Job(
              component: entry.component, placement: placement.identity,
              task: start(entry.component, entry.qualifiedName))
        }
      }
      for job in old.values { job.task.cancel() }
      jobs.ending += old.values.map(\.task)
    }
  }

  /// Cancels everything, and waits until it has ended. Call it after the drain; nothing starts after that.
  public func stop() async {
    let all = jobs.withLock { jobs in
      defer {
        jobs.running = [:]
        jobs.ending = []
      }
      jobs.isStopped = true
      for job in jobs.running.values { job.task.cancel() }
      return jobs.ending + jobs.running.values.map(\.task)
    }
    for task in all { await task.value }
  }

  private static func key(_ entry: Placement.Entry, _ index: Int, _ placement: Placement) -> Key {
    if let state = entry.component.state { return Key(object: ObjectIdentifier(state), index: -1) }
    return Key(object: ObjectIdentifier(placement.identity), index: index)
  }

  private func start(_ component: any Component, _ name: String) -> Task<Void, Never> {
    let services = services
    return Task(executorPreference: executor) {
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
