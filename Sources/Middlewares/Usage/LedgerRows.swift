package import Pipeline

// How the parts of a batch stand in tables: the same in every ledger, so that they can be compared and moved.

extension UsageAccount {
  /// What a ledger calls the kind of an account. In tables: never to be changed.
  package var ledgerKind: Int {
    switch self {
    case .identity: 0
    case .anonymous: 1
    case .unauthenticated: 2
    case .others: 3
    }
  }

  /// The kind of the row that holds the sum over all accounts.
  package static var ledgerGlobalKind: Int { 4 }

  /// The name of an identity; empty for the others, which are one of their kind.
  package var ledgerName: String {
    switch self {
    case .identity(let principal): principal.id
    case .anonymous, .unauthenticated, .others: ""
    }
  }

  /// `nil` for a kind that no account has.
  package init?(ledgerKind kind: Int, name: String) {
    switch kind {
    case 0: self = .identity(Principal(name))
    case 1: self = .anonymous
    case 2: self = .unauthenticated
    case 3: self = .others
    default: return nil
    }
  }
}

extension CalendarUnit {
  /// In tables: never to be changed.
  package var ledgerCode: Int {
    switch self {
    case .minute: 1
    case .hour: 2
    case .day: 3
    case .month: 4
    }
  }

  package init?(ledgerCode code: Int) {
    guard let unit = Self.allCases.first(where: { $0.ledgerCode == code }) else { return nil }
    self = unit
  }
}

extension UnixTime {
  /// Nanoseconds since 1970, which 64 bits hold until 2262; clamped beyond.
  package var ledgerNanoseconds: Int64 {
    let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    if overflow { return seconds < 0 ? .min : .max }
    let (sum, carry) = scaled.addingReportingOverflow(Int64(nanoseconds))
    return carry ? .max : sum
  }

  package init(ledgerNanoseconds value: Int64) {
    let part = value % 1_000_000_000
    let below = part < 0
    self.init(
      seconds: value / 1_000_000_000 - (below ? 1 : 0), nanoseconds: Int32(below ? part + 1_000_000_000 : part))
  }
}

extension UsageChange {
  package static func + (a: UsageChange, b: UsageChange) -> UsageChange {
    UsageChange(
      requests: a.requests + b.requests, connections: a.connections + b.connections, refused: a.refused + b.refused,
      failed: a.failed + b.failed, up: a.up + b.up, down: a.down + b.down)
  }
}

extension UsageTotals {
  /// The sum that a ledger keeps.
  package init(_ sum: UsageChange, firstSeen: UnixTime, lastSeen: UnixTime) {
    self.init(seen: lastSeen)
    add(sum, at: lastSeen)
    self.firstSeen = firstSeen
  }

  package var sum: UsageChange {
    UsageChange(
      requests: requests, connections: connections, refused: refused, failed: failed, up: up, down: down)
  }
}

extension LedgerUsage {
  /// Adds another piece of usage to this one, whosever it is.
  package mutating func merge(_ other: LedgerUsage) {
    total = total + other.total
    firstSeen = min(firstSeen, other.firstSeen)
    lastSeen = max(lastSeen, other.lastSeen)
    for window in other.windows {
      if let index = windows.firstIndex(where: { $0.unit == window.unit && $0.start == window.start }) {
        windows[index].usage = windows[index].usage + window.usage
      } else {
        windows.append(window)
      }
    }
  }
}

extension LedgerBatch {
  /// One row for each account and counter, in the order of their keys, so that several processes that write to one database
  /// lock its rows in the same order; of several states of one account the last.
  package func merged() -> LedgerBatch {
    var merged = LedgerBatch(writer: writer, sequence: sequence)
    var places: [UsageAccount: Int] = [:]
    for row in usage {
      if let place = places[row.account] {
        merged.usage[place].merge(row)
      } else {
        places[row.account] = merged.usage.count
        var single = row
        single.windows = []
        single.merge(
          LedgerUsage(
            account: row.account, total: UsageChange(), firstSeen: row.firstSeen, lastSeen: row.lastSeen,
            windows: row.windows))
        merged.usage.append(single)
      }
    }
    var counterPlaces: [CounterKey: Int] = [:]
    for row in counters {
      let key = CounterKey(name: row.name, account: row.account, start: row.start)
      if let place = counterPlaces[key] {
        merged.counters[place].used += row.used
      } else {
        counterPlaces[key] = merged.counters.count
        merged.counters.append(row)
      }
    }
    places = [:]
    for row in states {
      if let place = places[row.account] {
        merged.states[place] = row
      } else {
        places[row.account] = merged.states.count
        merged.states.append(row)
      }
    }
    merged.usage.sort { $0.account.precedesInLedger($1.account) }
    merged.counters.sort {
      $0.account == $1.account
        ? ($0.name, $0.start) < ($1.name, $1.start) : $0.account.precedesInLedger($1.account)
    }
    merged.states.sort { $0.account.precedesInLedger($1.account) }
    return merged
  }

  /// What the batch adds to the sum over all accounts; `nil`: nothing.
  package var global: LedgerUsage? {
    guard let first = usage.first else { return nil }
    var sum = LedgerUsage(
      account: .others, total: UsageChange(), firstSeen: first.firstSeen, lastSeen: first.lastSeen)
    for row in usage { sum.merge(row) }
    return sum
  }

  private struct CounterKey: Hashable {
    let name: String
    let account: UsageAccount
    let start: UnixTime
  }
}

extension UsageAccount {
  /// The order of ``UsageLedger/accounts(after:limit:at:)``.
  package func precedesInLedger(_ other: UsageAccount) -> Bool {
    if ledgerKind != other.ledgerKind { return ledgerKind < other.ledgerKind }
    return ledgerName.utf8.lexicographicallyPrecedes(other.ledgerName.utf8)
  }
}
