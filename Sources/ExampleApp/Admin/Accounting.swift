import Middlewares
import Pipeline

/// Everything that is counted and limited for users, and where it lasts: one for the whole program.
final class Accounting: Sendable {
  let usage: MemoryUsageStore
  let quotas: QuotaStore
  let limits: QuotaSettings
  /// `nil`: nothing lasts longer than the program.
  let writer: LedgerWriter?

  init(_ limits: QuotaSettings, ledger: (any UsageLedger)?, cache: CacheSettings? = nil) {
    self.limits = limits
    writer = ledger.map { LedgerWriter($0, every: .seconds(1)) }
    usage = MemoryUsageStore(zone: limits.zone, writer: writer)
    quotas = QuotaStore(
      zone: limits.zone, cache: cache?.cache, writer: writer, whenCacheFails: cache?.fallback ?? .countAlone)
  }

  // MARK: Reading

  /// The ledger with all that was counted until now in it; `nil` where there is none, or it is out: then memory knows more.
  private func upToDate(_ services: (any BackgroundServices)?) async -> (any UsageLedger)? {
    guard let writer, let services, await writer.flush(services) else { return nil }
    return writer.ledger
  }

  /// All accounts together.
  func global(at time: UnixTime, _ services: (any BackgroundServices)?) async throws -> AccountReport {
    if let services, let ledger = await upToDate(services) {
      let known = try await services.offload { try ledger.global(at: time) }
      if let known { return AccountReport(known, user: nil, at: time) }
    }
    return usage.globalReport().map { AccountReport($0, user: nil) } ?? AccountReport(user: nil)
  }

  /// - Returns: `nil` for who has used nothing, and of whom nothing was said.
  func account(
    of name: String, at time: UnixTime, _ services: (any BackgroundServices)?
  ) async throws -> AccountReport? {
    let account = UsageAccount.identity(Principal(name))
    var report: AccountReport?
    if let services, let ledger = await upToDate(services) {
      report = try await services.offload { try ledger.account(account, at: time) }.map {
        AccountReport($0, user: name, at: time)
      }
    } else {
      report = usage.report(of: account).map { AccountReport($0, user: name) }
    }
    guard let now = quotas.report(of: account) else { return report }
    var full = report ?? AccountReport(user: name)
    full.set(now)
    return full
  }

  /// At most `limit` of the accounts that have used something, by the bytes of their names, without their windows.
  func page(
    after name: String?, limit: Int, at time: UnixTime, _ services: (any BackgroundServices)?
  ) async throws -> [AccountReport] {
    var reports: [AccountReport]
    if let services, let ledger = await upToDate(services) {
      let last = name.map { UsageAccount.identity(Principal($0)) }
      reports = try await services.offload { try ledger.accounts(after: last, limit: limit, at: time) }.compactMap {
        guard case .identity(let principal) = $0.account else { return nil }
        return AccountReport($0, user: principal.id, at: time)
      }
    } else {
      let all = usage.accounts().compactMap { account, totals -> AccountReport? in
        guard case .identity(let principal) = account, name.map({ $0.isBefore(principal.id) }) ?? true else {
          return nil
        }
        var report = AccountReport(user: principal.id)
        report.set(totals)
        return report
      }
      reports = Array(all.sorted { ($0.user ?? "").isBefore($1.user ?? "") }.prefix(limit))
    }
    for index in reports.indices {
      if let now = quotas.report(of: .identity(Principal(reports[index].user ?? ""))) { reports[index].set(now) }
    }
    return reports
  }

  // MARK: Changing

  /// Takes effect at once, and lasts where there is a ledger.
  ///
  /// - Throws: ``SettingsError`` for a plan that no quota has.
  func perform(_ action: AdminAction, on name: String, plan: String?) async throws {
    let account = UsageAccount.identity(Principal(name))
    switch action {
    case .block: quotas.block(account)
    case .unblock: quotas.unblock(account)
    case .reset: try await quotas.reset(account)
    case .plan:
      if let plan, !quotas.plans.contains(plan) {
        let known = quotas.plans.isEmpty ? "none is known here" : "known are \(quotas.plans.joined(separator: ", "))"
        throw SettingsError("plan: \(JSON.string(plan).text) is not known; \(known)")
      }
      quotas.setPlan(plan, of: account)
    }
  }
}

extension AccountReport {
  init(_ known: UsageReport, user: String?) {
    self.init(user: user)
    set(known.totals)
    windows = known.windows.map(WindowReport.init)
  }

  mutating func set(_ totals: UsageTotals) {
    total = UsageNumbers(totals)
    firstSeen = totals.firstSeen.rfc3339
    lastSeen = totals.lastSeen.rfc3339
  }

  /// How it stands now, which no ledger knows as well.
  mutating func set(_ now: Middlewares.QuotaReport) {
    blocked = now.isBlocked
    plan = now.plan
    quotas = now.quotas.map { quota in
      QuotaStanding(
        quota: quota.name, unit: quota.unit.rawValue, used: quota.used,
        limit: quota.limit, resets: quota.end?.rfc3339, exhausted: quota.isExhausted)
    }
  }
}

extension String {
  /// By the bytes of UTF-8: the order of a ledger.
  func isBefore(_ other: String) -> Bool { utf8.lexicographicallyPrecedes(other.utf8) }
}
