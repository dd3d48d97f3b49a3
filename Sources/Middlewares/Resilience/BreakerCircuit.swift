public import Pipeline
internal import Synchronization

/// What the exchanges of one breaker share. While it is closed nobody takes a lock.
final class BreakerCircuit: AnswerObserver {
  /// What an exchange carries from its admission to its end.
  struct Token {
    let bits: UInt64

    init(epoch: UInt64, batch: UInt64? = nil) {
      bits = (epoch & 0xffff_ffff) << 32 | (batch.map { ($0 & 0x7fff_ffff) << 1 | 1 } ?? 0)
    }

    init(bits: UInt64) { self.bits = bits }

    var epoch: UInt64 { bits >> 32 }
    /// `nil`: it is no probe.
    var batch: UInt64? { bits & 1 == 1 ? (bits & 0xffff_ffff) >> 1 : nil }
  }

  private struct Ratio: Sendable {
    let ratio: Double
    let least: Int
    let window: ShardedWindow
    let rule: BreakerRule
  }

  private struct Changing {
    var machine: BreakerMachine?
    var reason = ""
  }

  let rules: [BreakerRule]
  let rest: Duration
  let longestRest: Duration
  let probes: Int
  private let statuses: ClosedRange<Int>
  private let consecutive: Int
  private let failureRatio: Ratio?
  private let slowRatio: Ratio?
  private let slowLimit: UInt64

  private let isClosed = Atomic<Bool>(true)
  /// Of the machine; read by who passes while it is closed.
  private let epoch = Atomic<UInt64>(0)
  private let streak = Atomic<Int>(0)
  private let changing = Mutex(Changing())
  private let refused = Atomic<Int>(0)
  private let openings = Atomic<Int>(0)

  init(_ rules: [BreakerRule], statuses: ClosedRange<Int>, rest: Duration, longestRest: Duration, probes: Int) {
    self.rules = rules
    self.statuses = statuses
    self.rest = rest
    self.longestRest = longestRest
    self.probes = probes
    var consecutive = Int.max
    var failureRatio: Ratio?
    var slowRatio: Ratio?
    var slowLimit = UInt64.max
    for rule in rules {
      switch rule.kind {
      case .consecutive(let count): consecutive = min(consecutive, count)
      case .failures(let ratio, let least, let window):
        failureRatio = Ratio(ratio: ratio, least: least, window: ShardedWindow(window), rule: rule)
      case .slow(let limit, let ratio, let least, let window):
        slowRatio = Ratio(ratio: ratio, least: least, window: ShardedWindow(window), rule: rule)
        slowLimit = UInt64(max(0, limit.nanosecondsClamped))
      }
    }
    self.consecutive = consecutive
    self.failureRatio = failureRatio
    self.slowRatio = slowRatio
    self.slowLimit = slowLimit
  }

  // MARK: In and out

  func enter(_ exchange: Exchange) throws -> Token {
    if isClosed.load(ordering: .acquiring) { return Token(epoch: epoch.load(ordering: .relaxed)) }
    let now = exchange.now
    let (admission, change, epoch, reason) = changing.withLock { state in
      var machine = state.machine ?? newMachine(now)
      let (admission, change) = machine.enter(now: now)
      state.machine = machine
      return (admission, change, machine.epoch, state.reason)
    }
    if let change { tell(change, reason, on: exchange) }
    switch admission {
    case .passes: return Token(epoch: epoch)
    case .probe(let batch): return Token(epoch: epoch, batch: batch)
    case .refused(let wait):
      refused.add(1, ordering: .relaxed)
      // Nothing below would answer otherwise within a moment: who stands above must not ask again at once.
      throw Rejection(.overloaded, retry: .pointless, retryAfter: wait, detail: "the circuit is open: \(reason)")
    }
  }

  /// A good answer is known here, long before the exchange is over. One with a status that counts as a failure is looked at
  /// in the end: a retry below may yet bring a better one.
  func upstreamAnswered(_ exchange: Exchange, since start: Instant, token: UInt64) -> Bool {
    if hasFailed(exchange) { return false }
    let took = UInt64(max(0, (exchange.now - start).nanosecondsClamped))
    succeeded(exchange, Token(bits: token), isSlow: took > slowLimit)
    return true
  }

  /// - Parameters:
  ///   - hasAnswered: whether a good answer was noted.
  ///   - start: when it entered.
  func left(_ exchange: Exchange, _ token: Token, since start: Instant, hasAnswered: Bool, error: (any Error)?) {
    let isFault = error.map { exchange.isFaultOfUpstream($0) } ?? false
    if hasAnswered {
      // It broke off in the middle.
      if isFault, token.batch == nil { failed(exchange, token) }
      return
    }
    let isOfThisPass = exchange.upstreamAnsweredAt.map { $0 >= start } ?? false
    if isFault || isOfThisPass && hasFailed(exchange) { return failed(exchange, token) }
    if let batch = token.batch { probeEnded(.nothing, token, batch, exchange) }
  }

  private func hasFailed(_ exchange: Exchange) -> Bool {
    guard let http = exchange as? HTTPExchange, let status = http.upstreamStatus else { return false }
    return statuses.contains(status)
  }

  // MARK: Outcomes

  private func succeeded(_ exchange: Exchange, _ token: Token, isSlow: Bool) {
    if let batch = token.batch { return probeEnded(isSlow ? .failure : .success, token, batch, exchange) }
    guard isClosed.load(ordering: .acquiring), isOfThisEpoch(token) else { return }
    if consecutive != .max, streak.load(ordering: .relaxed) != 0 { streak.store(0, ordering: .relaxed) }
    let (shard, now) = (exchange.shard, exchange.now.nanoseconds)
    failureRatio?.window.add(on: shard, now: now, epoch: token.epoch)
    guard let slowRatio else { return }
    slowRatio.window.add(marked: isSlow, on: shard, now: now, epoch: token.epoch)
    if isSlow, let reason = exceeded(slowRatio, now, token, "answered too slowly") { trip(reason, token, exchange) }
  }

  private func failed(_ exchange: Exchange, _ token: Token) {
    if let batch = token.batch { return probeEnded(.failure, token, batch, exchange) }
    guard isClosed.load(ordering: .acquiring), isOfThisEpoch(token) else { return }
    let now = exchange.now.nanoseconds
    failureRatio?.window.add(marked: true, on: exchange.shard, now: now, epoch: token.epoch)
    if consecutive != .max {
      let row = streak.add(1, ordering: .relaxed).newValue
      if row >= consecutive { return trip("\(row) failures in a row", token, exchange) }
    }
    if let failureRatio, let reason = exceeded(failureRatio, now, token, "failed") { trip(reason, token, exchange) }
  }

  private func isOfThisEpoch(_ token: Token) -> Bool {
    token.epoch == epoch.load(ordering: .relaxed) & 0xffff_ffff
  }

  private func exceeded(_ ratio: Ratio, _ now: UInt64, _ token: Token, _ what: String) -> String? {
    let counts = ratio.window.counts(now: now, epoch: token.epoch)
    guard counts.all >= ratio.least, Double(counts.marked) >= Double(counts.all) * ratio.ratio else { return nil }
    return "\(counts.marked) of \(counts.all) \(what)"
  }

  // MARK: Changes

  private func newMachine(_ now: Instant) -> BreakerMachine {
    BreakerMachine(rest: rest, longestRest: longestRest, probes: probes, now: now)
  }

  private func trip(_ reason: String, _ token: Token, _ exchange: Exchange) {
    let now = exchange.now
    let change = changing.withLock { state -> BreakerMachine.Change? in
      var machine = state.machine ?? newMachine(now)
      let change = machine.trip(epoch: token.epoch, now: now)
      state.machine = machine
      guard change != nil else { return nil }
      state.reason = reason
      publish(machine)
      return change
    }
    if let change { tell(change, reason, on: exchange) }
  }

  private func probeEnded(
    _ verdict: BreakerMachine.Verdict, _ token: Token, _ batch: UInt64, _ exchange: Exchange
  ) {
    let now = exchange.now
    let (change, reason) = changing.withLock { state -> (BreakerMachine.Change?, String) in
      guard var machine = state.machine else { return (nil, "") }
      let change = machine.probeEnded(verdict, epoch: token.epoch, batch: batch, now: now)
      state.machine = machine
      if change != nil {
        state.reason = machine.phase == .closed ? "" : "a probe failed"
        publish(machine)
      }
      return (change, state.reason)
    }
    if let change { tell(change, reason, on: exchange) }
  }

  /// Under the lock: what who passes without one looks at.
  private func publish(_ machine: BreakerMachine) {
    epoch.store(machine.epoch, ordering: .relaxed)
    streak.store(0, ordering: .relaxed)
    isClosed.store(machine.phase == .closed, ordering: .releasing)
  }

  private func tell(_ change: BreakerMachine.Change, _ reason: String, on exchange: Exchange) {
    let name = exchange.listener.name
    switch change {
    case .opened(let rest):
      openings.add(1, ordering: .relaxed)
      exchange.runtime.log(.warning, "\(name): circuit-breaker: open for \(rest): \(reason)")
    case .halfOpened:
      exchange.runtime.log(.notice, "\(name): circuit-breaker: half open: \(probes) probes are let through")
    case .closed: exchange.runtime.log(.notice, "\(name): circuit-breaker: closed: \(probes) probes succeeded")
    }
  }

  var report: BreakerReport {
    let (phase, since, reason) = changing.withLock { ($0.machine?.phase ?? .closed, $0.machine?.since, $0.reason) }
    let state: BreakerReport.State =
      switch phase {
      case .closed: .closed
      case .open: .open
      case .halfOpen: .halfOpen
      }
    return BreakerReport(
      state: state, since: since, reason: reason, openings: openings.load(ordering: .relaxed),
      refused: refused.load(ordering: .relaxed))
  }
}

/// How a ``CircuitBreaker`` stands.
public struct BreakerReport: Hashable, Sendable {
  public enum State: String, Hashable, Sendable, CaseIterable {
    case closed, open
    case halfOpen = "half open"
  }

  public let state: State
  /// `nil`: it was never open.
  public let since: Instant?
  /// Why it opened; "" while it is closed.
  public let reason: String
  /// How often it has opened.
  public let openings: Int
  /// Exchanges that it has refused.
  public let refused: Int
}
