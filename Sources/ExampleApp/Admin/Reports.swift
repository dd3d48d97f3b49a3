import Middlewares
import Pipeline

/// What was used: the numbers of one account, or of all together.
struct UsageNumbers: Equatable, Sendable {
  var requests = 0
  var connections = 0
  var refused = 0
  var failed = 0
  var up = 0
  var down = 0

  init(_ usage: UsageChange) {
    (requests, connections, refused, failed) = (usage.requests, usage.connections, usage.refused, usage.failed)
    (up, down) = (usage.up, usage.down)
  }

  init(_ totals: UsageTotals) {
    (requests, connections, refused, failed) = (totals.requests, totals.connections, totals.refused, totals.failed)
    (up, down) = (totals.up, totals.down)
  }

  init() {}

  var members: [JSON.Member] {
    [
      JSON.Member(name: "requests", value: .int(requests)), JSON.Member(name: "connections", value: .int(connections)),
      JSON.Member(name: "refused", value: .int(refused)), JSON.Member(name: "failed", value: .int(failed)),
      JSON.Member(name: "up", value: .int(up)), JSON.Member(name: "down", value: .int(down)),
    ]
  }
}

/// Usage within one calendar window.
struct WindowReport: Equatable, Sendable {
  /// `minute`, `hour`, `day`, `month`.
  var window: String
  /// RFC 3339, UTC.
  var start: String
  var end: String
  var usage: UsageNumbers

  init(window: String, start: String, end: String, usage: UsageNumbers) {
    (self.window, self.start, self.end, self.usage) = (window, start, end, usage)
  }

  init(_ window: LedgerWindow) {
    self.init(
      window: window.unit.rawValue, start: window.start.rfc3339, end: window.end.rfc3339,
      usage: UsageNumbers(window.usage))
  }

  var json: JSON {
    .object([
      "window": .string(window), "start": .string(start), "end": .string(end), "usage": .object(usage.members),
    ])
  }
}

/// How one quota of an account stands.
struct QuotaStanding: Equatable, Sendable {
  /// `requests/day`, or the name that it was given.
  var quota: String
  /// Of `used` and `limit`: `requests`, `bytes`, `connections` or `milliseconds`.
  var unit: String
  var used: Int
  /// `null`: there is none, or only a running server knows it.
  var limit: Int?
  /// When all, or the next part, of it comes back: RFC 3339, UTC; `null`: never.
  var resets: String?
  var exhausted: Bool

  var json: JSON {
    .object([
      "quota": .string(quota), "unit": .string(unit), "used": .int(used), "limit": limit.map { .int($0) } ?? .null,
      "resets": .text(resets),
      "exhausted": .bool(exhausted),
    ])
  }
}

/// One account, or all of them together.
struct AccountReport: Equatable, Sendable {
  /// The user; `null`: all.
  var user: String?
  var blocked = false
  /// `null`: the one for everybody.
  var plan: String?
  var firstSeen: String?
  var lastSeen: String?
  var total = UsageNumbers()
  var windows: [WindowReport] = []
  var quotas: [QuotaStanding] = []

  var members: [JSON.Member] {
    var members: [JSON.Member] = []
    if let user { members.append(JSON.Member(name: "user", value: .string(user))) }
    if user != nil {
      members.append(JSON.Member(name: "blocked", value: .bool(blocked)))
      members.append(JSON.Member(name: "plan", value: .text(plan)))
    }
    members.append(JSON.Member(name: "firstSeen", value: .text(firstSeen)))
    members.append(JSON.Member(name: "lastSeen", value: .text(lastSeen)))
    members.append(JSON.Member(name: "total", value: .object(total.members)))
    members.append(JSON.Member(name: "windows", value: .array(windows.map(\.json))))
    if user != nil { members.append(JSON.Member(name: "quotas", value: .array(quotas.map(\.json)))) }
    return members
  }

  init(user: String?) { self.user = user }
}

/// The answer to a question about usage, with where it comes from.
struct StatisticsAnswer: Equatable, Sendable {
  /// `server` or `ledger`.
  var source: String
  /// The ledger behind it; `null`: nothing lasts.
  var ledger: String?
  /// When the ledger was last up to date; where no server runs, the time of its newest usage. RFC 3339, UTC; `null`: not yet.
  var lastFlush: String?
  var zone: String
  var account: AccountReport

  var json: JSON {
    .object([
      "source": .string(source), "ledger": .text(ledger), "lastFlush": .text(lastFlush), "zone": .string(zone),
      "account": .object(account.members),
    ])
  }
}

extension AccountReport {
  /// What a ledger knows of an account.
  init(_ known: LedgerAccount, user: String?, at time: UnixTime) {
    self.init(user: user)
    blocked = known.state?.isBlocked ?? false
    plan = known.state?.plan
    firstSeen = known.totals.firstSeen.rfc3339
    lastSeen = known.totals.lastSeen.rfc3339
    total = UsageNumbers(known.totals)
    windows = CalendarUnit.allCases.compactMap { unit in
      known.windows.first { $0.unit == unit && $0.start <= time && time < $0.end }.map(WindowReport.init)
    }
    // A rolling window lies there in parts.
    var parts: [String: QuotaStanding] = [:]
    for counter in known.counters where counter.end.map({ $0 > time }) ?? true {
      var sum =
        parts[counter.name]
        ?? QuotaStanding(
          quota: counter.name, unit: QuotaText.unit(of: counter.name), used: 0, exhausted: false)
      sum.used += counter.used
      let end = counter.end?.rfc3339
      sum.resets = [sum.resets, end].compactMap { $0 }.min()
      parts[counter.name] = sum
    }
    quotas = parts.values.sorted { $0.quota < $1.quota }
  }
}

extension UnixTime {
  /// `2026-11-21T13:27:28Z`.
  var rfc3339: String {
    func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let days = (seconds >= 0 ? seconds : seconds - 86_399) / 86_400
    let rest = seconds - days * 86_400
    // From days to year, month and day by Hinnant, "chrono-compatible low-level date algorithms".
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let month = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * month + 2) / 5 + 1
    let civilMonth = month < 10 ? month + 3 : month - 9
    let year = yearOfEra + era * 400 + (civilMonth <= 2 ? 1 : 0)
    let digits = String(year)
    let padded = String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    return "\(padded)-\(two(civilMonth))-\(two(day))T\(two(rest / 3600)):\(two(rest / 60 % 60)):\(two(rest % 60))Z"
  }
}
