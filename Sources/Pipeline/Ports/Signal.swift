internal import Synchronization

/// Something that happens once and that connections on any loop may be parked for: a verification of a password that
/// many logins share, a permit that becomes free.
///
/// Whoever makes it happen calls ``fire()``, from any thread. Whoever waits calls ``ConnectionRuntime/wait(for:)``: that is
/// the connection's one parked wait, so its deadline, a client that went away and a drain end it like every other wait.
/// A wait that ended early has left the signal; a caller that was promised something together with the signal (a permit)
/// must look, after an error, whether the promise came true in the meantime.
///
/// How a runtime implements `wait(for:)`, with no lock held across the suspension:
/// 1. Make one object for this wait, a ``SignalWaiter``; `false` from ``add(_:)`` means that it has fired already: return.
/// 2. Park the connection, with that object as the wait's name.
/// 3. `signalled()` runs on the thread that fires: it posts the object to the connection's own loop and does nothing else.
/// 4. On that loop: if the connection is still parked under this very object, resume it; else drop the late message.
/// 5. A wait that ends for another reason calls ``remove(_:)`` before it throws.
public final class Signal: Sendable {
  private struct State {
    var hasFired = false
    /// In the order of arrival.
    var waiters: [any SignalWaiter] = []
  }

  private let state = Mutex(State())

  public init() {}

  /// Whether it has happened. Once true, it stays true.
  public var hasFired: Bool { state.withLock { $0.hasFired } }

  /// How many wait now. For tests and gauges.
  public var waiterCount: Int { state.withLock { $0.waiters.count } }

  /// Wakes all who wait, in the order in which they came, and lets all who come later pass. From any thread; a second
  /// call does nothing.
  ///
  /// What the waiters shall find must have been stored before.
  public func fire() {
    let woken = state.withLock { state -> [any SignalWaiter] in
      state.hasFired = true
      defer { state.waiters = [] }
      return state.waiters
    }
    // Outside the lock: a waiter may take the locks of its own loop.
    for waiter in woken { waiter.signalled() }
  }

  /// Runtime: registers a wait.
  ///
  /// - Returns: `false` when the signal has fired already; the waiter is then not kept and not told.
  public func add(_ waiter: any SignalWaiter) -> Bool {
    state.withLock { state in
      if state.hasFired { return false }
      state.waiters.append(waiter)
      return true
    }
  }

  /// Runtime: ends a wait early. The waiter may still be told once, by a `fire()` that is under way on another thread.
  public func remove(_ waiter: any SignalWaiter) {
    state.withLock { state in
      if let index = state.waiters.firstIndex(where: { $0 === waiter }) { state.waiters.remove(at: index) }
    }
  }
}

/// One wait for a ``Signal``, made by a runtime.
public protocol SignalWaiter: AnyObject, Sendable {
  /// Called at most once, on the thread that fires, outside every lock of the signal. Must not block and must not resume
  /// the connection itself: that belongs to the connection's loop.
  func signalled()
}
