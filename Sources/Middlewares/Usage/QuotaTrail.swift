internal import Pipeline

/// What the quotas of one store know of the exchange on a connection. Kept for the next request on it, so that an account is
/// looked up once for a connection.
final class QuotaTrail {
  let store: QuotaStore
  /// Of another store: nearly always none.
  let next: QuotaTrail?
  /// What each quota has lent to the exchange, by its number.
  var shares: [QuotaShare] = []

  // Unchecked: plain numbers, as those of `Exchange`.
  /// The exchange that it is about, by its place on the connection.
  @exclusivity(unchecked) private var ordinal = 0
  private var row: QuotaRow?
  private var principal: Principal?
  /// Quotas inside whose `next` the exchange is, and those that have counted its request for good: a set of numbers each.
  @exclusivity(unchecked) private var active: UInt64 = 0
  @exclusivity(unchecked) private var charged: UInt64 = 0

  private init(_ store: QuotaStore, next: QuotaTrail?) {
    self.store = store
    self.next = next
  }

  /// The trail of an exchange in a store; made where there is none.
  static func of(_ exchange: Exchange, in store: QuotaStore) -> QuotaTrail {
    if let known = known(exchange, in: store) { return known }
    let new = QuotaTrail(store, next: exchange[QuotaTrailKey.self])
    exchange[QuotaTrailKey.self] = new
    return new
  }

  static func known(_ exchange: Exchange, in store: QuotaStore) -> QuotaTrail? {
    var trail = exchange[QuotaTrailKey.self]
    while let found = trail {
      if found.store === store { return found }
      trail = found.next
    }
    return nil
  }

  /// False where the same quota stands above.
  func enter(_ slot: Int, _ exchange: Exchange) -> Bool {
    if ordinal != exchange.ordinal {
      ordinal = exchange.ordinal
      active = 0
      charged = 0
      for slot in shares.indices { shares[slot].told = Traffic() }
    }
    if active & 1 << slot != 0 { return false }
    active |= 1 << slot
    while shares.count <= slot { shares.append(QuotaShare()) }
    begin(QuotaShare(), slot)
    return true
  }

  /// Another attempt; what has been counted of the exchange stays counted.
  func begin(_ share: QuotaShare, _ slot: Int) {
    let told = shares[slot].told
    shares[slot] = share
    shares[slot].told = told
  }

  func leave(_ slot: Int) { active &= ~(1 << slot) }

  /// What has moved since the quota was told last; also what had moved before it was attached.
  func moved(_ exchange: Exchange, _ slot: Int) -> Traffic {
    let now = exchange.traffic
    let last = shares[slot].told
    shares[slot].told = now
    // A tunnel begins at 0: what went before was its handshake.
    return Traffic(
      up: now.up >= last.up ? now.up - last.up : now.up, down: now.down >= last.down ? now.down - last.down : now.down)
  }

  /// An attempt before this one has been counted for good: a retry runs it again.
  func isCharged(_ slot: Int) -> Bool { charged & 1 << slot != 0 }
  func charge(_ slot: Int) { charged |= 1 << slot }

  /// Works on the quota of an account.
  ///
  /// - Parameter principal: `nil`: nobody has logged in.
  /// - Returns: `nil`: there is no room for the account.
  func work<Result: Sendable>(
    on quota: PlacedQuota, for principal: Principal?, at moment: QuotaMoment,
    _ body: (inout QuotaRow.Entry, borrowing QuotaRow.State) -> Result
  ) -> (result: Result, row: QuotaRow)? {
    while true {
      guard let row = row(of: principal, at: moment) else { return nil }
      if let result = row.work(on: quota, at: moment.time, body) { return (result, row) }
      // It has been forgotten, and is to be found anew.
      self.row = nil
    }
  }

  private func row(of principal: Principal?, at moment: QuotaMoment) -> QuotaRow? {
    if let row, self.principal == principal { return row }
    self.principal = principal
    row = store.row(of: principal.map { UsageAccount($0) } ?? .anonymous, at: moment.time)
    return row
  }

  /// Where the row was forgotten.
  func findAgain(at moment: QuotaMoment) -> QuotaRow? {
    row = nil
    return row(of: principal, at: moment)
  }

  /// Of the account that the exchange was let in for.
  var currentRow: QuotaRow? { row }
}

private enum QuotaTrailKey: ExchangeKey {
  static var defaultValue: QuotaTrail? { nil }
  static var outlivesExchange: Bool { true }
}

/// What one quota has lent to one exchange.
struct QuotaShare {
  /// What of the exchange's traffic the quota has heard of.
  var told = Traffic()
  /// An override of the limit, of this exchange.
  var own: QuotaAmount?
  /// HTTP need not ask for the first bytes.
  var isLax = false
  /// Bytes; of time, milliseconds stand in `up`.
  var up = 0
  var down = 0
  /// When `up` was lent; of time, up to when it is counted.
  var since = Instant(nanoseconds: 0)
  var downSince = Instant(nanoseconds: 0)
  var isBorrower = false
  /// The quota is used up, and the exchange goes on slowly.
  var isSlow = false
  var slowUp = ByteShare()
  var slowDown = ByteShare()
}

/// A request, or a connection, that is counted but not for good: what never reached an upstream is given back, on whatever path
/// it ends.
struct QuotaTicket: ~Copyable {
  private let row: QuotaRow
  private let quota: PlacedQuota
  /// `nil`: nothing is counted, or it counts for good.
  private var stamp: QuotaStamp?

  init(_ row: QuotaRow, _ quota: PlacedQuota, stamp: QuotaStamp?) {
    self.row = row
    self.quota = quota
    self.stamp = stamp
  }

  deinit { if let stamp { row.giveBack(1, quota, stamp) } }

  /// It counts.
  mutating func settle() { stamp = nil }

  /// Runs `body` while it is counted; afterwards it is given back.
  func hold<Result>(_ body: () async throws -> Result) async throws -> Result { try await body() }
}
