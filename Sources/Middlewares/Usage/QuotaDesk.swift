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
  private let slow: BandwidthPlan?

  /// What is lent at once: much far from the limit, little near it.
  private static let leastBytes = 16 * 1024
  private static let mostBytes = 4 * 1024 * 1024
  /// What HTTP moves each way before it asks, its heads, and what it reads ahead.
  static let ahead = 72 * 1024
  private static let leastTime = 50
  private static let mostTime = 1000
  /// What is lent and not used comes back after this.
  private static let term = Duration.seconds(1)
  /// How long who finds nothing waits for others to give back.
  private static let pause = Duration.milliseconds(50)

  init(
    _ store: QuotaStore, _ quota: PlacedQuota, _ exhaustion: QuotaExhaustion, warnAt: Double?, headers: LimitHeaders
  ) {
    self.store = store
    self.quota = quota
    self.exhaustion = exhaustion
    self.warnAt = warnAt
    self.headers = headers
    refusal = "quota \(quota.name): used up"
    if case .throttle(let rate) = exhaustion.kind {
      slow = BandwidthPlan(up: BytePlan(rate), down: BytePlan(rate))
    } else {
      slow = nil
    }
  }

  /// What became of an exchange that wants in.
  enum Answer {
    case granted(stamp: Int64)
    case slowed
    case blocked
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
  func admit(
    _ entry: inout QuotaRow.Entry, _ state: borrowing QuotaRow.State, own: QuotaAmount?, _ moment: QuotaMoment
  ) -> Verdict {
    let limit = quota.limit(state.plan, own: own)
    var verdict = Verdict(answer: .blocked, used: entry.counter.used, limit: limit)
    if state.isBlocked { return verdict }
    let cost =
      switch quota.metric {
      case .requests, .connections: 1
      case .bytes, .time: 0
      }
    // Of bytes and time some has to be left, whoever holds it: at the limit the account is blocked.
    if limit - entry.counter.consumed >= max(cost, 1), cost == 0 || entry.counter.used + cost <= limit {
      entry.counter.consume(cost)
      verdict.answer = .granted(stamp: entry.counter.stamp)
      verdict.used = entry.counter.used
      verdict.notice = notice(&entry.counter, limit)
      return verdict
    }
    entry.counter.isExceeded = true
    verdict.wait = entry.counter.wait(for: 1, limit: limit, at: moment.time, quota.window)
    // A connection ends sooner or later.
    if case .connections = quota.metric { verdict.wait = .seconds(1) }
    verdict.answer = slow == nil ? .exhausted(wait: verdict.wait) : .slowed
    verdict.notice = report(&entry.counter)
    return verdict
  }

  private func notice(_ counter: inout QuotaCounter, _ limit: Int) -> Notice? {
    guard let warnAt, !counter.isWarned, limit < .max, Double(counter.consumed) >= Double(limit) * warnAt
    else { return nil }
    counter.isWarned = true
    return .warning
  }

  private func report(_ counter: inout QuotaCounter) -> Notice? {
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
    case .slowed: break
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
    guard let row = trail.currentRow, quota.slot < trail.shares.count else { return .unlimited }
    var share = trail.shares[quota.slot]
    let moved = trail.moved(exchange, quota.slot)
    let moment = store.moment(of: exchange)
    let wanting = exchange.wanting
    var verdict = Verdict(answer: .granted(stamp: 0))
    let lease = row.work(on: quota, at: moment.time) { entry, state -> Lease in
      let lease: Lease
      verdict.limit = quota.limit(state.plan, own: share.own)
      switch quota.metric {
      case .requests, .connections: lease = .unlimited
      case .bytes(let ways):
        count(moved, ways, &share, &entry)
        lease = isLast ? .unlimited : lend(ways, wanting, &share, &entry, moment.now, &verdict)
      case .time:
        countTime(&share, &entry, moment.now)
        lease = isLast ? .unlimited : lendTime(&share, &entry, moment.now, &verdict)
      }
      if isLast {
        giveBack(&share, &entry, moved, moment.now)
        return .unlimited
      }
      verdict.used = entry.counter.used
      if state.isBlocked { verdict.answer = .blocked }
      if verdict.notice == nil { verdict.notice = notice(&entry.counter, verdict.limit) }
      return watch(lease, moved, wanting, &share, &entry, moment, &verdict)
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
    if case .blocked = verdict.answer { return lease }
    if case .exhausted = verdict.answer {
      verdict.wait = entry.counter.wait(for: 1, limit: verdict.limit, at: moment.time, quota.window)
      verdict.answer = .exhausted(wait: verdict.wait)
    }
    switch exhaustion.kind {
    case .refuse: return lease
    case .closeExisting:
      if entry.counter.isExceeded, case .granted = verdict.answer {
        verdict.answer = .exhausted(wait: nil)
      }
      lease.renewBy = min(lease.renewBy, moment.now + Self.term)
      return lease
    case .throttle:
      guard case .slowed = verdict.answer else {
        if !share.isSlow { return lease }
        guard entry.counter.isExceeded else {
          // The window has ended.
          leaveSlowLane(&share, &entry, moved, moment.now)
          return lease
        }
        verdict.answer = .slowed
        return slowly(moved, wanting, &share, &entry, moment.now)
      }
      return slowly(moved, wanting, &share, &entry, moment.now)
    }
  }

  // MARK: Bytes

  private func count(_ moved: Traffic, _ ways: Directions, _ share: inout QuotaShare, _ entry: inout QuotaRow.Entry) {
    func count(_ moved: Int, _ held: inout Int) {
      let lent = min(moved, held)
      held -= lent
      entry.counter.settle(used: lent, unused: 0)
      // Of HTTP the heads, and the framing of chunks, which go unasked.
      if moved > lent { entry.counter.consume(moved - lent) }
    }
    if ways.contains(.up) { count(Int(clamping: moved.up), &share.up) }
    if ways.contains(.down) { count(Int(clamping: moved.down), &share.down) }
  }

  private func lend(
    _ ways: Directions, _ wanting: Directions, _ share: inout QuotaShare, _ entry: inout QuotaRow.Entry,
    _ now: Instant, _ verdict: inout Verdict
  ) -> Lease {
    borrow(&share, &entry)
    // What one way was lent and does not use comes back, at once where it is the last of it.
    let isShort = verdict.limit - entry.counter.used <= 0
    func reclaim(_ held: inout Int, _ since: Instant, _ way: Directions) {
      guard held > 0, !wanting.contains(way), isShort && !wanting.isEmpty || now - since >= Self.term else { return }
      entry.counter.settle(used: 0, unused: held)
      held = 0
    }
    reclaim(&share.up, share.since, .up)
    reclaim(&share.down, share.downSince, .down)
    var lease = Lease.unlimited
    func grant(_ held: inout Int, _ since: inout Instant, _ way: Directions) -> Int {
      if held > 0 { return held }
      guard wanting.contains(way) else { return Lease.onDemand }
      let left = verdict.limit - entry.counter.used
      if left > 0 {
        let size = min(left, max(Self.leastBytes, min(Self.mostBytes, left / (4 * max(1, entry.borrowers)))))
        entry.counter.lend(size)
        held = size
        since = now
        return size
      }
      if entry.counter.lent > 0 {
        // Others hold the last of it: they use it up, or give it back.
        lease.renewBy = min(lease.renewBy, now + Self.pause)
        return 0
      }
      exhaust(&entry, &verdict)
      return 0
    }
    if ways.contains(.up) { lease.up = grant(&share.up, &share.since, .up) }
    if ways.contains(.down) { lease.down = grant(&share.down, &share.downSince, .down) }
    if share.up > 0 || share.down > 0 { lease.renewBy = min(lease.renewBy, now + Self.term) }
    return lease
  }

  /// What HTTP may move before it asks, where that much is far from the limit. False: it has to ask for the first byte.
  func lendAhead(
    _ ways: Directions, _ limit: Int, _ share: inout QuotaShare, _ entry: inout QuotaRow.Entry, _ now: Instant
  ) -> Bool {
    let each = Self.ahead
    guard limit - entry.counter.used >= 64 * each * (entry.borrowers + 1) else { return false }
    borrow(&share, &entry)
    if ways.contains(.up) { share.up = each }
    if ways.contains(.down) { share.down = each }
    entry.counter.lend(share.up + share.down)
    share.since = now
    share.downSince = now
    return true
  }

  private func exhaust(_ entry: inout QuotaRow.Entry, _ verdict: inout Verdict) {
    entry.counter.isExceeded = true
    verdict.answer = slow == nil ? .exhausted(wait: nil) : .slowed
    verdict.notice = report(&entry.counter)
  }

  private func borrow(_ share: inout QuotaShare, _ entry: inout QuotaRow.Entry) {
    if share.isBorrower { return }
    share.isBorrower = true
    entry.borrowers += 1
  }

  private func giveBack(
    _ share: inout QuotaShare, _ entry: inout QuotaRow.Entry, _ moved: Traffic, _ now: Instant
  ) {
    entry.counter.settle(used: 0, unused: share.up + share.down)
    share.up = 0
    share.down = 0
    if share.isBorrower { entry.borrowers -= 1 }
    share.isBorrower = false
    if share.isSlow { leaveSlowLane(&share, &entry, moved, now) }
  }

  // MARK: Time

  /// Counts from now on.
  func beginTime(_ share: inout QuotaShare, _ entry: inout QuotaRow.Entry, _ now: Instant) {
    share.since = now
    borrow(&share, &entry)
  }

  private func countTime(_ share: inout QuotaShare, _ entry: inout QuotaRow.Entry, _ now: Instant) {
    let passed = now.nanoseconds > share.since.nanoseconds ? (now.nanoseconds - share.since.nanoseconds) / 1_000_000 : 0
    share.since = Instant(nanoseconds: share.since.nanoseconds + passed * 1_000_000)
    let passedTime = Int(clamping: passed)
    let lent = min(passedTime, share.up)
    share.up -= lent
    entry.counter.settle(used: lent, unused: 0)
    if passedTime > lent { entry.counter.consume(passedTime - lent) }
  }

  private func lendTime(
    _ share: inout QuotaShare, _ entry: inout QuotaRow.Entry, _ now: Instant, _ verdict: inout Verdict
  ) -> Lease {
    if share.up == 0 {
      let left = verdict.limit - entry.counter.used
      if left > 0 {
        share.up = min(left, max(Self.leastTime, min(Self.mostTime, left / (4 * max(1, entry.borrowers)))))
        entry.counter.lend(share.up)
      } else {
        exhaust(&entry, &verdict)
        return Lease(renewBy: now + Self.term)
      }
    }
    return Lease(renewBy: share.since + .milliseconds(share.up))
  }

  // MARK: Slowly

  private func slowly(
    _ moved: Traffic, _ wanting: Directions, _ share: inout QuotaShare, _ entry: inout QuotaRow.Entry, _ now: Instant
  ) -> Lease {
    guard let slow else { return .unlimited }
    let bucket = entry.bucket ?? ByteBucket(slow, now: now.nanoseconds)
    entry.bucket = bucket
    let isNew = !share.isSlow
    if isNew {
      share.isSlow = true
      share.slowUp = ByteShare()
      share.slowDown = ByteShare()
      bucket.enter()
    }
    // What moved before was lent by the quota.
    var lease = bucket.settle(
      &share.slowUp, &share.slowDown, moved: isNew ? Traffic() : moved, wanting: wanting, now: now.nanoseconds)
    lease.renewBy = min(lease.renewBy, now + Self.term)
    return lease
  }

  private func leaveSlowLane(
    _ share: inout QuotaShare, _ entry: inout QuotaRow.Entry, _ moved: Traffic, _ now: Instant
  ) {
    entry.bucket?.leave(&share.slowUp, &share.slowDown, moved: moved, now: now.nanoseconds)
    share.isSlow = false
  }

  /// Puts an exchange into the slow lane from its first byte.
  func beginSlowly(_ share: inout QuotaShare, _ entry: inout QuotaRow.Entry, _ now: Instant) {
    _ = slowly(Traffic(), [], &share, &entry, now)
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
