internal import Pipeline
internal import Synchronization

/// The time of an exchange, by both clocks.
struct QuotaMoment {
  let time: UnixTime
  let now: Instant
}

/// Rows that have something for the ledger.
final class DirtyQuotas: Sendable {
  private let rows = Mutex<[QuotaRow]>([])

  func append(_ row: QuotaRow) { rows.withLock { $0.append(row) } }

  func take(_ limit: Int) -> [QuotaRow] {
    rows.withLock { rows in
      let taken = Array(rows.suffix(limit))
      rows.removeLast(taken.count)
      return taken
    }
  }

  var isEmpty: Bool { rows.withLock { $0.isEmpty } }
}

/// What one account has used of all quotas of a store, and what an operator has said of it. Whoever serves the account keeps
/// the row: nothing is looked up for an exchange.
final class QuotaRow: Sendable {
  /// One quota of the account.
  struct Entry {
    var counter: QuotaCounter
    /// Tokens of a shared cache that this process has taken and not used.
    var tokens = QuotaTokens()
    /// Live exchanges that borrow.
    var borrowers = 0
    /// At what rate the account goes on when it has used up its quota.
    var bucket: ByteBucket?
  }

  struct State {
    /// By the number that the store has given to the quota.
    var entries: [Entry?] = []
    var isBlocked = false
    var plan: String?
    var isDirty = false
    /// What an operator has said is not written yet.
    var isStateDirty = false
    var isRemoved = false
  }

  let account: UsageAccount
  let book: CalendarBook
  /// `nil`: there is no ledger.
  private let dirty: DirtyQuotas?
  /// `nil`: there is no shared cache.
  private let tokens: TokenList?
  let state = Mutex(State())

  init(_ account: UsageAccount, _ book: CalendarBook, _ dirty: DirtyQuotas?, _ tokens: TokenList?) {
    self.account = account
    self.book = book
    self.dirty = dirty
    self.tokens = tokens
  }

  /// Works on one quota of the account, brought to the time.
  ///
  /// - Returns: `nil` where the row is no longer its account's.
  func work<Result: Sendable>(
    on quota: PlacedQuota, at time: UnixTime, _ body: (inout Entry, borrowing State) -> Result
  ) -> Result? {
    state.withLock { state -> Result? in
      if state.isRemoved { return nil }
      while state.entries.count <= quota.slot { state.entries.append(nil) }
      // Taken out, so that the rest of the state can be read meanwhile; the array keeps its place.
      var entry = state.entries[quota.slot] ?? Entry(counter: QuotaCounter(quota.window, at: time, book))
      state.entries[quota.slot] = nil
      if entry.counter.move(to: time, quota.window, book) { entry.tokens.windowEnded() }
      let before = entry.counter.consumed
      let result = body(&entry, state)
      if entry.counter.consumed != before, quota.isKept { noteDirty(&state) }
      if quota.isShared { list(&entry, quota) }
      state.entries[quota.slot] = entry
      return result
    }
  }

  /// Gives back what was counted under that stamp, where its time still counts and nothing was reset since.
  func giveBack(_ amount: Int, _ quota: PlacedQuota, _ stamp: QuotaStamp) {
    state.withLock { state in
      guard var entry = state.entries[quota.slot], entry.counter.resets == stamp.resets else { return }
      entry.counter.giveBack(amount, from: stamp.window)
      if quota.isShared, entry.counter.stamp == stamp.window {
        // The next one here takes it, or it goes back to all.
        entry.tokens.count += amount
        list(&entry, quota)
      }
      state.entries[quota.slot] = entry
      if quota.isKept { noteDirty(&state) }
    }
  }

  /// What is held has to be handed back some day.
  private func list(_ entry: inout Entry, _ quota: PlacedQuota) {
    guard let tokens, entry.tokens.count != 0, !entry.tokens.isListed else { return }
    entry.tokens.isListed = true
    tokens.add(TokenList.Holder(row: self, quota: quota))
  }

  private func noteDirty(_ state: inout State) {
    guard let dirty, !state.isDirty else { return }
    state.isDirty = true
    dirty.append(self)
  }

  // MARK: What an operator says

  /// False: the row is no longer its account's. So do those below.
  func set(_ change: (inout State) -> Void) -> Bool {
    state.withLock { state in
      if state.isRemoved { return false }
      change(&state)
      state.isStateDirty = true
      noteDirty(&state)
      return true
    }
  }

  /// Everything that was used is free again. Connections that are open stay open, and count.
  func reset(_ quotas: [PlacedQuota]) -> Bool {
    state.withLock { state in
      if state.isRemoved { return false }
      for quota in quotas where quota.metric != .connections && quota.slot < state.entries.count {
        state.entries[quota.slot]?.counter.reset()
        state.entries[quota.slot]?.tokens.windowEnded()
      }
      noteDirty(&state)
      return true
    }
  }

  // MARK: The ledger

  func collect(_ quotas: [PlacedQuota], into batch: inout LedgerBatch) {
    state.withLock { state in
      state.isDirty = false
      for quota in quotas where quota.isKept && quota.slot < state.entries.count {
        state.entries[quota.slot]?.counter.collect(quota.name, account, quota.window, into: &batch.counters)
      }
      if state.isStateDirty {
        state.isStateDirty = false
        batch.states.append(LedgerState(account: account, isBlocked: state.isBlocked, plan: state.plan))
      }
    }
  }

  func restore(_ counter: LedgerCounter, _ quota: PlacedQuota, at time: UnixTime) -> Bool {
    state.withLock { state in
      if state.isRemoved { return false }
      while state.entries.count <= quota.slot { state.entries.append(nil) }
      var entry = state.entries[quota.slot] ?? Entry(counter: QuotaCounter(quota.window, at: time, book))
      entry.counter.move(to: time, quota.window, book)
      if entry.counter.restore(counter, quota.window) { entry.tokens.restored += counter.used }
      state.entries[quota.slot] = entry
      return true
    }
  }

  func restore(_ known: LedgerState) -> Bool {
    state.withLock { state in
      if state.isRemoved { return false }
      // What an operator has said since the start is newer.
      if state.isStateDirty { return true }
      state.isBlocked = known.isBlocked
      state.plan = known.plan
      return true
    }
  }

  /// Where nothing is to be remembered of the account, the row is no longer used.
  func removeIfIdle(_ quotas: [PlacedQuota], at time: UnixTime) -> Bool {
    state.withLock { state in
      if state.isRemoved || state.isBlocked || state.plan != nil || state.isDirty { return false }
      for quota in quotas where quota.slot < state.entries.count {
        state.entries[quota.slot]?.counter.move(to: time, quota.window, book)
        guard let entry = state.entries[quota.slot] else { continue }
        if entry.counter.used != 0 || entry.borrowers > 0 || entry.tokens.isHeld { return false }
      }
      state.isRemoved = true
      return true
    }
  }
}

/// A quota as a store counts it.
struct PlacedQuota: Sendable {
  let slot: Int
  let metric: Quota.Metric
  let window: QuotaWindow
  let name: String
  var usual: QuotaAmount
  var plans: [String: QuotaAmount]

  /// Counted together with other processes.
  var isShared = false

  /// Connections that are open now end with the process, and are not written.
  var isKept: Bool { metric != .connections }

  func limit(_ plan: String?, own: QuotaAmount?) -> Int {
    if let plan, let amount = plans[plan] { return amount.units }
    return (own ?? usual).units
  }
}
