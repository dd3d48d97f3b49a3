public import Pipeline
internal import Synchronization

/// Usage of all accounts, in memory; with a ``LedgerWriter`` also behind it, in a database.
///
/// ```swift
/// let usage = MemoryUsageStore(zone: .utc, writer: LedgerWriter(ledger, every: .seconds(1)))
/// ```
/// An account is a row with a lock of its own, and whoever counts for it keeps the row, so that an exchange costs no look-up and
/// no allocation. Bounded: identities beyond `maxAccounts` are counted together under ``UsageAccount/others``, so that the global
/// totals stay right. With a writer the totals here go on from what the ledger knew of accounts with a window that is open; what
/// it knows of others, it tells.
public final class MemoryUsageStore: Sendable {
  private final class Shard: Sendable {
    let rows = Mutex<[UsageAccount: UsageRow]>([:])
    /// Rows that have something to write.
    let dirty = Mutex<[UsageRow]>([])
  }

  private static let shardCount = 32
  /// Accounts that everybody shares, and the sum over all, are counted by each loop in a row of its own.
  private static let stripeCount = 16

  private let shards = (0..<shardCount).map { _ in Shard() }
  private let anonymous: [UsageRow]
  private let unauthenticated: [UsageRow]
  private let others: [UsageRow]
  private let sums: [UsageRow]
  private let maxAccounts: Int
  private let count = Atomic<Int>(0)
  private let clock: CoarseWallClock
  private let book: CalendarBook
  let writer: LedgerWriter?

  /// - Parameters:
  ///   - zone: in which days and months begin.
  ///   - writer: writes what is counted to a ledger; ``UsageTracking`` runs it.
  ///   - maxAccounts: identities that are told apart, 1 or more; about 1 KB each.
  ///   - clock: for windows, first and last seen.
  public init(
    zone: CalendarZone = .utc, writer: LedgerWriter? = nil, maxAccounts: Int = 100_000, clock: WallClock = .system
  ) {
    precondition(maxAccounts >= 1, "a usage store keeps 1 or more accounts, got \(maxAccounts)")
    self.maxAccounts = maxAccounts
    self.writer = writer
    self.clock = CoarseWallClock(clock)
    let book = CalendarBook(zone)
    self.book = book
    let now = clock.now
    func rows(_ account: UsageAccount, isKept: Bool) -> [UsageRow] {
      (0..<Self.stripeCount).map { _ in UsageRow(account, book, at: now, isKept: isKept) }
    }
    anonymous = rows(.anonymous, isKept: writer != nil)
    unauthenticated = rows(.unauthenticated, isKept: writer != nil)
    others = rows(.others, isKept: writer != nil)
    // The ledger keeps its own sum.
    sums = rows(.others, isKept: false)
    writer?.register(self)
  }

  /// The zone in which days and months begin.
  public var zone: CalendarZone { book.zone }

  // MARK: Counting

  /// Adds a change to an account. Negative numbers take back what was recorded before.
  public func record(_ change: UsageChange, for account: UsageAccount, at time: UnixTime) {
    while true {
      if record(change, in: row(of: account, shard: 0, at: time), shard: 0, at: time) { return }
    }
  }

  /// False: the row is no longer its account's, and nothing has been recorded.
  func record(_ change: UsageChange, in row: UsageRow, shard: Int, at time: UnixTime) -> Bool {
    switch row.record(change, at: time) {
    case .removed: return false
    case .done: break
    case .nowDirty: self.shard(of: row.account).dirty.withLock { $0.append(row) }
    }
    // Sums are not removed and not written.
    _ = sums[shard & (Self.stripeCount - 1)].record(change, at: time)
    if change.requests < 0 { removeIfEmpty(row) }
    return true
  }

  func time(at now: Instant) -> UnixTime { clock.time(at: now) }

  /// The row of an account; of ``UsageAccount/others`` where there is no room for one more.
  func row(of account: UsageAccount, shard: Int, at time: UnixTime) -> UsageRow {
    if let stripes = stripes(of: account) { return stripes[shard & (Self.stripeCount - 1)] }
    let found = self.shard(of: account).rows.withLock { rows -> UsageRow? in
      if let row = rows[account] { return row }
      guard count.add(1, ordering: .relaxed).newValue <= maxAccounts else {
        count.subtract(1, ordering: .relaxed)
        return nil
      }
      let row = UsageRow(account, book, at: time, isKept: writer != nil)
      rows[account] = row
      return row
    }
    return found ?? others[shard & (Self.stripeCount - 1)]
  }

  private func stripes(of account: UsageAccount) -> [UsageRow]? {
    switch account {
    case .identity: nil
    case .anonymous: anonymous
    case .unauthenticated: unauthenticated
    case .others: others
    }
  }

  private func removeIfEmpty(_ row: UsageRow) {
    guard case .identity = row.account else { return }
    shard(of: row.account).rows.withLock { rows in
      guard rows[row.account] === row, row.removeIfEmpty() else { return }
      rows[row.account] = nil
      count.subtract(1, ordering: .relaxed)
    }
  }

  private func shard(of account: UsageAccount) -> Shard {
    shards[Int(UInt(bitPattern: account.hashValue) % UInt(Self.shardCount))]
  }

  // MARK: Reading

  /// The sum over all accounts; `nil` when nothing was recorded.
  public func global() -> UsageTotals? { Self.totals(sums) }

  /// One account; `nil` when it is not known.
  public func totals(of account: UsageAccount) -> UsageTotals? { Self.totals(rows(of: account)) }

  /// All accounts, each as of one moment between call and return. Copies them: for reports, not for every request.
  public func accounts() -> [UsageAccount: UsageTotals] {
    var all: [UsageAccount: UsageTotals] = [:]
    for rows in [anonymous, unauthenticated, others] { all[rows[0].account] = Self.totals(rows) }
    for shard in shards {
      for row in shard.rows.withLock({ Array($0.values) }) { all[row.account] = row.totals }
    }
    return all
  }

  /// One account with its windows; `nil` when it is not known.
  public func report(of account: UsageAccount) -> UsageReport? { report(rows(of: account)) }

  /// The sum over all accounts, with its windows, under the name of ``UsageAccount/others``.
  public func globalReport() -> UsageReport? { report(sums) }

  private func rows(of account: UsageAccount) -> [UsageRow] {
    if let stripes = stripes(of: account) { return stripes }
    return shard(of: account).rows.withLock { $0[account] }.map { [$0] } ?? []
  }

  private func report(_ rows: [UsageRow]) -> UsageReport? {
    let now = clock.now
    var whole: UsageReport?
    for row in rows {
      guard let part = row.report(at: now) else { continue }
      if whole == nil { whole = part } else { whole?.add(part) }
    }
    return whole
  }

  private static func totals(_ rows: [UsageRow]) -> UsageTotals? {
    var whole: UsageTotals?
    for row in rows {
      guard let part = row.totals else { continue }
      guard var sum = whole else {
        whole = part
        continue
      }
      sum.add(part.usage, at: part.lastSeen)
      sum.firstSeen = min(sum.firstSeen, part.firstSeen)
      whole = sum
    }
    return whole
  }
}

extension MemoryUsageStore: LedgerSource {
  public func collect(into batch: inout LedgerBatch, limit: Int) -> Bool {
    var left = limit
    for shard in shards {
      let rows = shard.dirty.withLock { dirty -> [UsageRow] in
        let taken = Array(dirty.suffix(left))
        dirty.removeLast(taken.count)
        return taken
      }
      for row in rows {
        if let usage = row.collect() { batch.usage.append(usage) }
      }
      left -= rows.count
      if left == 0 { break }
    }
    return left == 0 && shards.contains { !$0.dirty.withLock { $0.isEmpty } }
  }

  public func restore(_ row: LedgerRow) {
    switch row {
    case .usage(let usage):
      let own = self.row(of: usage.account, shard: 0, at: clock.now)
      // Where there was no room it stays in the ledger alone: `others` have not used it.
      if own.account == usage.account { own.restore(usage) }
    case .global(let usage): sums[0].restore(usage)
    case .state, .counter: break
    }
  }
}
