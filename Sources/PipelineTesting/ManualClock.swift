public import Pipeline
import Synchronization

/// A clock that moves when a test says so.
///
/// ``advance(by:)`` wakes who is due in the order of their times, and of two at the same time the one that slept first.
/// Where the sleepers run on a ``ManualLoop``, each one runs until it waits again before the next is woken, so that a run
/// is the same every time.
public final class ManualClock: Sendable {
  struct Parked {
    let id: UInt64
    let until: Instant
    let isSleep: Bool
    let loop: ManualLoop?
    let continuation: UnsafeContinuation<Wake, Never>
  }

  enum Wake {
    case time, event
  }

  private struct State {
    var now = Instant(nanoseconds: 1_000_000_000)
    var lastID: UInt64 = 0
    var parked: [Parked] = []
    var watchers: [(count: Int, continuation: UnsafeContinuation<Void, Never>)] = []
    var loops: [ManualLoop] = []

    var sleeping: Int { parked.count { $0.isSleep } }

    mutating func satisfiedWatchers() -> [UnsafeContinuation<Void, Never>] {
      let sleeping = sleeping
      let done = watchers.filter { $0.count <= sleeping }
      watchers.removeAll { $0.count <= sleeping }
      return done.map(\.continuation)
    }
  }

  private let state = Mutex(State())

  public init() {}

  /// The time. A clock starts at 1 s, so that a test may look back.
  public var now: Instant { state.withLock { $0.now } }

  /// How many sleep now.
  public var sleeperCount: Int { state.withLock { $0.sleeping } }

  /// When the first of those that sleep is due; `nil`: nobody sleeps.
  public var nextWake: Instant? { state.withLock { $0.parked.filter(\.isSleep).map(\.until).min() } }

  /// Returns as soon as at least `count` sleep: then it is the test's turn to ``advance(by:)``.
  public func sleepers(_ count: Int) async {
    await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
      let isSatisfied = state.withLock { state in
        if state.sleeping >= count { return true }
        state.watchers.append((count, continuation))
        return false
      }
      if isSatisfied { continuation.resume() }
    }
  }

  /// Moves the time, and wakes who is due on the way.
  public func advance(by duration: Duration) {
    advance(to: now + duration)
  }

  /// Moves the time to `target`, unless it is past already.
  public func advance(to target: Instant) {
    drainLoops()
    while let due = next(until: target) {
      wake(due, .time)
      drainLoops()
    }
    state.withLock { $0.now = max($0.now, target) }
  }

  /// Sleeps until `instant`.
  ///
  /// - Throws: `CancellationError` when the task is cancelled.
  public func sleep(until instant: Instant) async throws {
    let handle = WakeHandle(clock: self, id: newID())
    try Task.checkCancellation()
    await withTaskCancellationHandler {
      _ = await park(handle, until: instant, isSleep: true, on: nil)
    } onCancel: {
      handle.wake()
    }
    try Task.checkCancellation()
  }

  /// A name for a wait that is about to begin.
  func newHandle() -> WakeHandle { WakeHandle(clock: self, id: newID()) }

  /// Waits until the time has come or somebody wakes the handle.
  func park(_ handle: WakeHandle, until instant: Instant, isSleep: Bool, on loop: ManualLoop?) async -> Wake {
    await withUnsafeContinuation { (continuation: UnsafeContinuation<Wake, Never>) in
      loop?.parkedOne()
      let (isDue, watchers) = state.withLock { state -> (Bool, [UnsafeContinuation<Void, Never>]) in
        if instant <= state.now || handle.isWoken { return (true, []) }
        state.parked.append(
          Parked(id: handle.id, until: instant, isSleep: isSleep, loop: loop, continuation: continuation))
        return (false, state.satisfiedWatchers())
      }
      for watcher in watchers { watcher.resume() }
      if isDue {
        loop?.unparkedOne()
        continuation.resume(returning: handle.isWoken ? .event : .time)
      }
    }
  }

  func wake(id: UInt64) {
    let parked = state.withLock { state -> Parked? in
      guard let index = state.parked.firstIndex(where: { $0.id == id }) else { return nil }
      return state.parked.remove(at: index)
    }
    if let parked { wake(parked, .event) }
  }

  func attach(_ loop: ManualLoop) { state.withLock { $0.loops.append(loop) } }

  private func newID() -> UInt64 {
    state.withLock {
      $0.lastID += 1
      return $0.lastID
    }
  }

  private func next(until target: Instant) -> Parked? {
    state.withLock { state in
      var first: Int?
      for (index, parked) in state.parked.enumerated() where parked.until <= target {
        if let best = first, state.parked[best].until <= parked.until { continue }
        first = index
      }
      guard let first else { return nil }
      let due = state.parked.remove(at: first)
      state.now = max(state.now, due.until)
      return due
    }
  }

  private func wake(_ parked: Parked, _ reason: Wake) {
    parked.loop?.unparkedOne()
    parked.continuation.resume(returning: reason)
  }

  private func drainLoops() {
    for loop in state.withLock({ $0.loops }) { loop.drain() }
  }
}

/// Ends one wait from wherever one is.
final class WakeHandle: Sendable {
  let id: UInt64
  private let clock: ManualClock
  private let woken = Atomic<Bool>(false)

  init(clock: ManualClock, id: UInt64) {
    self.clock = clock
    self.id = id
  }

  /// Whether it was woken, perhaps before the wait began.
  var isWoken: Bool { woken.load(ordering: .acquiring) }

  func wake() {
    woken.store(true, ordering: .releasing)
    clock.wake(id: id)
  }
}
