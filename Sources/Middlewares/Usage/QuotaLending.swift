internal import Pipeline

// What a `QuotaDesk` lends to live exchanges, and how it slows them down.
extension QuotaDesk {
  /// What is lent at once: much far from the limit, little near it.
  private static let leastBytes = 16 * 1024
  private static let mostBytes = 4 * 1024 * 1024
  /// What HTTP moves each way before it asks, its heads, and what it reads ahead.
  private static let ahead = 72 * 1024
  private static let leastTime = 50
  private static let mostTime = 1000
  /// What is lent and not used comes back after this.
  static let term = Duration.seconds(1)
  /// How long who finds nothing waits for others to give back.
  private static let pause = Duration.milliseconds(50)
  /// How long the answer of a shared cache is waited for before it is looked at again.
  private static let answer = Duration.milliseconds(10)

  // MARK: Bytes

  func count(
    _ moved: Traffic, _ ways: Directions, _ share: inout QuotaShare, _ entry: inout QuotaRow.Entry, _ limit: Int,
    _ now: Instant
  ) {
    func count(_ moved: Int, _ held: inout Int) {
      let lent = min(moved, held)
      held -= lent
      entry.counter.settle(used: lent, unused: 0)
      // Of HTTP the heads, and the framing of chunks, which go unasked.
      if moved > lent { consume(moved - lent, &entry, limit, now) }
    }
    if ways.contains(.up) { count(Int(clamping: moved.up), &share.up) }
    if ways.contains(.down) { count(Int(clamping: moved.down), &share.down) }
  }

  func lend(
    _ ways: Directions, _ wanting: Directions, _ share: inout QuotaShare, _ entry: inout QuotaRow.Entry,
    _ row: QuotaRow, _ now: Instant, _ verdict: inout Verdict
  ) -> Lease {
    borrow(&share, &entry)
    // What one way was lent and does not use comes back, at once where it is the last of it.
    let limit = verdict.limit
    let isShort = left(entry, limit, now) <= 0
    func reclaim(_ held: inout Int, _ since: Instant, _ way: Directions) {
      guard held > 0, !wanting.contains(way), isShort && !wanting.isEmpty || now - since >= Self.term else { return }
      takeBack(held, &entry, limit, now)
      held = 0
    }
    reclaim(&share.up, share.since, .up)
    reclaim(&share.down, share.downSince, .down)
    var lease = Lease.unlimited
    func grant(_ held: inout Int, _ since: inout Instant, _ way: Directions) -> Int {
      if held > 0 { return held }
      guard wanting.contains(way) else { return Lease.onDemand }
      let left = left(entry, limit, now)
      if left > 0 {
        let size = min(left, max(Self.leastBytes, min(Self.mostBytes, left / (4 * max(1, entry.borrowers)))))
        lendOut(size, &entry, limit, now)
        if isShared(limit), entry.tokens.count < 2 * size { order(row, &entry, limit, now) }
        held = size
        since = now
        return size
      }
      if entry.counter.lent > 0 {
        // Others hold the last of it: they use it up, or give it back.
        lease.renewBy = min(lease.renewBy, now + Self.pause)
        return 0
      }
      if isShared(limit), !hasAnswer(entry, now) {
        order(row, &entry, limit, now)
        lease.renewBy = min(lease.renewBy, now + Self.answer)
        return 0
      }
      exhaust(&entry, &verdict, now)
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
    if isShadow { return true }
    // In any case, so that the account is not forgotten before its first byte.
    borrow(&share, &entry)
    guard left(entry, limit, now) >= 64 * each * max(1, entry.borrowers) else { return false }
    if ways.contains(.up) { share.up = each }
    if ways.contains(.down) { share.down = each }
    lendOut(share.up + share.down, &entry, limit, now)
    share.since = now
    share.downSince = now
    return true
  }

  private func exhaust(_ entry: inout QuotaRow.Entry, _ verdict: inout Verdict, _ now: Instant) {
    if isShared(verdict.limit), store.whenCacheFails == .refuse, now < entry.tokens.aloneUntil {
      verdict.answer = .unavailable
      return
    }
    entry.counter.isExceeded = true
    verdict.answer = slow == nil ? .exhausted(wait: nil) : .slowed
    verdict.notice = report(&entry.counter)
  }

  private func borrow(_ share: inout QuotaShare, _ entry: inout QuotaRow.Entry) {
    if share.isBorrower { return }
    share.isBorrower = true
    entry.borrowers += 1
  }

  func giveBack(
    _ share: inout QuotaShare, _ entry: inout QuotaRow.Entry, _ limit: Int, _ moved: Traffic, _ now: Instant
  ) {
    takeBack(share.up + share.down, &entry, limit, now)
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

  func countTime(_ share: inout QuotaShare, _ entry: inout QuotaRow.Entry, _ limit: Int, _ now: Instant) {
    let passed = now.nanoseconds > share.since.nanoseconds ? (now.nanoseconds - share.since.nanoseconds) / 1_000_000 : 0
    share.since = Instant(nanoseconds: share.since.nanoseconds + passed * 1_000_000)
    let passedTime = Int(clamping: passed)
    let lent = min(passedTime, share.up)
    share.up -= lent
    entry.counter.settle(used: lent, unused: 0)
    if passedTime > lent { consume(passedTime - lent, &entry, limit, now) }
  }

  func lendTime(
    _ share: inout QuotaShare, _ entry: inout QuotaRow.Entry, _ row: QuotaRow, _ now: Instant, _ verdict: inout Verdict
  ) -> Lease {
    let limit = verdict.limit
    if share.up == 0 {
      let left = left(entry, limit, now)
      if left > 0 {
        share.up = min(left, max(Self.leastTime, min(Self.mostTime, left / (4 * max(1, entry.borrowers)))))
        lendOut(share.up, &entry, limit, now)
        if isShared(limit), entry.tokens.count < 2 * share.up { order(row, &entry, limit, now) }
      } else if isShared(limit), !hasAnswer(entry, now) {
        // The time that the answer takes is counted, too.
        order(row, &entry, limit, now)
        return Lease(renewBy: now + Self.answer)
      } else {
        exhaust(&entry, &verdict, now)
        return Lease(renewBy: now + Self.term)
      }
    }
    return Lease(renewBy: share.since + .milliseconds(share.up))
  }

  // MARK: Slowly

  func slowly(
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

  func leaveSlowLane(
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
