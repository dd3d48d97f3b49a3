import Middlewares
import Pipeline

/// Everything that is counted and limited for users, and where it lasts: one for the whole program.
final class Accounting: Sendable {
  let usage: MemoryUsageStore
  let writer: LedgerWriter?
  let zone: CalendarZone

  init(usage: MemoryUsageStore, writer: LedgerWriter?, zone: CalendarZone) {
    self.usage = usage
    self.writer = writer
    self.zone = zone
  }

  /// All accounts together.
  func global(at time: UnixTime) async throws -> AccountReport {
    var report = AccountReport(user: nil)
    if let totals = usage.global() { report.set(totals) }
    return report
  }

  /// - Returns: `nil` for who has used nothing, and of whom nothing was said.
  func account(of name: String, at time: UnixTime) async throws -> AccountReport? {
    guard let totals = usage.totals(of: .identity(Principal(name))) else { return nil }
    var report = AccountReport(user: name)
    report.set(totals)
    return report
  }

  /// The names of all who have used something.
  func identities() async throws -> [String] {
    usage.accounts().keys.compactMap { account in
      if case .identity(let principal) = account { principal.id } else { nil }
    }
  }
}

extension AccountReport {
  mutating func set(_ totals: UsageTotals) {
    total = UsageNumbers(totals)
    firstSeen = totals.firstSeen.rfc3339
    lastSeen = totals.lastSeen.rfc3339
  }
}
