public import Pipeline
internal import Synchronization

/// How an account stands with all quotas of a store.
public struct QuotaReport: Sendable, Equatable {
  public let account: UsageAccount
  /// An operator has blocked it.
  public var isBlocked: Bool
  /// The name of its plan, where somebody has given it one.
  public var plan: String?
  /// Those of which it has used something, or would be refused.
  public var quotas: [QuotaStatus]
}

/// How an account stands with one quota.
public struct QuotaStatus: Sendable, Equatable {
  /// What is counted.
  public enum Unit: String, Sendable, Hashable { case requests, bytes, connections, milliseconds }

  public let name: String
  public let unit: Unit
  /// What counts against the limit now, what live exchanges hold included.
  public var used: Int
  /// `nil`: unlimited. An override of the quota's own is not in it.
  public var limit: Int?
  /// The window: of a rolling one, its last length. `end` is when all that was used until now is free; `nil`: never by itself.
  public var start: UnixTime
  public var end: UnixTime?

  public var isExhausted: Bool { limit.map { used >= $0 } ?? false }
}

extension QuotaRow {
  func report(_ quotas: [PlacedQuota], at time: UnixTime) -> QuotaReport {
    state.withLock { state in
      var report = QuotaReport(account: account, isBlocked: state.isBlocked, plan: state.plan, quotas: [])
      for quota in quotas where quota.slot < state.entries.count {
        state.entries[quota.slot]?.counter.move(to: time, quota.window, book)
        guard let entry = state.entries[quota.slot] else { continue }
        let span = entry.counter.span(quota.window)
        let limit = quota.limit(state.plan, own: nil)
        report.quotas.append(
          QuotaStatus(
            name: quota.name, unit: quota.metric.unit, used: entry.used(quota), limit: limit == .max ? nil : limit,
            start: span.start, end: span.end))
      }
      return report
    }
  }
}

extension Quota.Metric {
  var unit: QuotaStatus.Unit {
    switch self {
    case .requests: .requests
    case .connections: .connections
    case .time: .milliseconds
    case .bytes: .bytes
    }
  }
}
