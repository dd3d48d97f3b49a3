import Pipeline
import Synchronization

/// Everything around logins that a test plays by hand: the time, the offload pool, who waits.
///
/// Each connection is a task of its own on the test's threads, so that logins really come at the same time; the test awaits
/// that so many are parked, and then says what the pool does.
final class LoginWorld: Sendable {
  private struct State {
    var now = Instant(nanoseconds: 1_000_000_000)
    /// `nil`: work runs in place. Else it waits for the test; so much fits.
    var poolLimit: Int?
    var queued: [@Sendable () -> Void] = []
    var parked = 0
    var watchers: [Watcher] = []

    /// Those whose condition holds now.
    mutating func takeSatisfied() -> [CheckedContinuation<Void, Never>] {
      let parked = parked
      let queued = queued.count
      defer { watchers.removeAll { $0.parked <= parked && $0.queued <= queued } }
      return watchers.filter { $0.parked <= parked && $0.queued <= queued }.map(\.continuation)
    }
  }

  private struct Watcher {
    let parked: Int
    let queued: Int
    let continuation: CheckedContinuation<Void, Never>
  }

  private let state = Mutex(State())

  var now: Instant { state.withLock { $0.now } }

  func advance(by duration: Duration) { state.withLock { $0.now = $0.now + duration } }

  /// From now on the pool keeps its work, at most so much.
  func holdPool(limit: Int = .max) { state.withLock { $0.poolLimit = limit } }

  /// Work that waits for a thread.
  var queuedCount: Int { state.withLock { $0.queued.count } }

  /// Does the work that waits now, or as much of it; in order, on this thread.
  func runPool(atMost limit: Int = .max) {
    let work = state.withLock { state in
      let work = Array(state.queued.prefix(limit))
      state.queued.removeFirst(work.count)
      return work
    }
    for item in work { item() }
  }

  /// Returns when at least so many connections are parked.
  func untilParked(_ count: Int) async { await until(parked: count, queued: 0) }

  /// Returns when at least so much work waits for a thread.
  func untilQueued(_ count: Int) async { await until(parked: 0, queued: count) }

  private func until(parked: Int, queued: Int) async {
    await withCheckedContinuation { continuation in
      change { $0.watchers.append(Watcher(parked: parked, queued: queued, continuation: continuation)) }
    }
  }

  /// Changes something, and lets those go on who have waited for it.
  private func change<Result>(_ body: (inout sending State) throws -> sending Result) rethrows -> Result {
    let (result, satisfied) = try state.withLock { state in
      let result = try body(&state)
      return (result, state.takeSatisfied())
    }
    for continuation in satisfied { continuation.resume() }
    return result
  }

  /// False when the pool is not held: the caller does the work in place.
  fileprivate func enqueue(_ work: @escaping @Sendable () -> Void) throws -> Bool {
    try change { state in
      guard let limit = state.poolLimit else { return false }
      guard state.queued.count < limit else { throw Rejection(.overloaded, detail: "the queue of the pool is full") }
      state.queued.append(work)
      return true
    }
  }

  fileprivate func parked(_ change: Int) { self.change { $0.parked += change } }
}

/// The runtime of one connection in a ``LoginWorld``.
final class LoginRuntime: ConnectionRuntime {
  private let world: LoginWorld
  let control: LoginControl

  init(_ world: LoginWorld, _ control: LoginControl = LoginControl()) {
    self.world = world
    self.control = control
    super.init()
  }

  override var now: Instant { world.now }

  override func offload<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
    let answer = Answer<Result>()
    try await control.park(in: world) { wait in
      try world.enqueue {
        answer.set(Swift.Result { try work() })
        wait.signalled()
      }
    }
    return try answer.value?.get() ?? work()
  }

  override func wait(for signal: Signal) async throws {
    try await control.park(in: world) {
      signal.add($0)
    } ended: {
      signal.remove($0)
    }
  }
}

/// Cuts a connection from outside, as the engine does when its client is gone.
final class LoginControl: Sendable {
  private let state = Mutex<(cut: Rejection?, wait: LoginWait?)>((nil, nil))

  func cut(_ kind: Rejection.Kind = .clientGone) {
    let wait = state.withLock { state in
      state.cut = Rejection(kind)
      return state.wait
    }
    wait?.signalled()
  }

  /// Parks until the wait is signalled.
  ///
  /// - Parameter begin: false: there is nothing to wait for.
  fileprivate func park(
    in world: LoginWorld, _ begin: (LoginWait) throws -> Bool, ended: (LoginWait) -> Void = { _ in }
  ) async throws {
    if let cut = state.withLock({ $0.cut }) { throw cut }
    let wait = LoginWait()
    guard try begin(wait) else { return }
    state.withLock { state in
      precondition(state.wait == nil, "a connection waits for one thing at a time")
      state.wait = wait
    }
    await wait.untilSignalled(parkedIn: world)
    world.parked(-1)
    ended(wait)
    let cut = state.withLock { state in
      state.wait = nil
      return state.cut
    }
    if let cut { throw cut }
  }
}

/// One wait: ends once, from whatever thread.
final class LoginWait: SignalWaiter {
  private let state = Mutex<(isOver: Bool, continuation: CheckedContinuation<Void, Never>?)>((false, nil))

  func signalled() {
    let continuation = state.withLock { state in
      state.isOver = true
      defer { state.continuation = nil }
      return state.continuation
    }
    continuation?.resume()
  }

  fileprivate func untilSignalled(parkedIn world: LoginWorld) async {
    await withCheckedContinuation { continuation in
      let isOver = state.withLock { state in
        if !state.isOver { state.continuation = continuation }
        return state.isOver
      }
      world.parked(1)
      if isOver { continuation.resume() }
    }
  }
}

private final class Answer<Value: Sendable>: Sendable {
  private let state = Mutex<Result<Value, any Error>?>(nil)
  var value: Result<Value, any Error>? { state.withLock { $0 } }
  func set(_ value: Result<Value, any Error>) { state.withLock { $0 = value } }
}

/// A connection whose client sends these credentials.
final class LoginExchange: PasswordExchange {
  private let sent: PasswordCredentials?

  init(_ world: LoginWorld, _ sent: PasswordCredentials?, from client: ClientAddress, control: LoginControl) {
    self.sent = sent
    super.init(
      id: 1, client: client,
      listener: ListenerInfo(name: "test", transport: "socks5", address: .ip(.loopbackV4, port: 1)),
      runtime: LoginRuntime(world, control))
  }

  override func credentials() async throws -> PasswordCredentials? { sent }
}
