public import Pipeline

/// Lets an account use so much, and no more, in a window of time: requests, bytes, connections at once, time.
///
/// ```swift
/// let quotas = QuotaStore(zone: .utc, writer: writer)
/// UsageQuota(.requests(100, per: .day), per: .identity, in: quotas)                       // needs an authenticator above
/// UsageQuota(.bytes(10_000_000_000, per: .month), per: .identity, onExhausted: .throttle(to: .bytesPerSecond(100_000)), in: quotas)
/// UsageQuota(.requests(100, per: .day), per: .identity, plans: ["gold": 10_000, "staff": .unlimited], in: quotas)
/// ```
/// At the limit the account is blocked until the window ends: HTTP 429 with `retry-after` and `ratelimit`, SOCKS5 reply 2, a
/// closed TCP connection; the log says which quota. An account that an operator has blocked gets HTTP 403, SOCKS5 reply 2, a
/// close. One for which there is no room in the store is `overloaded`.
///
/// Requests are exact: each takes its place before it goes on, and what ended before it reached an upstream gives it back. A retry
/// counts once. Bytes and time are lent to live exchanges in pieces, large far from the limit and small near it, and none moves
/// more than it holds; only what HTTP sends unasked (heads, the framing of chunks) comes on top, far less than 64 KiB for an
/// exchange. Whoever finds nothing left while others hold some waits for them.
///
/// Costs a short lock of the account at the beginning and, where bytes or time are counted, at the end of an exchange; no look-up
/// and no allocation on a kept connection.
public struct UsageQuota<Key: AccountKey>: TransparentElement {
  @inlinable public static var throwsLate: Bool { false }

  public typealias Carrier = Key.Carrier
  public typealias Needs = Key.Needs
  public typealias Gives = Unchanged

  private let quota: Quota
  private let per: Per<Key>
  private let plans: [String: QuotaAmount]
  private let overrides: Overrides<Key, QuotaAmount>
  private let own: [Principal: QuotaAmount]
  private let exhaustion: QuotaExhaustion
  private let warnAt: Double?
  private let headers: LimitHeaders
  private let hasOwnStore: Bool
  /// Where what would have been refused goes, in shadow.
  private var record: (@Sendable (Rejection) -> Void)?
  /// Where it is counted.
  public private(set) var store: QuotaStore
  /// `nil`: the store has refused it, and so does the check of the chain.
  private var counting: Counting?

  private struct Counting {
    let desk: QuotaDesk
    /// Has to be asked for the first byte, and need not.
    let strict: QuotaMeter
    let lax: QuotaMeter
  }

  /// - Parameters:
  ///   - quota: what is counted, how much of it, and over which time.
  ///   - per: whose quota.
  ///   - plans: other amounts for accounts that have been given a plan of this name (``QuotaStore/setPlan(_:of:)``).
  ///   - overrides: other amounts for some identities; an account's plan comes first.
  ///   - onExhausted: what happens then.
  ///   - warnAt: from which part of the limit on the log has one line for the account and the window: more than 0, at most 1; `nil`:
  ///     none.
  ///   - headers: when an HTTP client is told how its quota stands.
  ///   - store: where it is counted; `nil`: in memory of its own, which a reload hands on.
  public init(
    _ quota: Quota, per: Per<Key>, plans: [String: QuotaAmount] = [:], overrides: Overrides<Key, QuotaAmount> = .none,
    onExhausted: QuotaExhaustion = .refuse, warnAt: Double? = 0.8, headers: LimitHeaders = .onRefusal,
    in store: QuotaStore? = nil
  ) {
    self.quota = quota
    self.per = per
    self.plans = plans
    self.overrides = overrides
    var own: [Principal: QuotaAmount] = [:]
    for (name, amount) in overrides.named {
      if case .identity(let id) = name.kind { own[Principal(id)] = amount }
    }
    self.own = own
    exhaustion = onExhausted
    self.warnAt = warnAt
    self.headers = headers
    hasOwnStore = store == nil
    self.store = store ?? QuotaStore()
    count(in: self.store)
  }

  private mutating func count(in store: QuotaStore) {
    self.store = store
    counting = store.place(quota, plans).map { placed in
      // In shadow nobody is told of a limit that does not hold.
      let desk = QuotaDesk(
        store, placed, exhaustion, warnAt: warnAt, headers: record == nil ? headers : .never, isShadow: record != nil)
      return Counting(
        desk: desk, strict: QuotaMeter(desk, limitsFirstByte: true), lax: QuotaMeter(desk, limitsFirstByte: false))
    }
  }

  @specialized(where Key == IdentityKey)
  @specialized(where Key == OptionalIdentityKey)
  public func through(_ exchange: Key.Carrier, _ needed: Key.Needs.Value, next: Next) async throws -> Summary {
    guard let counting else { preconditionFailure("a chain with this quota is refused when it is built") }
    if !store.isReady { try await store.ready(exchange) }
    let desk = counting.desk
    let slot = desk.quota.slot
    let trail = QuotaTrail.of(exchange, in: store)
    guard trail.enter(slot, exchange) else { return try await next() }
    defer { trail.leave(slot) }
    let principal = Key.principal(of: exchange, needed)
    var amount = own.isEmpty ? nil : principal.flatMap { own[$0] }
    if amount == nil { amount = overrides.choose?(exchange, needed) }
    let moment = store.moment(of: exchange)
    var asked = try ask(trail, principal, amount, desk, moment)
    if case .needsTokens = asked.result.answer {
      asked = try await fetch(exchange, trail, principal, amount, desk, asked)
    }
    do {
      try desk.say(asked.result, of: asked.row, to: exchange, moment)
    } catch let rejection as Rejection {
      guard let record else { throw rejection }
      record(rejection)
      return try await next()
    }
    var counted: QuotaStamp?
    if case .granted(let stamp) = asked.result.answer { counted = stamp }
    var ticket = QuotaTicket(asked.row, desk.quota, stamp: counted)
    let meter = trail.shares[slot].isLax ? counting.lax : counting.strict
    exchange.attach(meter)
    defer { exchange.detach(meter) }
    switch desk.quota.metric {
    case .connections: return try await ticket.hold(next)
    case .requests, .bytes, .time:
      do {
        let summary = try await next()
        trail.charge(slot)
        ticket.settle()
        return summary
      } catch {
        if hasReachedUpstream(exchange, error) {
          trail.charge(slot)
          ticket.settle()
        }
        throw error
      }
    }
  }

  /// Asks again with what the shared cache has given.
  private func fetch(
    _ exchange: Exchange, _ trail: QuotaTrail, _ principal: Principal?, _ amount: QuotaAmount?, _ desk: QuotaDesk,
    _ first: Asked
  ) async throws -> Asked {
    var asked = first
    while case .needsTokens = asked.result.answer {
      let fetched = try await store.fetch(
        desk.cost, least: 1, asked.row, desk, limit: asked.result.limit, on: exchange
      ) { exchange.now }
      let isMine = if case .granted = fetched { desk.cost > 0 } else { false }
      asked = try ask(trail, principal, amount, desk, store.moment(of: exchange), isFetched: isMine)
    }
    return asked
  }

  private typealias Asked = (result: QuotaDesk.Verdict, row: QuotaRow)

  private func ask(
    _ trail: QuotaTrail, _ principal: Principal?, _ amount: QuotaAmount?, _ desk: QuotaDesk, _ moment: QuotaMoment,
    isFetched: Bool = false
  ) throws -> Asked {
    let quota = desk.quota
    // An attempt before this one has paid.
    let isPaid = quota.metric == .requests && trail.isCharged(quota.slot)
    var share = QuotaShare()
    share.own = amount
    let found = trail.work(on: quota, for: principal, at: moment) { entry, state -> QuotaDesk.Verdict in
      let verdict =
        isPaid
        ? QuotaDesk.Verdict(answer: state.isBlocked ? .blocked : .granted(nil))
        : desk.admit(&entry, state, own: amount, moment, isFetched: isFetched)
      switch verdict.answer {
      case .granted:
        switch quota.metric {
        case .bytes(let ways): share.isLax = desk.lendAhead(ways, verdict.limit, &share, &entry, moment.now)
        case .time:
          desk.beginTime(&share, &entry, moment.now)
          share.isLax = true
        case .requests, .connections: share.isLax = true
        }
      case .slowed:
        if case .time = quota.metric { desk.beginTime(&share, &entry, moment.now) }
        desk.beginSlowly(&share, &entry, moment.now)
      case .blocked, .exhausted, .needsTokens, .unavailable: break
      }
      return verdict
    }
    trail.begin(share, quota.slot)
    guard let found else { throw Rejection(.overloaded, detail: "no room for another account: quota \(quota.name)") }
    return found
  }

  /// Whether an upstream may have seen something of it.
  private func hasReachedUpstream(_ exchange: Exchange, _ error: any Error) -> Bool {
    exchange.isCommitted || exchange.upstreamAddress != nil && Rejection(error).retry != .safe
  }
}

extension UsageQuota: Middleware where Key.Carrier == Exchange, Key.Needs == Anyone {
  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, (), next: next)
  }
}

extension UsageQuota {
  public var parameters: [Parameter] {
    var parameters = [
      Parameter("quota", quota.name), Parameter("limit", "\(quota.limit)"), Parameter("per", per.label),
      Parameter("on exhausted", "\(exhaustion)"),
    ]
    if !plans.isEmpty {
      parameters.append(
        Parameter("plans", plans.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")))
    }
    return parameters
  }

  public var state: AnyObject? { hasOwnStore ? store : nil }

  public var metricSources: [any MetricSource] { [store] + ((store.cache as? any MetricSource).map { [$0] } ?? []) }

  public func validate(into problems: inout Problems) {
    for amount in [quota.limit] + plans.sorted(by: { $0.key < $1.key }).map(\.value) + overrides.named.map(\.value) {
      if let problem = amount.problem(quota.metric) { problems.refuse(problem) }
    }
    if let problem = quota.window.problem { problems.refuse(problem) }
    if !(1...64).contains(quota.name.utf8.count) || !quota.name.utf8.allSatisfy({ (0x20...0x7e).contains($0) }) {
      problems.refuse("a quota named \"\(quota.name)\": 1 to 64 printable ASCII characters are allowed")
    }
    for (name, _) in overrides.named {
      if case .identity = name.kind { continue }
      problems.refuse("an override for \(name), which is no key of a quota per \(per.label)")
    }
    if let warnAt, !(warnAt > 0 && warnAt <= 1) {
      problems.refuse("a warning at \(warnAt) of the limit: more than 0 to 1 are allowed")
    }
    if let problem = headers.problem { problems.refuse(problem) }
    if case .throttle(let rate) = exhaustion.kind, let problem = rate.problem {
      problems.refuse("throttled to \(problem)")
    }
    if store.cache != nil, case .rolling = quota.window.kind {
      problems.refuse(
        "a rolling window cannot be shared through a cache: use a calendar window, or a store without one")
    }
    if counting == nil {
      problems.refuse(
        "the store has another quota named \"\(quota.name)\", which counts something else, or 64 quotas: give this one a name, or a store, of its own"
      )
    }
  }

  /// What the store does behind the exchanges, until cancelled.
  public func run(_ services: any BackgroundServices) async throws { try await store.run(services) }

  /// Counts, and hands to `record` who would have been refused. Nobody is refused, slowed down or ended.
  public func shadow(_ record: @escaping @Sendable (Rejection) -> Void = { _ in }) -> Self {
    var copy = self
    copy.record = record
    copy.count(in: store)
    return copy
  }

  /// What was counted in memory of its own goes on in the new chain, under the new limit. A store that was given is the program's.
  public mutating func adopt(from old: Self) {
    if hasOwnStore, old.hasOwnStore { count(in: old.store) }
  }
}

/// Whose quota it is: an identity, or whoever has none.
public protocol AccountKey: BucketKey where Carrier == Exchange {
  /// `nil`: nobody has logged in.
  static func principal(of exchange: Exchange, _ needed: Needs.Value) -> Principal?
}

extension IdentityKey: AccountKey {
  public static func principal(of exchange: Exchange, _ needed: Principal) -> Principal? { needed }
}

extension TypedIdentityKey: AccountKey {
  public static func principal(of exchange: Exchange, _ needed: User) -> Principal? { needed.principal }
}

extension OptionalIdentityKey: AccountKey {
  public static func principal(of exchange: Exchange, _ needed: Void) -> Principal? { exchange.principal }
}
