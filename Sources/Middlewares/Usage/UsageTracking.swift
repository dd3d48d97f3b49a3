public import Pipeline

/// Counts who used what: requests, connections, refused and failed exchanges, bytes each way, first and last seen, for every
/// identity and in all, in total and per minute, hour, day and month.
///
/// ```swift
/// let usage = MemoryUsageStore(zone: .utc)
/// UsageTracking(usage)
/// ```
/// It may stand anywhere, above or below the authenticator: an exchange is accounted to who it turns out to be. Where nobody
/// logged in it goes to `anonymous`, where it was turned away before anybody was known, to `unauthenticated`. An exchange
/// counts once, on every path, however often a retry above or below runs it, and however often the same tracking stands in
/// the chain. A live tunnel is recorded at every coarse tick (1 s), not only at its end. Of HTTP the head and the body count, as
/// they are on the client's wire, answers of our own included; of a tunnel what comes after the handshake.
///
/// Refuses nobody. Costs two short locks at the end of an exchange, without a look-up, an allocation or a system call on a
/// connection that is kept.
public struct UsageTracking: ImmediateMiddleware {
  /// What is known of an exchange while it runs.
  public struct Open {
    /// `nil`: a tracking with the same store stands above.
    fileprivate let trail: UsageTrail?
  }

  /// Where the usage is kept.
  public private(set) var store: MemoryUsageStore
  /// Given, and therefore chosen anew by a new configuration.
  private let hasOwnStore: Bool

  /// - Parameter store: where it is kept; several chains may share one. Two trackings with one store count an exchange once.
  public init(_ store: MemoryUsageStore) {
    self.store = store
    hasOwnStore = false
  }

  /// Keeps the usage in memory of its own; ``store`` leads to it.
  public init() {
    store = MemoryUsageStore()
    hasOwnStore = true
  }

  public func before(_ exchange: Exchange) -> Open {
    let trail = UsageTrail.of(exchange, store)
    return Open(trail: trail.begin(exchange) ? trail : nil)
  }

  // The trail stays attached: what a client is told of a refusal comes later, and so does a body that nobody has read.
  public func after(_ exchange: Exchange, _ open: Open, _ summary: Summary) {
    open.trail?.end(exchange, .served, exchange.finalTraffic(summary))
  }

  public func failed(_ exchange: Exchange, _ open: Open, _ error: any Error) -> any Error {
    open.trail?.end(exchange, UsageOutcome(error, exchange), exchange.traffic)
    return error
  }

  public var state: AnyObject? { hasOwnStore ? store : nil }

  /// Usage in memory of its own goes on in the new chain.
  public mutating func adopt(from old: Self) {
    if hasOwnStore, old.hasOwnStore { store = old.store }
  }

  /// Writes usage to the ledger, where there is one, until cancelled, and then what is left.
  public func run(_ services: any BackgroundServices) async throws {
    try await store.writer?.run(services)
  }
}

/// How an exchange stands.
private enum UsageOutcome {
  case running, served, refused, failed

  /// Refused: turned away by this proxy before the commit. A client that left was not turned away.
  init(_ error: any Error, _ exchange: Exchange) {
    let rejection = Rejection(error)
    let isOurs = rejection.source != .upstream && rejection.kind != .clientGone
    self = isOurs && !exchange.isCommitted ? .refused : .failed
  }
}

/// What of the exchange on a connection has been recorded in one store, and in which row. Kept for the next request on it, and the
/// meter of each.
private final class UsageTrail: ByteMeter, @unchecked Sendable {
  // Sound as Sendable: it stands on one connection's exchange, and whoever has that is on the connection's loop.

  /// Whose the row is that was recorded in last.
  private enum Owner {
    case nobody, anonymous, unauthenticated, principal
  }

  // Unchecked: plain numbers, as those of `Exchange`.
  let store: MemoryUsageStore
  /// Of another store: nearly always none.
  let next: UsageTrail?
  /// The exchange that it is about, by its place on the connection.
  @exclusivity(unchecked) private var ordinal = 0
  /// One tracking is inside its `next`; another with the same store leaves the exchange to it.
  @exclusivity(unchecked) private var isActive = false
  /// Attached as a meter, also when the chain is over.
  @exclusivity(unchecked) private var isAttached = false
  @exclusivity(unchecked) private var outcome = UsageOutcome.running
  /// Whether it came as far as an upstream: nobody had to log in.
  @exclusivity(unchecked) private var wasLetIn = true
  @exclusivity(unchecked) private var isRecorded = false
  @exclusivity(unchecked) private var recorded = UsageChange()
  /// The row that was recorded in last, and whose it is.
  private var row: UsageRow?
  @exclusivity(unchecked) private var owner = Owner.nobody
  private var principal: Principal?

  init(_ store: MemoryUsageStore, next: UsageTrail?) {
    self.store = store
    self.next = next
  }

  static func of(_ exchange: Exchange, _ store: MemoryUsageStore) -> UsageTrail {
    let first = exchange[UsageTrailKey.self]
    var trail = first
    while let found = trail {
      if found.store === store { return found }
      trail = found.next
    }
    let new = UsageTrail(store, next: first)
    exchange[UsageTrailKey.self] = new
    return new
  }

  /// False when a tracking with the same store stands above.
  func begin(_ exchange: Exchange) -> Bool {
    if ordinal != exchange.ordinal {
      ordinal = exchange.ordinal
      isRecorded = false
      isAttached = false
      recorded = UsageChange()
    } else if isActive {
      return false
    }
    isActive = true
    outcome = .running
    wasLetIn = true
    if !isAttached { exchange.attach(self) }
    isAttached = true
    return true
  }

  func end(_ exchange: Exchange, _ outcome: UsageOutcome, _ traffic: Traffic) {
    isActive = false
    self.outcome = outcome
    // Before the client is told: our own refusal is no answer of an upstream's.
    wasLetIn = outcome == .served || exchange.isCommitted || exchange.upstreamAddress != nil
    settle(exchange, traffic)
  }

  func account(_ moved: Traffic, on exchange: Exchange, isLast: Bool) -> Lease {
    if isLast { finish(exchange) } else { settle(exchange, exchange.traffic) }
    return .unlimited
  }

  /// The exchange is over, and its client has its answer.
  private func finish(_ exchange: Exchange) {
    isAttached = false
    let traffic = exchange.traffic
    if traffic.up > UInt64(recorded.up) || traffic.down > UInt64(recorded.down) { settle(exchange, traffic) }
  }

  /// Brings what is recorded into line with what is true, in differences, so that an exchange that ends twice (a retry) or
  /// turns out to be another one's (a login below) still counts once, with its last outcome, for its last identity.
  private func settle(_ exchange: Exchange, _ traffic: Traffic) {
    let truth = UsageChange(
      requests: 1, connections: exchange.ordinal == 1 ? 1 : 0, refused: outcome == .refused ? 1 : 0,
      failed: outcome == .failed ? 1 : 0, up: Int(clamping: traffic.up), down: Int(clamping: traffic.down))
    let time = store.time(at: exchange.now)
    let shard = exchange.shard
    let old = row
    while true {
      let now = currentRow(of: exchange, shard, time)
      let isSame = isRecorded && now === old
      let change = isSame ? truth - recorded : truth
      if isSame, change.isZero { break }
      if store.record(change, in: now, shard: shard, at: time) {
        if isRecorded, !isSame, let old { _ = store.record(UsageChange() - recorded, in: old, shard: shard, at: time) }
        row = now
        break
      }
      // Somebody has taken the account's last usage back, and its row with it.
      row = nil
    }
    isRecorded = true
    recorded = truth
  }

  private func currentRow(of exchange: Exchange, _ shard: Int, _ time: UnixTime) -> UsageRow {
    guard let principal = exchange.principal else {
      // These two stand for good.
      let now = wasLetIn ? Owner.anonymous : .unauthenticated
      if owner == now, let row { return row }
      self.principal = nil
      owner = now
      return store.row(of: wasLetIn ? .anonymous : .unauthenticated, shard: shard, at: time)
    }
    if owner == .principal, let row, self.principal == principal { return row }
    self.principal = principal
    owner = .principal
    return store.row(of: UsageAccount(principal), shard: shard, at: time)
  }
}

extension UsageAccount {
  /// AnonymousAuth gives everybody a name; by its own default it is the one of this account.
  init(_ principal: Principal) { self = principal.id == "anonymous" ? .anonymous : .identity(principal) }
}

private enum UsageTrailKey: ExchangeKey {
  static var defaultValue: UsageTrail? { nil }
  static var outlivesExchange: Bool { true }
}
