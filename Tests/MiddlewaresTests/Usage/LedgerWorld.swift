import LedgerTesting
import Middlewares
import Pipeline
import PipelineTesting
import Synchronization

/// Counts requests of accounts in memory, as a store does, and is written behind.
final class CountingSource: LedgerSource {
  private struct State {
    var known: [UsageAccount: Int] = [:]
    var dirty: [UsageAccount: Int] = [:]
    var counters: [LedgerCounter] = []
    var restored: [LedgerRow] = []
  }

  private let state = Mutex(State())
  static let start = UnixTime(seconds: 1_795_219_200)
  static let end = UnixTime(seconds: 1_795_305_600)

  func count(_ name: String, _ requests: Int = 1) {
    let account = UsageAccount.identity(Principal(name))
    state.withLock { state in
      state.known[account, default: 0] += requests
      state.dirty[account, default: 0] += requests
    }
  }

  func count(_ counter: LedgerCounter) { state.withLock { $0.counters.append(counter) } }

  /// What it would answer: what was restored, and what was counted since.
  func requests(_ name: String) -> Int { state.withLock { $0.known[.identity(Principal(name))] ?? 0 } }

  var restored: [LedgerRow] { state.withLock { $0.restored } }
  var dirtyCount: Int { state.withLock { $0.dirty.count } }

  func collect(into batch: inout LedgerBatch, limit: Int) -> Bool {
    let (rows, counters, isMore) = state.withLock { state in
      let rows = state.dirty.sorted { $0.key.precedesInLedger($1.key) }.prefix(limit)
      for (account, _) in rows { state.dirty[account] = nil }
      defer { state.counters = [] }
      return (rows, state.counters, !state.dirty.isEmpty)
    }
    for (account, requests) in rows {
      let change = UsageChange(requests: requests, up: requests * 10)
      batch.usage.append(
        LedgerUsage(
          account: account, total: change, firstSeen: Self.start, lastSeen: Self.start,
          windows: [LedgerWindow(unit: .day, start: Self.start, end: Self.end, usage: change)]))
    }
    batch.counters += counters
    return isMore
  }

  func restore(_ row: LedgerRow) {
    state.withLock { state in
      state.restored.append(row)
      switch row {
      case .usage(let usage): state.known[usage.account, default: 0] += usage.total.requests
      case .state, .counter, .global: break
      }
    }
  }
}

/// Background services whose offloaded work waits until the test lets it.
final class GatedServices: BackgroundServices {
  private struct State {
    var isOpen = true
    var waiting: [CheckedContinuation<Void, Never>] = []
    var watchers: [CheckedContinuation<Void, Never>] = []
  }

  let services: ManualServices
  private let state = Mutex(State())

  init(_ services: ManualServices) { self.services = services }

  /// From now on work waits.
  func hold() { state.withLock { $0.isOpen = false } }

  /// Lets go what waits, and what comes.
  func release() {
    let waiting = state.withLock { state in
      state.isOpen = true
      defer { state.waiting = [] }
      return state.waiting
    }
    for continuation in waiting { continuation.resume() }
  }

  /// Until some work waits.
  func held() async {
    await withCheckedContinuation { continuation in
      let isThere = state.withLock { state in
        if !state.waiting.isEmpty { return true }
        state.watchers.append(continuation)
        return false
      }
      if isThere { continuation.resume() }
    }
  }

  func offload<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
    await withCheckedContinuation { continuation in
      let (isOpen, watchers) = state.withLock { state in
        if state.isOpen { return (true, [CheckedContinuation<Void, Never>]()) }
        state.waiting.append(continuation)
        defer { state.watchers = [] }
        return (false, state.watchers)
      }
      for watcher in watchers { watcher.resume() }
      if isOpen { continuation.resume() }
    }
    return try work()
  }

  var now: Instant { services.now }
  var loops: Int { services.loops }
  func sleep(for duration: Duration) async throws { try await services.sleep(for: duration) }
  func randomBits() -> UInt64 { services.randomBits() }
  func run(on loop: Int, _ body: @escaping @Sendable (LoopRuntime) async throws -> Void) async throws {
    try await services.run(on: loop, body)
  }
  func log(_ level: LogLevel, _ message: @autoclosure () -> String) { services.log(level, message()) }
}
