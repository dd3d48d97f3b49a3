public import Pipeline
internal import Synchronization

/// What accounts have used of their quotas, in memory; behind it a ledger that lasts, where there is a writer. Several quotas
/// and several listeners share one store, and an operator talks to it.
///
/// ```swift
/// let quotas = QuotaStore(zone: .utc, writer: writer)
/// UsageQuota(.requests(100, per: .day), per: .identity, in: quotas)
/// quotas.block(.identity(Principal("ada")))
/// ```
/// A known account costs an exchange one short lock of its own, no look-up and no allocation. With a writer, what the ledger
/// knows is loaded before anything is counted, so that a restart resets no quota.
public final class QuotaStore: Sendable {
  private final class Shard: Sendable {
    let rows = Mutex<[UsageAccount: QuotaRow]>([:])
    let dirty = DirtyQuotas()
  }

  private static let shardCount = 32
  /// Quotas of one store: a set of them fits into a word.
  private static let maxQuotas = 64

  private let shards = (0..<shardCount).map { _ in Shard() }
  private let placed = Mutex<[PlacedQuota]>([])
  private let maxAccounts: Int
  private let count = Atomic<Int>(0)
  private let turnedAwayCount = Atomic<Int>(0)
  private let clock: CoarseWallClock
  private let isOpen: Atomic<Bool>
  let book: CalendarBook
  let writer: LedgerWriter?
  let cache: (any Cache)?
  let whenCacheFails: QuotaFallback
  let tokens = TokenList()
  private let shared = SharedRun()

  /// - Parameters:
  ///   - zone: in which days and months begin; the same in all processes that share a cache.
  ///   - cache: in which several processes count together; `nil`: each counts its own. The quota runs it.
  ///   - whenCacheFails: what happens while it cannot be asked.
  ///   - writer: loads what was used before, and writes what is used; ``UsageQuota`` runs it. Exchanges wait until it has loaded.
  ///   - maxAccounts: accounts with something used in an open window, 1 or more; one more is refused as `overloaded`.
  ///   - clock: for windows.
  public init(
    zone: CalendarZone = .utc, cache: (any Cache)? = nil, writer: LedgerWriter? = nil,
    whenCacheFails: QuotaFallback = .countAlone, maxAccounts: Int = 100_000, clock: WallClock = .system
  ) {
    precondition(maxAccounts >= 1, "a store of quotas keeps 1 or more accounts, got \(maxAccounts)")
    self.maxAccounts = maxAccounts
    self.writer = writer
    self.cache = cache
    self.whenCacheFails = whenCacheFails
    self.clock = CoarseWallClock(clock)
    book = CalendarBook(zone)
    isOpen = Atomic(writer == nil)
    writer?.register(self)
  }

  /// The zone in which days and months begin.
  public var zone: CalendarZone { book.zone }

  /// Accounts that found no room.
  var turnedAway: Int { turnedAwayCount.load(ordering: .relaxed) }

  /// Accounts that are kept now. For gauges and tests.
  public var accountCount: Int { count.load(ordering: .relaxed) }

  // MARK: For the quotas

  /// The place of a quota; `nil`: there is another one of this name, which counts something else, or there are too many.
  func place(_ quota: Quota, _ plans: [String: QuotaAmount]) -> PlacedQuota? {
    placed.withLock { placed in
      if let index = placed.firstIndex(where: { $0.name == quota.name }) {
        guard placed[index].metric == quota.metric, placed[index].window == quota.window else { return nil }
        placed[index].usual = quota.limit
        placed[index].plans.merge(plans) { $1 }
        var own = placed[index]
        own.plans = plans
        return own
      }
      guard placed.count < Self.maxQuotas else { return nil }
      var new = PlacedQuota(
        slot: placed.count, metric: quota.metric, window: quota.window, name: quota.name, usual: quota.limit,
        plans: plans)
      new.isShared = cache != nil && quota.metric != .connections
      placed.append(new)
      return new
    }
  }

  func moment(of exchange: Exchange) -> QuotaMoment {
    QuotaMoment(time: clock.time(at: exchange.now), now: exchange.now)
  }

  func time(at now: Instant) -> UnixTime { clock.time(at: now) }

  var isReady: Bool { isOpen.load(ordering: .relaxed) }

  /// Until what was used before is known.
  ///
  /// - Throws: what ends a wait of the exchange.
  func ready(_ exchange: Exchange) async throws {
    if let writer { try await exchange.runtime.wait(for: writer.ready) }
    isOpen.store(true, ordering: .relaxed)
  }

  /// The row of an account; `nil`: there is no room for one more.
  func row(of account: UsageAccount, at time: UnixTime) -> QuotaRow? {
    if let row = find(account, makeRoom: true) { return row }
    sweep(at: time)
    if let row = find(account, makeRoom: true) { return row }
    turnedAwayCount.add(1, ordering: .relaxed)
    return nil
  }

  private func find(_ account: UsageAccount, makeRoom: Bool) -> QuotaRow? {
    let shard = shard(of: account)
    return shard.rows.withLock { rows -> QuotaRow? in
      if let row = rows[account] { return row }
      guard makeRoom, count.add(1, ordering: .relaxed).newValue <= maxAccounts else {
        if makeRoom { count.subtract(1, ordering: .relaxed) }
        return nil
      }
      return add(account, &rows, shard)
    }
  }

  private func add(_ account: UsageAccount, _ rows: inout [UsageAccount: QuotaRow], _ shard: Shard) -> QuotaRow {
    let row = QuotaRow(account, book, writer == nil ? nil : shard.dirty, cache == nil ? nil : tokens)
    rows[account] = row
    return row
  }

  /// What an operator says, and what the ledger knew, finds room.
  private func keep(_ account: UsageAccount) -> QuotaRow {
    let shard = shard(of: account)
    return shard.rows.withLock { rows in
      if let row = rows[account] { return row }
      count.add(1, ordering: .relaxed)
      return add(account, &rows, shard)
    }
  }

  private func shard(of account: UsageAccount) -> Shard {
    shards[Int(UInt(bitPattern: account.hashValue) % UInt(Self.shardCount))]
  }

  /// Forgets the accounts that have used nothing in a window that is open.
  func sweep(at time: UnixTime) {
    let quotas = placed.withLock { $0 }
    for shard in shards {
      shard.rows.withLock { rows in
        let before = rows.count
        rows = rows.filter { !$0.value.removeIfIdle(quotas, at: time) }
        count.subtract(before - rows.count, ordering: .relaxed)
      }
    }
  }

  // MARK: For an operator

  /// Refuses an account from now on, whatever it has left: HTTP 403, SOCKS5 reply 2, a closed TCP connection. What it has open is
  /// ended as soon as it moves anything, within a second.
  public func block(_ account: UsageAccount) { set(account) { $0.isBlocked = true } }

  /// Ends what ``block(_:)`` said. A quota that is used up stays so.
  public func unblock(_ account: UsageAccount) { set(account) { $0.isBlocked = false } }

  /// Gives an account a plan by name; `nil`: the usual limits. A quota that has no plan of this name keeps its usual limit.
  public func setPlan(_ plan: String?, of account: UsageAccount) { set(account) { $0.plan = plan } }

  private func set(_ account: UsageAccount, _ change: (inout QuotaRow.State) -> Void) {
    // A row that has just been forgotten is found anew.
    while !keep(account).set(change) {}
  }

  /// All that an account has used in the open windows is free again, also for those who share the cache.
  ///
  /// - Throws: ``CacheError`` where the cache could not be told: then it is free here only.
  public func reset(_ account: UsageAccount) async throws {
    let quotas = placed.withLock { $0 }
    var row = keep(account)
    while !row.reset(quotas) { row = keep(account) }
    guard let cache else { return }
    for quota in quotas where quota.isShared {
      // It keeps the time that it has: what is counted from now on lasts to the end of the window.
      guard let counter = row.work(on: quota, at: clock.now, { entry, _ in entry.counter }) else { continue }
      let all = CacheTake(
        key(of: account, quota, counter.stamp), cost: -(1 << 53 - 1), limit: 0, lifetime: .fromCreation(.seconds(60)))
      _ = try await cache.take([all], on: nil)
    }
  }

  /// How an account stands; `nil`: it has used nothing in an open window, and nobody has said anything of it.
  public func report(of account: UsageAccount) -> QuotaReport? {
    find(account, makeRoom: false).map { $0.report(placed.withLock { $0 }, at: clock.now) }
  }

  /// The accounts that are known, in no order.
  public func accounts() -> [UsageAccount] { shards.flatMap { $0.rows.withLock { Array($0.keys) } } }

  /// The names of plans that some quota has, in alphabetic order.
  public var plans: [String] { Set(placed.withLock { $0 }.flatMap(\.plans.keys)).sorted() }

  // MARK: In the background

  /// Writes to the ledger, hands tokens back and forgets idle accounts, until cancelled. Every ``UsageQuota`` runs it; one does.
  func run(_ services: any BackgroundServices) async throws {
    try await shared.run {
      try await withThrowingDiscardingTaskGroup { group in
        if let writer { group.addTask { try await writer.run(services) } }
        if let cache { group.addTask { try await self.share(cache, services) } }
        group.addTask { try await self.sweepAll(services) }
      }
    }
  }

  private func sweepAll(_ services: any BackgroundServices) async throws {
    var reported = turnedAway
    while true {
      try await services.sleep(for: .seconds(60))
      sweep(at: clock.now)
      let turnedAway = turnedAway
      if turnedAway > reported {
        services.log(
          .warning,
          "quotas: no room for a new account \(turnedAway - reported) times, \(accountCount) in use: raise maxAccounts")
        reported = turnedAway
      }
    }
  }
}

extension QuotaStore: LedgerSource {
  public func collect(into batch: inout LedgerBatch, limit: Int) -> Bool {
    let quotas = placed.withLock { $0 }
    let before = batch.count
    for shard in shards {
      while batch.count - before < limit {
        let rows = shard.dirty.take(limit - (batch.count - before))
        if rows.isEmpty { break }
        for row in rows { row.collect(quotas, into: &batch) }
      }
    }
    return shards.contains { !$0.dirty.isEmpty }
  }

  public func restore(_ row: LedgerRow) {
    switch row {
    case .state(let state): while !keep(state.account).restore(state) {}
    case .counter(let counter):
      guard let quota = placed.withLock({ $0.first { $0.name == counter.name } }), quota.isKept else { return }
      while !keep(counter.account).restore(counter, quota, at: clock.now) {}
    case .usage, .global: break
    }
  }
}

/// What a ``QuotaStore`` does while its cache cannot be asked.
public enum QuotaFallback: Sendable, Hashable {
  /// Each process goes on by what it knows: of what was left when it asked last, each may use all. What is used meanwhile is told to
  /// the cache when it is back.
  case countAlone
  /// Nobody gets in: HTTP 503, SOCKS5 reply 1, a reset.
  case refuse
}
