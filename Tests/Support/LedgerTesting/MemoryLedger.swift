public import Middlewares
public import Pipeline
internal import Synchronization

/// A ledger in memory that fails when it is told to.
public final class MemoryLedger: UsageLedger {
  /// What becomes of one call of ``add(_:)`` or ``load(at:each:)``.
  public enum Fate: Sendable, Hashable {
    case works
    /// Fails, and nothing was done.
    case fails
    /// Does it, and then the answer is lost. A load breaks off after its first row.
    case losesAnswer
    /// Fails in a way that trying again does not help.
    case rejects
  }

  private struct Key: Hashable {
    let account: UsageAccount?
    let name: String
    let start: UnixTime
  }

  private struct Row {
    var usage: LedgerUsage?
    var windows: [LedgerWindow] = []
  }

  private struct State {
    var rows: [UsageAccount: Row] = [:]
    var global: Row?
    var counters: [Key: LedgerCounter] = [:]
    var states: [UsageAccount: LedgerState] = [:]
    var writers: [LedgerWriterID: UInt64] = [:]
    var fates: [Fate] = []
    var always: Fate = .works
    var batches: [LedgerBatch] = []
    var prunes = 0
    var isClosed = false

    mutating func fate() -> Fate { fates.isEmpty ? always : fates.removeFirst() }
  }

  private let state = Mutex(State())

  public init() {}

  public var name: String { "memory" }

  /// What the next calls come to, one after the other; then ``always``.
  public func script(_ fates: [Fate]) { state.withLock { $0.fates += fates } }

  /// What calls come to for which nothing is scripted.
  public var always: Fate {
    get { state.withLock { $0.always } }
    set { state.withLock { $0.always = newValue } }
  }

  /// Every batch that was handed over, repeated ones too.
  public var batches: [LedgerBatch] { state.withLock { $0.batches } }

  /// How often it was pruned.
  public var prunes: Int { state.withLock { $0.prunes } }

  public func add(_ batch: LedgerBatch) throws {
    try state.withLock { state in
      if state.isClosed { throw LedgerError.closed }
      state.batches.append(batch)
      let fate = state.fate()
      switch fate {
      case .fails: throw LedgerError.unavailable("scripted")
      case .rejects: throw LedgerError.rejected("scripted")
      case .works, .losesAnswer: break
      }
      if batch.sequence > state.writers[batch.writer] ?? 0 {
        state.writers[batch.writer] = batch.sequence
        Self.add(rowsOf: batch, to: &state)
      }
      if fate == .losesAnswer { throw LedgerError.unavailable("scripted, after the commit") }
    }
  }

  private static func add(rowsOf batch: LedgerBatch, to state: inout State) {
    for usage in batch.usage {
      Self.merge(usage, into: &state.rows[usage.account, default: Row()])
      var global = state.global ?? Row()
      Self.merge(usage, into: &global)
      state.global = global
    }
    for counter in batch.counters {
      let key = Key(account: counter.account, name: counter.name, start: counter.start)
      var sum = state.counters[key] ?? counter
      sum.used = (state.counters[key]?.used ?? 0) + counter.used
      sum.end = counter.end
      state.counters[key] = sum
      if state.rows[counter.account] == nil { state.rows[counter.account] = Row() }
    }
    for change in batch.states {
      state.states[change.account] = change.isBlocked || change.plan != nil ? change : nil
      if state.rows[change.account] == nil { state.rows[change.account] = Row() }
    }
  }

  private static func merge(_ usage: LedgerUsage, into row: inout Row) {
    if row.usage == nil {
      row.usage = LedgerUsage(
        account: usage.account, total: UsageChange(), firstSeen: usage.firstSeen, lastSeen: usage.lastSeen)
    }
    row.usage?.merge(usage)
  }

  public func load(at time: UnixTime, each: (LedgerRow) throws -> Void) throws {
    let (rows, fate) = try state.withLock { state -> ([LedgerRow], Fate) in
      if state.isClosed { throw LedgerError.closed }
      var rows = state.states.values.map { LedgerRow.state($0) }
      for counter in state.counters.values where counter.end.map({ $0 > time }) ?? true {
        rows.append(.counter(counter))
      }
      for row in state.rows.values {
        guard var usage = row.usage else { continue }
        usage.windows.removeAll { $0.end <= time }
        if !usage.windows.isEmpty { rows.append(.usage(usage)) }
      }
      if var usage = state.global?.usage {
        usage.account = .others
        usage.windows.removeAll { $0.end <= time }
        rows.append(.global(usage))
      }
      return (rows, state.fate())
    }
    switch fate {
    case .works: for row in rows { try each(row) }
    case .fails: throw LedgerError.unavailable("scripted")
    case .rejects: throw LedgerError.rejected("scripted")
    case .losesAnswer:
      for row in rows.prefix(1) { try each(row) }
      throw LedgerError.unavailable("scripted, after the first row")
    }
  }

  public func account(_ account: UsageAccount, at time: UnixTime) throws -> LedgerAccount? {
    try state.withLock { state in
      if state.isClosed { throw LedgerError.closed }
      return state.rows[account].map { Self.account(account, $0, state, time) }
    }
  }

  public func global(at time: UnixTime) throws -> LedgerAccount? {
    try state.withLock { state in
      if state.isClosed { throw LedgerError.closed }
      return state.global.map { Self.account(nil, $0, state, time) }
    }
  }

  public func accounts(after account: UsageAccount?, limit: Int, at time: UnixTime) throws -> [LedgerAccount] {
    try state.withLock { state in
      if state.isClosed { throw LedgerError.closed }
      return state.rows.sorted { $0.key.precedesInLedger($1.key) }
        .filter { row in account.map { $0.precedesInLedger(row.key) } ?? true }
        .prefix(limit).map { Self.account($0.key, $0.value, state, time) }
    }
  }

  /// - Parameter account: `nil`: the sum.
  private static func account(_ account: UsageAccount?, _ row: Row, _ state: State, _ time: UnixTime) -> LedgerAccount {
    let never = UnixTime(seconds: 0)
    let usage = row.usage
    let counters = state.counters.values.filter { $0.account == account && ($0.end.map { $0 > time } ?? true) }
    return LedgerAccount(
      account: account ?? .others,
      totals: UsageTotals(
        usage?.total ?? UsageChange(), firstSeen: usage?.firstSeen ?? never, lastSeen: usage?.lastSeen ?? never),
      windows: (usage?.windows ?? []).filter { $0.end > time }
        .sorted { ($0.unit.ledgerCode, $0.start) < ($1.unit.ledgerCode, $1.start) },
      counters: counters.sorted { ($0.name, $0.start) < ($1.name, $1.start) },
      state: account.flatMap { state.states[$0] })
  }

  public func prune(_ retention: LedgerRetention, at time: UnixTime) throws {
    try state.withLock { state in
      if state.isClosed { throw LedgerError.closed }
      state.prunes += 1
      func forget(_ row: inout Row) {
        row.usage?.windows.removeAll { $0.end < retention.horizon($0.unit, at: time) }
      }
      for account in state.rows.keys { forget(&state.rows[account]!) }
      if var global = state.global {
        forget(&global)
        state.global = global
      }
      state.counters = state.counters.filter { $0.value.end.map { $0 >= retention.counterHorizon(at: time) } ?? true }
    }
  }

  public func close() { state.withLock { $0.isClosed = true } }
}
