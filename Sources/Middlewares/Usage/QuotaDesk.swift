internal import Pipeline

/// What a ``UsageQuota`` decides about an exchange: lets it in, lends to it, slows it down, ends it.
final class QuotaDesk: Sendable {
  let store: QuotaStore
  let quota: PlacedQuota
  let exhaustion: QuotaExhaustion
  private let warnAt: Double?
  private let headers: LimitHeaders
  /// Made once: a flood of refusals builds no text.
  private let refusal: String
  let slow: BandwidthPlan?
  /// It counts only.
  let isShadow: Bool

  init(
    _ store: QuotaStore, _ quota: PlacedQuota, _ exhaustion: QuotaExhaustion, warnAt: Double?, headers: LimitHeaders,
    isShadow: Bool = false
  ) {
    self.store = store
    self.quota = quota
    self.exhaustion = exhaustion
    self.warnAt = warnAt
    self.headers = headers
    self.isShadow = isShadow
    refusal = "quota \(quota.name): used up"
    if case .throttle(let rate) = exhaustion.kind, !isShadow {
      slow = BandwidthPlan(up: BytePlan(rate), down: BytePlan(rate))
    } else {
      slow = nil
    }
  }

  /// What became of an exchange that wants in.
  enum Answer {
    /// With the stamp of what was taken; `nil`: nothing was.
    case granted(QuotaStamp?)
    case slowed
    case blocked
    /// The cache has to be asked first.
    case needsTokens
    /// The cache cannot say, and nobody gets in without it.
    case unavailable
    case exhausted(wait: Duration?)
  }

  struct Verdict {
    var answer: Answer
    var used = 0
    var limit = 0
    var wait: Duration?
    var notice: Notice?
  }

  /// What is said once for an account and a window.
  enum Notice { case warning, exhausted }

  // MARK: At the door

  /// Whether there is anything left; takes one request or connection.
  ///
  /// - Parameter isFetched: the exchange has taken it from the cache already.
  func admit(
    _ entry: inout QuotaRow.Entry, _ state: borrowing QuotaRow.State, own: QuotaAmount?, _ moment: QuotaMoment,
    isFetched: Bool = false
  ) -> Verdict {
    let limit = quota.limit(state.plan, own: own)
    var verdict = Verdict(answer: .blocked, used: used(entry), limit: limit)
    if state.isBlocked { return verdict }
    if isFetched {
      // Taken from the cache for this very exchange.
      entry.counter.consume(cost)
      return granted(verdict, &entry, limit)
    }
    if isShared(limit) {
      switch find(&entry, max(cost, 1), limit, moment.now) {
      case .found:
        consume(cost, &entry, limit, moment.now)
        return granted(verdict, &entry, limit)
      case .ask:
        verdict.answer = .needsTokens
        return verdict
      case .unavailable:
        verdict.answer = .unavailable
        return verdict
      case .nothing: break
      }
    } else if limit - entry.counter.consumed >= max(cost, 1), cost == 0 || entry.counter.used + cost <= limit {
      // Of bytes and time some has to be left, whoever holds it: at the limit the account is blocked.
      entry.counter.consume(cost)
      return granted(verdict, &entry, limit)
    }
    entry.counter.isExceeded = true
    verdict.wait = entry.counter.wait(for: 1, limit: limit, at: moment.time, quota.window)
    // A connection ends sooner or later.
    if case .connections = quota.metric { verdict.wait = .seconds(1) }
    verdict.answer = slow == nil ? .exhausted(wait: verdict.wait) : .slowed
    verdict.notice = report(&entry.counter)
    return verdict
  }

  private func granted(_ verdict: Verdict, _ entry: inout QuotaRow.Entry, _ limit: Int) -> Verdict {
    var verdict = verdict
    let stamp = QuotaStamp(window: entry.counter.stamp, resets: entry.counter.resets)
    verdict.answer = .granted(cost > 0 ? stamp : nil)
    // There was something left: a bigger plan, a reset, a place that became free.
    entry.counter.isExceeded = false
    verdict.used = used(entry)
    verdict.notice = notice(&entry, limit)
    return verdict
  }

  /// What an exchange takes when it comes in; the rest it borrows.
  var cost: Int {
    switch quota.metric {
    case .requests, .connections: 1
    case .bytes, .time: 0
    }
  }

  private func notice(_ entry: inout QuotaRow.Entry, _ limit: Int) -> Notice? {
    guard let warnAt, !entry.counter.isWarned, limit < .max, Double(used(entry)) >= Double(limit) * warnAt
    else { return nil }
    entry.counter.isWarned = true
    return .warning
  }

  func report(_ counter: inout QuotaCounter) -> Notice? {
    if counter.isReported { return nil }
    counter.isReported = true
    return .exhausted
  }

  /// Tells the log and the client, and refuses who is to be refused.
  func say(_ verdict: Verdict, of row: QuotaRow, to exchange: Exchange, _ moment: QuotaMoment) throws {
    if let notice = verdict.notice { log(notice, verdict.used, verdict.limit, row, exchange) }
    switch verdict.answer {
    case .granted:
      if case .always = headers.when { annotate(verdict, exchange, moment) }
    case .slowed, .needsTokens: break
    case .unavailable:
      throw Rejection(.overloaded, retryAfter: .seconds(1), detail: "quota \(quota.name): the cache cannot be asked")
    case .blocked: throw Rejection(.forbidden, detail: "blocked by an operator")
    case .exhausted(let wait):
      if headers.when != .never { annotate(verdict, exchange, moment) }
      throw rejection(wait)
    }
  }

  private func rejection(_ wait: Duration?) -> Rejection {
    Rejection(
      .quotaExhausted, retryAfter: wait.map { .seconds(max(1, $0.secondsRoundedUp)) }, detail: refusal)
  }

  private func annotate(_ verdict: Verdict, _ exchange: Exchange, _ moment: QuotaMoment) {
    guard verdict.limit < .max else { return }
    var reset = 0
    if let wait = verdict.wait { reset = max(1, wait.secondsRoundedUp) }
    if case .granted = verdict.answer, case .calendar(let unit) = quota.window.kind {
      reset = Int(store.book.window(unit, at: moment.time).end.seconds - moment.time.seconds)
    }
    exchange.annotate(
      .rateLimit(
        .init(
          policy: headers.policy ?? quota.name, limit: verdict.limit,
          windowSeconds: quota.window.seconds(store.book, at: moment.time),
          remaining: max(0, verdict.limit - verdict.used), resetSeconds: reset)))
  }

  private func log(_ notice: Notice, _ used: Int, _ limit: Int, _ row: QuotaRow, _ exchange: Exchange) {
    switch notice {
    case .warning:
      exchange.runtime.log(
        .warning, "quota \(quota.name): \(row.account) has used \(used) of \(limit) \(quota.metric.unit.rawValue)")
    case .exhausted:
      exchange.runtime.log(
        .notice,
        "quota \(quota.name): \(row.account) has used up \(limit) \(quota.metric.unit.rawValue): \(exhaustion)")
    }
  }

  // MARK: On the way

  /// What an exchange may move, given what it has moved.
  ///
  /// - Throws: what ends it.
  func account(on exchange: Exchange, _ trail: QuotaTrail, isLast: Bool) throws -> Lease {
    guard var row = trail.currentRow, quota.slot < trail.shares.count else { return .unlimited }
    // A request is settled by its ticket.
    if isLast, cost > 0, !trail.shares[quota.slot].isSlow { return .unlimited }
    let moved = trail.moved(exchange, quota.slot)
    var share = trail.shares[quota.slot]
    let moment = store.moment(of: exchange)
    let wanting = exchange.wanting
    var verdict = Verdict(answer: .granted(nil))
    func work(on row: QuotaRow) -> Lease? {
      row.work(on: quota, at: moment.time) { entry, state in decide(row, &entry, state) }
    }
    func decide(_ row: QuotaRow, _ entry: inout QuotaRow.Entry, _ state: borrowing QuotaRow.State) -> Lease {
      let lease: Lease
      verdict.limit = quota.limit(state.plan, own: share.own)
      switch quota.metric {
      case .requests, .connections: lease = .unlimited
      case .bytes(let ways):
        count(moved, ways, &share, &entry, verdict.limit, moment.now)
        lease = isLast || isShadow ? .unlimited : lend(ways, wanting, &share, &entry, row, moment.now, &verdict)
      case .time:
        countTime(&share, &entry, verdict.limit, moment.now)
        lease = isLast || isShadow ? .unlimited : lendTime(&share, &entry, row, moment.now, &verdict)
      }
      if isLast {
        giveBack(&share, &entry, verdict.limit, moved, moment.now)
        return .unlimited
      }
      if isShadow { return .unlimited }
      verdict.used = used(entry)
      if state.isBlocked { verdict.answer = .blocked }
      if verdict.notice == nil { verdict.notice = notice(&entry, verdict.limit) }
      return watch(lease, moved, wanting, &share, &entry, moment, &verdict)
    }
    var lease = work(on: row)
    if lease == nil, let again = trail.findAgain(at: moment) {
      // The account was forgotten while the exchange was silent.
      row = again
      lease = work(on: row)
    }
    trail.shares[quota.slot] = share
    guard let lease, !isLast else { return .unlimited }
    try say(verdict, of: row, to: exchange, moment)
    return lease
  }

  /// What holds whatever is counted: the account is blocked, is to be ended, goes on slowly.
  private func watch(
    _ lease: Lease, _ moved: Traffic, _ wanting: Directions, _ share: inout QuotaShare,
    _ entry: inout QuotaRow.Entry, _ moment: QuotaMoment, _ verdict: inout Verdict
  ) -> Lease {
    var lease = lease
    switch verdict.answer {
    case .blocked, .unavailable: return lease
    case .granted, .slowed, .needsTokens, .exhausted: break
    }
    if case .exhausted = verdict.answer {
      verdict.wait = entry.counter.wait(for: 1, limit: verdict.limit, at: moment.time, quota.window)
      verdict.answer = .exhausted(wait: verdict.wait)
    }
    switch exhaustion.kind {
    case .refuse: return lease
    case .closeExisting:
      if isExceeded(entry, verdict), case .granted = verdict.answer {
        verdict.answer = .exhausted(wait: nil)
      }
      lease.renewBy = min(lease.renewBy, moment.now + Self.term)
      return lease
    case .throttle:
      guard case .slowed = verdict.answer else {
        if !share.isSlow { return lease }
        guard isExceeded(entry, verdict) else {
          // The window has ended, or the limit was raised.
          leaveSlowLane(&share, &entry, moved, moment.now)
          return lease
        }
        verdict.answer = .slowed
        return slowly(moved, wanting, &share, &entry, moment.now)
      }
      return slowly(moved, wanting, &share, &entry, moment.now)
    }
  }
}

extension QuotaDesk {
  /// Somebody wanted more than there was, and there is still nothing left.
  private func isExceeded(_ entry: QuotaRow.Entry, _ verdict: Verdict) -> Bool {
    // That a ninth connection was refused ends none of the eight.
    if case .connections = quota.metric { return false }
    return entry.counter.isExceeded && used(entry) >= verdict.limit
  }
}

/// Tells a ``QuotaDesk`` what live exchanges move.
final class QuotaMeter: ByteMeter {
  private let desk: QuotaDesk
  let limitsFirstByte: Bool

  init(_ desk: QuotaDesk, limitsFirstByte: Bool) {
    self.desk = desk
    self.limitsFirstByte = limitsFirstByte
  }

  func account(_ moved: Traffic, on exchange: Exchange, isLast: Bool) throws -> Lease {
    guard let trail = QuotaTrail.known(exchange, in: desk.store) else { return .unlimited }
    return try desk.account(on: exchange, trail, isLast: isLast)
  }
}
