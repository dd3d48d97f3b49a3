internal import Pipeline
internal import Synchronization

/// What a process holds of one counter of a shared cache. It is taken before it is used, so the shared count is never behind.
struct QuotaTokens {
  /// Taken, and not used. Less than zero: used, and not taken yet.
  var count = 0
  /// What the shared counter held when it was asked last.
  var seen = 0
  /// What the ledger knew, for a cache that has lost it.
  var restored = 0
  var isSeeded = false
  /// Somebody fetches more than it needs itself.
  var isFetching = false
  /// Somebody has been asked to fetch.
  var isOrdered = false
  /// Stands in the list of those that hold something.
  var isListed = false
  var usedAt = Instant(nanoseconds: 0)
  /// There was nothing left; it is not asked again before.
  var deniedUntil = Instant(nanoseconds: 0)
  /// The cache could not say; until then this process goes by what it knows.
  var aloneUntil = Instant(nanoseconds: 0)

  var isHeld: Bool { count != 0 || isFetching }

  /// The window has ended, and its tokens with it.
  mutating func windowEnded() {
    let old = self
    self = QuotaTokens()
    (isListed, isFetching, isOrdered, aloneUntil) = (old.isListed, old.isFetching, old.isOrdered, old.aloneUntil)
  }

  mutating func use(_ amount: Int, at now: Instant) {
    count -= amount
    usedAt = now
  }
}

/// Counters of which this process holds tokens, and those that need more.
final class TokenList: Sendable {
  struct Holder: Sendable {
    let row: QuotaRow
    let quota: PlacedQuota
  }

  struct Order: Sendable {
    let row: QuotaRow
    let quota: PlacedQuota
    let limit: Int
  }

  private struct State {
    var holders: [Holder] = []
    var orders: [Order] = []
    var bell: AsyncStream<Void>.Continuation?
  }

  private let state = Mutex(State())

  func add(_ holder: Holder) { state.withLock { $0.holders.append(holder) } }

  func takeHolders() -> [Holder] {
    state.withLock { state in
      defer { state.holders = [] }
      return state.holders
    }
  }

  /// A live exchange cannot wait for the cache: somebody else asks for it.
  func order(_ order: Order) {
    let bell = state.withLock { state in
      state.orders.append(order)
      return state.bell
    }
    bell?.yield()
  }

  func takeOrders() -> [Order] {
    state.withLock { state in
      defer { state.orders = [] }
      return state.orders
    }
  }

  /// Rings when there is an order.
  func listen() -> AsyncStream<Void> {
    let (rings, bell) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    state.withLock { $0.bell = bell }
    bell.yield()
    return rings
  }
}

extension QuotaDesk {
  /// Whether other processes count, too: what is unlimited asks nobody.
  func isShared(_ limit: Int) -> Bool { quota.isShared && limit < .max }

  /// What has been used, as far as is known here.
  func used(_ entry: QuotaRow.Entry) -> Int { entry.used(quota) }

  enum Find { case found, ask, nothing, unavailable }

  /// Whether so much is at hand.
  func find(_ entry: inout QuotaRow.Entry, _ amount: Int, _ limit: Int, _ now: Instant) -> Find {
    if entry.tokens.count >= amount { return .found }
    if now < entry.tokens.aloneUntil {
      if store.whenCacheFails == .refuse { return .unavailable }
      return left(entry, limit, now) >= amount ? .found : .nothing
    }
    return now < entry.tokens.deniedUntil ? .nothing : .ask
  }

  /// What can be lent now, without asking anybody.
  func left(_ entry: QuotaRow.Entry, _ limit: Int, _ now: Instant) -> Int {
    guard isShared(limit) else { return limit - entry.counter.used }
    if entry.tokens.count > 0 { return entry.tokens.count }
    guard now < entry.tokens.aloneUntil, store.whenCacheFails == .countAlone else { return 0 }
    return max(0, limit - entry.used(quota))
  }

  func hasAnswer(_ entry: QuotaRow.Entry, _ now: Instant) -> Bool {
    now < entry.tokens.deniedUntil || now < entry.tokens.aloneUntil
  }

  func consume(_ amount: Int, _ entry: inout QuotaRow.Entry, _ limit: Int, _ now: Instant) {
    entry.counter.consume(amount)
    if isShared(limit) { entry.tokens.use(amount, at: now) }
  }

  func lendOut(_ amount: Int, _ entry: inout QuotaRow.Entry, _ limit: Int, _ now: Instant) {
    entry.counter.lend(amount)
    if isShared(limit) { entry.tokens.use(amount, at: now) }
  }

  func takeBack(_ amount: Int, _ entry: inout QuotaRow.Entry, _ limit: Int, _ now: Instant) {
    entry.counter.settle(used: 0, unused: amount)
    if isShared(limit) { entry.tokens.count += amount }
  }

  /// Has more fetched, while the exchange goes on or rests.
  func order(_ row: QuotaRow, _ entry: inout QuotaRow.Entry, _ limit: Int, _ now: Instant) {
    if entry.tokens.isOrdered || hasAnswer(entry, now) { return }
    entry.tokens.isOrdered = true
    store.tokens.order(TokenList.Order(row: row, quota: quota, limit: limit))
  }

  /// Most that is taken from the shared counter at once: a part of what is left, so that near the limit it is one at a time and
  /// no process holds what another one needs.
  func batch(left: Int) -> Int {
    switch quota.metric {
    case .requests, .connections: min(64, left / 64)
    case .bytes: min(32 * 1024 * 1024, max(left / 16, 32 * 1024), max(1, left))
    case .time: min(60_000, max(left / 16, 100), max(1, left))
    }
  }
}

extension QuotaStore {
  /// How long tokens are held that nobody uses, how long "nothing left" is believed, and how long a cache that does not answer is
  /// left alone.
  static let holdFor = Duration.seconds(1)
  private static let denyFor = Duration.milliseconds(100)
  private static let aloneFor = Duration.seconds(1)

  /// What came of asking the cache.
  enum Fetched: Sendable {
    /// The cost is the caller's; what was taken beyond it is in the row.
    case granted
    case exhausted
    case unavailable
    /// Who asked has gone. What the cache may have given is not used: too little for the account, never too much.
    case abandoned
  }

  /// Takes `cost` from the shared counter for the caller, and some more for those after it.
  ///
  /// - Parameter least: it is of no use to take less.
  /// - Throws: what ends a wait of the exchange.
  func fetch(
    _ cost: Int, least: Int, _ row: QuotaRow, _ desk: QuotaDesk, limit: Int, on exchange: Exchange?,
    now clock: () -> Instant
  ) async throws -> Fetched {
    guard let cache else { return .unavailable }
    let quota = desk.quota
    let now = clock()
    let start = row.work(on: quota, at: time(at: now)) { entry, _ in
      let isFirst = !entry.tokens.isFetching
      entry.tokens.isFetching = true
      let debt = max(0, -entry.tokens.count)
      let seen = max(entry.tokens.seen, entry.tokens.restored)
      return Fetch(
        stamp: entry.counter.stamp, end: entry.counter.end, debt: debt, isFirst: isFirst,
        restored: entry.tokens.isSeeded ? 0 : entry.tokens.restored, left: limit - seen)
    }
    guard let start else { return .exhausted }
    let key = key(of: row.account, quota, start.stamp)
    let lifetime = lifetime(until: start.end, now: now)
    var outcome: Fetched = .exhausted
    var took = 0
    var seen = 0
    do {
      if start.restored > 0 {
        _ = try await cache.compareAndSet(
          key, expected: nil, new: Array("\(start.restored)".utf8), lifetime: lifetime, on: exchange)
      }
      let least = max(cost, least) + start.debt
      var want = start.isFirst ? max(least, desk.batch(left: start.left)) : least
      while true {
        let answer = try await cache.take(
          [CacheTake(key, cost: want, limit: limit, lifetime: lifetime)], on: exchange)
        seen = answer.values.first ?? limit
        if answer.exhausted == nil {
          took = want
          outcome = .granted
          break
        }
        let left = limit - seen
        guard left >= least, want > least else { break }
        want = max(least, min(want - 1, left, desk.batch(left: left)))
      }
    } catch is CacheError {
      // The cache itself logs that it is in trouble.
      outcome = .unavailable
    } catch {
      fetched(.abandoned, cost, took, seen, start, row, quota, clock())
      throw error
    }
    fetched(outcome, cost, took, seen, start, row, quota, clock())
    return outcome
  }

  private struct Fetch: Sendable {
    let stamp: Int64
    let end: UnixTime?
    let debt: Int
    let isFirst: Bool
    let restored: Int
    let left: Int
  }

  private func fetched(
    _ outcome: Fetched, _ cost: Int, _ took: Int, _ seen: Int, _ start: Fetch, _ row: QuotaRow, _ quota: PlacedQuota,
    _ now: Instant
  ) {
    _ = row.work(on: quota, at: time(at: now)) { entry, _ in
      if start.isFirst { entry.tokens.isFetching = false }
      entry.tokens.isOrdered = false
      // Of a window that has ended meanwhile nothing can be used.
      guard entry.counter.stamp == start.stamp else { return }
      switch outcome {
      case .granted:
        entry.tokens.isSeeded = true
        entry.tokens.seen = seen
        entry.tokens.count += took - cost
        entry.tokens.usedAt = now
        entry.tokens.aloneUntil = Instant(nanoseconds: 0)
      case .exhausted:
        entry.tokens.isSeeded = true
        entry.tokens.seen = seen
        entry.tokens.deniedUntil = now + Self.denyFor
        entry.tokens.aloneUntil = Instant(nanoseconds: 0)
      case .unavailable: entry.tokens.aloneUntil = now + Self.aloneFor
      case .abandoned: break
      }
    }
  }

  func key(of account: UsageAccount, _ quota: PlacedQuota, _ stamp: Int64) -> CacheKey {
    let group =
      switch account {
      case .identity(let principal): "quota:i:\(principal.id)"
      case .anonymous, .unauthenticated, .others: "quota:\(account)"
      }
    return CacheKey(group, "\(quota.name):\(stamp)")
  }

  /// A little longer than the window: the clocks of the processes differ.
  private func lifetime(until end: UnixTime?, now: Instant) -> CacheLifetime {
    guard let end else { return .forever }
    return .fromCreation(.seconds(max(1, end.seconds - time(at: now).seconds) + 300))
  }

  // MARK: Behind the exchanges

  /// Fetches for live exchanges, gives back what nobody uses, and all of it at the end.
  func share(_ cache: any Cache, _ services: any BackgroundServices) async throws {
    // Not a child: it outlives the cancellation until the tokens are handed back.
    let running = Task { try await cache.run(services) }
    defer { running.cancel() }
    let result: Result<Void, any Error>
    do {
      try await withThrowingDiscardingTaskGroup { group in
        group.addTask { try await self.serveOrders(services) }
        group.addTask {
          while true {
            try await services.sleep(for: Self.holdFor / 2)
            await self.handBack(cache, services, everything: false)
          }
        }
      }
      result = .success(())
    } catch {
      result = .failure(error)
    }
    // A task of its own, because this one may be cancelled, and then it could not wait.
    await Task { await handBack(cache, services, everything: true) }.value
    running.cancel()
    _ = await running.result
    try result.get()
  }

  private func serveOrders(_ services: any BackgroundServices) async throws {
    for await _ in tokens.listen() {
      let orders = tokens.takeOrders()
      for (index, order) in orders.enumerated() {
        if Task.isCancelled {
          // Whoever runs the store next finds them.
          for order in orders[index...] { tokens.order(order) }
          break
        }
        let desk = QuotaDesk(self, order.quota, .refuse, warnAt: nil, headers: .never)
        // Not cancelled with this task: what the cache gives to a question on its way is to be known, and handed back.
        await Task {
          do {
            _ = try await fetch(0, least: 1, order.row, desk, limit: order.limit, on: nil) { services.now }
          } catch {
            services.log(.warning, "quota \(order.quota.name): the cache could not be asked: \(error)")
          }
        }.value
      }
    }
    try Task.checkCancellation()
  }

  /// Tokens that nobody uses go back, and what was used without them is taken.
  private func handBack(_ cache: any Cache, _ services: any BackgroundServices, everything: Bool) async {
    let now = services.now
    for holder in tokens.takeHolders() {
      let found = holder.row.work(on: holder.quota, at: time(at: now)) { entry, _ -> Fetch? in
        entry.tokens.isListed = false
        let count = entry.tokens.count
        if count > 0, !everything, now - entry.tokens.usedAt < Self.holdFor { return nil }
        entry.tokens.count = 0
        return Fetch(
          stamp: entry.counter.stamp, end: entry.counter.end, debt: -count, isFirst: false, restored: 0, left: 0)
      }
      guard let back = found ?? nil, back.debt != 0 else { continue }
      let key = key(of: holder.row.account, holder.quota, back.stamp)
      do {
        // What was used counts, also where it is more than the limit.
        _ = try await cache.take(
          [CacheTake(key, cost: back.debt, limit: 1 << 53 - 1, lifetime: lifetime(until: back.end, now: now))], on: nil)
      } catch {
        // It may have run: given back twice would be used twice.
        if back.debt < 0, case .unavailable(_, mayHaveRun: true)? = error as? CacheError { continue }
        if everything {
          services.log(
            .warning, "quota \(holder.quota.name): \(back.debt) could not be settled with the cache: \(error)")
          continue
        }
        _ = holder.row.work(on: holder.quota, at: time(at: now)) { entry, _ in
          guard entry.counter.stamp == back.stamp else { return }
          entry.tokens.count -= back.debt
        }
      }
    }
  }
}

extension QuotaRow.Entry {
  /// What has been used, as far as is known here: with a shared cache, by all when it was asked last, and here since.
  func used(_ quota: PlacedQuota) -> Int {
    quota.isShared ? max(counter.used, tokens.seen - tokens.count) : counter.used
  }
}
