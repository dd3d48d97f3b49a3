/// What one exchange holds of a ``ByteLane``.
struct ByteShare {
  /// Bytes that it may move, now.
  var held = 0
  /// Bytes that it will be given when they have been earned: its place in the queue.
  var reserved = 0
  /// The lane's `promised` right behind the reservation.
  var position = 0
  /// When what it holds was given to it.
  var since: UInt64 = 0
  /// How much it asks for at a time: doubles while leases are used up quickly, so that those who trickle hold little.
  var size = 0
}

/// What a lane answers.
enum ByteGrant: Equatable {
  case bytes(Int)
  /// Nothing before then.
  case rest(until: UInt64)
  /// Nothing asked for, nothing lent.
  case onDemand
}

/// The bucket of one direction of one key: a token bucket that lends its tokens in leases.
///
/// A lease is taken off the bucket when it is asked for. Where the tokens are not there yet it is a place in a queue: it is
/// granted once everything before it and the lease itself have been earned. So connections that contend take turns in the
/// order in which they asked, without a list of them, and time that a waking loop comes late is not lost.
///
/// Exact: within any time no more moves than `burst + rate × time`. What is lent and not moved counts against the burst:
/// the bucket fills up only to `burst - outstanding`.
///
/// Pure: time, in nanoseconds, is a parameter.
struct ByteLane {
  /// What of a lease has not been moved in this time goes back.
  static let term: UInt64 = 500_000_000
  /// No lease is smaller where there is a choice: those who trickle end there.
  private static let least = 512
  /// What a relay moves at once.
  private static let splice = 1 << 20
  /// A lease that is used up in this time shall be larger the next time.
  private static let quick: UInt64 = 100_000_000
  /// 100 days: what is longer fills every bucket, and fits the arithmetic.
  private static let longest: UInt64 = 8_640_000_000_000_000
  private static let second: UInt64 = 1_000_000_000

  private(set) var plan: BytePlan
  /// Bytes that time has brought, and bytes that have been lent or promised. Both wrap around; the difference counts.
  private var earned: Int
  private var promised = 0
  /// Billionths of a byte.
  private var fraction: UInt64 = 0
  private var updatedAt: UInt64
  /// Lent or promised, and not reported as moved.
  private(set) var outstanding = 0
  /// Promised, and not lent yet.
  private var reserved = 0
  /// Exchanges that wait for their turn.
  private(set) var waiting = 0

  /// A full bucket.
  init(_ plan: BytePlan, now: UInt64) {
    self.plan = plan
    earned = plan.burst
    updatedAt = now
  }

  /// Bytes that nobody holds; less than zero while some are promised ahead of time.
  var credit: Int { earned &- promised }

  /// Whether forgetting it changes nothing.
  mutating func isWhole(_ now: UInt64) -> Bool {
    fill(now)
    return outstanding == 0 && credit >= plan.burst
  }

  /// Brings one exchange's account up to date, and lends to it.
  ///
  /// - Parameters:
  ///   - moved: since the last call.
  ///   - wants: it has bytes to move and nothing left to move them with.
  mutating func settle(_ share: inout ByteShare, moved: Int, wants: Bool, now: UInt64) -> ByteGrant {
    fill(now)
    count(moved, of: &share)
    if share.reserved > 0 {
      if let wait = redeem(&share, now) { return .rest(until: wait) }
    }
    if share.held > 0 {
      if wants || now < share.since + Self.term { return .bytes(share.held) }
      giveBack(&share)
      share.size /= 2
    }
    return wants ? lend(&share, now) : .onDemand
  }

  /// The exchange is over.
  mutating func leave(_ share: inout ByteShare, moved: Int, now: UInt64) {
    fill(now)
    count(moved, of: &share)
    cancel(&share)
    giveBack(&share)
  }

  /// Another rate: the same share of the bucket stays used. It is never filled up.
  mutating func change(to new: BytePlan, now: UInt64) {
    guard new != plan else { return }
    fill(now)
    // What is earned and not lent, whoever waits for it.
    let free = credit + reserved
    if free > 0 {
      let (high, low) = free.multipliedFullWidth(by: new.burst)
      let scaled = plan.burst.dividingFullWidth((high, low)).quotient
      earned &+= max(min(scaled, new.burst - (outstanding - reserved)), 0) - free
    }
    fraction = 0
    plan = new
  }

  // MARK: - Earning

  private mutating func fill(_ now: UInt64) {
    // The clocks of two loops differ a little; one that lags brings nothing.
    guard now > updatedAt else { return }
    let elapsed = min(now - updatedAt, Self.longest)
    updatedAt = now
    let room = plan.burst - outstanding - credit
    guard room > 0 else { return fraction = 0 }
    var (high, low) = elapsed.multipliedFullWidth(by: plan.rate)
    let (sum, carry) = low.addingReportingOverflow(fraction)
    low = sum
    if carry { high += 1 }
    // Fits: the longest time by the highest rate is less than 2^64 seconds' worth of billionths.
    let (bytes, rest) = Self.second.dividingFullWidth((high, low))
    if bytes >= UInt64(room) {
      earned &+= room
      fraction = 0
    } else {
      earned &+= Int(bytes)
      fraction = rest
    }
  }

  // MARK: - Lending

  private mutating func count(_ moved: Int, of share: inout ByteShare) {
    guard moved > 0 else { return }
    let lent = min(moved, share.held)
    share.held -= lent
    outstanding -= lent
    // More than was lent (the head of an HTTP response): everybody waits for it to be earned.
    earned &-= moved - lent
  }

  private mutating func lend(_ share: inout ByteShare, _ now: UInt64) -> ByteGrant {
    let size = nextSize(&share, now)
    // A part of it at once is better than all of it later, unless it is so little that the turn costs more than it moves.
    if credit >= size || (waiting == 0 && credit >= max(size / 2, Self.least)) {
      give(min(size, credit), to: &share, now)
      return .bytes(share.held)
    }
    promised &+= size
    outstanding += size
    reserved += size
    waiting += 1
    share.reserved = size
    share.position = promised
    return .rest(until: time(of: share, now))
  }

  private mutating func give(_ count: Int, to share: inout ByteShare, _ now: UInt64) {
    promised &+= count
    outstanding += count
    share.held = count
    share.since = now
  }

  private func nextSize(_ share: inout ByteShare, _ now: UInt64) -> Int {
    let age = now - min(share.since, now)
    if share.size == 0 {
      // A sixteenth of what is there: a bucket that few use lends much at once.
      share.size = max(plan.smallest, credit / 16)
    } else if age <= Self.quick {
      share.size *= 2
    } else if age > 2 * Self.quick {
      share.size /= 2
    }
    share.size = min(max(share.size, Self.least), plan.largest)
    // Those who wait want the same: smaller leases, so that a round stays short. Twice that where it is still one splice: half the
    // wake-ups; two splices a lease cost more than two leases.
    let part = plan.largest / (waiting + 1)
    let turn = max(part, min(2 * part, Self.splice, plan.largest), plan.smallest)
    // Where slow ones hold much of the burst, the rest of it is not lent to the next one alone.
    let room = max((plan.burst - (outstanding - reserved)) / 2, Self.least)
    return min(share.size, turn, room)
  }

  /// Makes a reservation a lease if it has been earned. Else: when to ask again.
  private mutating func redeem(_ share: inout ByteShare, _ now: UInt64) -> UInt64? {
    // From before a reload, and more than the bucket can ever hold now.
    if share.reserved > plan.largest {
      cancel(&share)
      return nil
    }
    guard earned &- share.position >= 0 else { return time(of: share, now) }
    share.held += share.reserved
    reserved -= share.reserved
    share.reserved = 0
    share.since = now
    waiting -= 1
    return nil
  }

  private func time(of share: ByteShare, _ now: UInt64) -> UInt64 {
    let missing = UInt64(max(share.position &- earned, 1))
    let (high, low) = missing.multipliedFullWidth(by: Self.second)
    // Fits: nobody waits for more than the rate brings in 500 years.
    guard high < plan.rate else { return .max }
    let wait = plan.rate.dividingFullWidth((high, low)).quotient + 1
    return now + wait - min(fraction / plan.rate, wait)
  }

  // MARK: - Giving back

  /// Bytes that are earned are everybody's again, in the order of the queue.
  private mutating func giveBack(_ share: inout ByteShare) {
    earned &+= share.held
    outstanding -= share.held
    share.held = 0
  }

  /// Bytes that are not earned yet were never there: the next one who asks comes earlier by as much.
  private mutating func cancel(_ share: inout ByteShare) {
    guard share.reserved > 0 else { return }
    promised &-= share.reserved
    outstanding -= share.reserved
    reserved -= share.reserved
    waiting -= 1
    share.reserved = 0
  }
}
