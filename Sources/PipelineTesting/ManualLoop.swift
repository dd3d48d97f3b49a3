import Synchronization

/// An executor without a thread: what is ready runs when the test says so, on the test's own thread, in order.
///
/// So nothing of a chain under test runs at the same time as the test, and a test that asks what happened need not wait
/// for it.
public final class ManualLoop: TaskExecutor {
  private struct State {
    var jobs: [UnownedJob] = []
    var isDraining = false
    /// Tasks that were started here and have not ended.
    var active = 0
    /// Of these, those that wait for something that the test decides: the clock, a hand-driven `next`, a signal, bytes.
    var parked = 0
    var idleWaiters: [UnsafeContinuation<Void, Never>] = []

    var isSettled: Bool { jobs.isEmpty && active == parked }
  }

  private let state = Mutex(State())

  public init() {}

  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let waiters = state.withLock { state in
      state.jobs.append(job)
      defer { state.idleWaiters = [] }
      return state.idleWaiters
    }
    for waiter in waiters { waiter.resume() }
  }

  /// Starts a task here. It runs with the next ``drain()``.
  public func start(_ body: sending @escaping () async -> Void) {
    state.withLock { $0.active += 1 }
    Task(executorPreference: self) {
      await body()
      self.state.withLock { $0.active -= 1 }
    }
  }

  /// Runs what is ready, and what becomes ready by that, until nothing is.
  public func drain() {
    let mayDrain = state.withLock { state in
      if state.isDraining { return false }
      state.isDraining = true
      return true
    }
    guard mayDrain else { return }
    while let job = nextJob() { job.runSynchronously(on: asUnownedTaskExecutor()) }
  }

  /// Runs what is ready until every task has ended or waits for something that the test decides.
  ///
  /// A task may wait for something else meanwhile (an actor, a thread of its own); then this waits for it, too.
  public func settle() async {
    drain()
    while !state.withLock({ $0.isSettled }) {
      await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
        let mayGoOn = state.withLock { state in
          if !state.jobs.isEmpty || state.isSettled { return true }
          state.idleWaiters.append(continuation)
          return false
        }
        if mayGoOn { continuation.resume() }
      }
      drain()
    }
  }

  /// Until something is ready to run.
  func work() async {
    await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
      let mayGoOn = state.withLock { state in
        if !state.jobs.isEmpty { return true }
        state.idleWaiters.append(continuation)
        return false
      }
      if mayGoOn { continuation.resume() }
    }
  }

  func parkedOne() { state.withLock { $0.parked += 1 } }
  func unparkedOne() { state.withLock { $0.parked -= 1 } }

  private func nextJob() -> UnownedJob? {
    state.withLock { state in
      if state.jobs.isEmpty {
        state.isDraining = false
        return nil
      }
      return state.jobs.removeFirst()
    }
  }
}
