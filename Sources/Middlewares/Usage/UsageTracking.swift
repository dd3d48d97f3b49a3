public import Pipeline

/// Counts who used what: requests, connections, refused and failed exchanges, bytes each way, first and last seen, for every
/// identity and in all.
///
/// ```swift
/// let usage = MemoryUsageStore()
/// UsageTracking(usage)
/// ```
/// It may stand anywhere, above or below the authenticator: an exchange is accounted to who it turns out to be. Where nobody
/// logged in it goes to `anonymous`, where it was turned away before anybody was known, to `unauthenticated`. An exchange
/// counts once, on every path, however often a retry above or below runs it, and however often the same tracking stands in
/// the chain. A live tunnel is recorded at every coarse tick (1 s), not only at its end.
///
/// Refuses nobody. Costs one short lock at the end of an exchange.
public struct UsageTracking: Middleware {
  @inlinable public static var throwsLate: Bool { false }

  private var meter: UsageMeter
  /// Given, and therefore chosen anew by a new configuration.
  private let hasOwnStore: Bool

  /// - Parameters:
  ///   - store: where it is kept; several chains may share one. Two trackings with one store count an exchange once.
  ///   - clock: for first and last seen.
  public init(_ store: any UsageStore, clock: WallClock = .system) {
    meter = UsageMeter(store: store, clock: clock)
    hasOwnStore = false
  }

  /// Keeps the usage in memory of its own; ``store`` leads to it.
  public init(clock: WallClock = .system) {
    meter = UsageMeter(store: MemoryUsageStore(), clock: clock)
    hasOwnStore = true
  }

  /// Where the usage is kept.
  public var store: any UsageStore { meter.store }

  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    guard meter.begin(exchange) else { return try await next() }
    do {
      let summary = try await next()
      meter.end(exchange, .served, exchange.finalTraffic(summary))
      return summary
    } catch {
      meter.end(exchange, UsageOutcome(error, exchange), exchange.traffic)
      throw error
    }
  }

  public var state: AnyObject? { hasOwnStore ? meter : nil }

  /// Usage in memory of its own goes on in the new chain.
  public mutating func adopt(from old: Self) {
    if hasOwnStore, old.hasOwnStore { meter = old.meter }
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

/// What of one exchange has been recorded, and for whom.
private struct UsageMark {
  let store: ObjectIdentifier
  /// One tracking is inside its `next`; another with the same store leaves the exchange to it.
  var isActive = true
  var recorded = UsageChange()
  var account: UsageAccount?
}

/// The marks of an exchange: nearly always one.
private struct UsageMarks {
  private var first: UsageMark?
  private var more: [UsageMark] = []

  subscript(_ store: ObjectIdentifier) -> UsageMark? {
    get { first?.store == store ? first : more.first { $0.store == store } }
    set {
      if first == nil || first?.store == store {
        first = newValue
      } else if let index = more.firstIndex(where: { $0.store == store }) {
        more[index] = newValue ?? more[index]
      } else if let newValue {
        more.append(newValue)
      }
    }
  }
}

private enum UsageMarksKey: ExchangeKey {
  static var defaultValue: UsageMarks { UsageMarks() }
}

/// Brings what is recorded of an exchange into line with what is true of it: at every tick, and at the end of every attempt.
///
/// It records differences, so that an exchange that ends twice (a retry) or turns out to be another one's (a login below)
/// still counts once, with its last outcome, for its last identity.
private final class UsageMeter: ByteMeter {
  let store: any UsageStore
  private let clock: WallClock
  private let identifier: ObjectIdentifier

  init(store: any UsageStore, clock: WallClock) {
    self.store = store
    self.clock = clock
    identifier = ObjectIdentifier(store)
  }

  /// False when a tracking with the same store stands above.
  func begin(_ exchange: Exchange) -> Bool {
    // Read and written as a whole: changing it in place through the exchange would cost an allocation.
    var marks = exchange[UsageMarksKey.self]
    var mark = marks[identifier] ?? UsageMark(store: identifier, isActive: false)
    if mark.isActive { return false }
    mark.isActive = true
    marks[identifier] = mark
    exchange[UsageMarksKey.self] = marks
    exchange.attach(self)
    return true
  }

  func end(_ exchange: Exchange, _ outcome: UsageOutcome, _ traffic: Traffic) {
    exchange.detach(self)
    settle(exchange, outcome, traffic)
  }

  func account(_ moved: Traffic, on exchange: Exchange, isLast: Bool) -> Lease {
    // The end is recorded by `end`, which knows the outcome.
    if !isLast { settle(exchange, .running, exchange.traffic) }
    return .unlimited
  }

  private func settle(_ exchange: Exchange, _ outcome: UsageOutcome, _ traffic: Traffic) {
    var marks = exchange[UsageMarksKey.self]
    guard var mark = marks[identifier] else { return }
    let isFirst = exchange.ordinal == 1
    let truth = UsageChange(
      requests: 1, connections: isFirst ? 1 : 0, refused: outcome == .refused ? 1 : 0,
      failed: outcome == .failed ? 1 : 0, up: Int(clamping: traffic.up), down: Int(clamping: traffic.down))
    let account = account(of: exchange, outcome)
    let time = clock.now
    if mark.account == account {
      store.record(truth - mark.recorded, for: account, at: time)
    } else {
      if let wrong = mark.account { store.record(UsageChange() - mark.recorded, for: wrong, at: time) }
      store.record(truth, for: account, at: time)
    }
    mark.account = account
    mark.recorded = truth
    mark.isActive = outcome == .running
    marks[identifier] = mark
    exchange[UsageMarksKey.self] = marks
  }

  private func account(of exchange: Exchange, _ outcome: UsageOutcome) -> UsageAccount {
    // AnonymousAuth gives everybody a name; by its own default it is the one of this account.
    if let principal = exchange.principal { return principal.id == "anonymous" ? .anonymous : .identity(principal) }
    // Somebody who came as far as an upstream did not have to log in.
    let wasLetIn = outcome != .refused && outcome != .failed || exchange.isCommitted || exchange.upstreamAddress != nil
    return wasLetIn ? .anonymous : .unauthenticated
  }
}
