public import Pipeline

/// A calendar window for which usage is kept.
public enum CalendarUnit: String, Sendable, Hashable, CaseIterable {
  case minute, hour, day, month
}

/// Where usage lasts: a database behind the memory that serves the traffic.
///
/// Its calls block, and are made on the offload pool by one task at a time; traffic never waits for them. A ledger may be
/// shared by several processes: it adds what each of them has counted. Every call ends within a bounded time (5 s or so, ``load``
/// excepted), also where the database hangs: the end of the process waits for it.
public protocol UsageLedger: Sendable {
  /// What it is, for the log: `sqlite /var/lib/sluice/usage.db`. No password.
  var name: String { get }

  /// Adds a batch, all of it or nothing, in one transaction. A batch that was added already, told by its writer and sequence, is
  /// not added again: after a lost answer the same batch is handed over once more.
  ///
  /// - Throws: ``LedgerError``; nothing of the batch has been added, or the answer was lost.
  func add(_ batch: LedgerBatch) throws

  /// What is to be known before traffic comes: accounts that are blocked or have a plan of their own, and the counters and windows
  /// that have not ended at `time`. Handed over row by row, so that a million of them need no array.
  func load(at time: UnixTime, each: (LedgerRow) throws -> Void) throws

  /// One account with its windows that have not ended at `time`; `nil`: never seen.
  func account(_ account: UsageAccount, at time: UnixTime) throws -> LedgerAccount?

  /// The sum over all accounts, kept as they are added, so that asking costs the same with one account and with a million.
  func global(at time: UnixTime) throws -> LedgerAccount?

  /// Accounts in the order of the UTF-8 bytes of their names, identities first, beginning after `account`; 1 to 10,000 at once.
  func accounts(after account: UsageAccount?, limit: Int, at time: UnixTime) throws -> [LedgerAccount]

  /// Forgets windows and counters that are kept no longer, and writers that have been silent for 30 days. Totals stay.
  func prune(_ retention: LedgerRetention, at time: UnixTime) throws

  /// Ends it; every later call throws ``LedgerError/closed``.
  func close()
}

/// What one writer has counted since its last batch.
public struct LedgerBatch: Sendable, Equatable {
  /// Which process, or rather which start of it: 128 random bits.
  public var writer: LedgerWriterID
  /// 1, 2, 3, …: a batch that is repeated keeps its number.
  public var sequence: UInt64
  public var usage: [LedgerUsage] = []
  public var counters: [LedgerCounter] = []
  public var states: [LedgerState] = []

  public init(writer: LedgerWriterID, sequence: UInt64) {
    self.writer = writer
    self.sequence = sequence
  }

  /// Rows to write: accounts, counters and states.
  public var count: Int { usage.count + counters.count + states.count }
}

/// How long after their end windows are kept, for who reads the tables; nothing in here needs them after it.
public struct LedgerRetention: Sendable, Hashable {
  public var minutes: Duration
  public var hours: Duration
  public var days: Duration
  public var months: Duration
  /// Counters of quotas.
  public var counters: Duration

  /// - Parameters: each 0 or more.
  public init(
    minutes: Duration = .seconds(3600), hours: Duration = .seconds(2 * 86_400), days: Duration = .seconds(62 * 86_400),
    months: Duration = .seconds(400 * 86_400), counters: Duration = .seconds(3600)
  ) {
    for (name, value) in [
      ("minutes", minutes), ("hours", hours), ("days", days), ("months", months), ("counters", counters),
    ] {
      precondition(value >= .zero, "LedgerRetention: \(name) is \(value); allowed is 0 or more")
    }
    self.minutes = minutes
    self.hours = hours
    self.days = days
    self.months = months
    self.counters = counters
  }

  /// Windows of this unit that ended before this are forgotten at `time`.
  public func horizon(_ unit: CalendarUnit, at time: UnixTime) -> UnixTime {
    switch unit {
    case .minute: Self.back(minutes, from: time)
    case .hour: Self.back(hours, from: time)
    case .day: Self.back(days, from: time)
    case .month: Self.back(months, from: time)
    }
  }

  /// Counters that ended before this are forgotten at `time`.
  public func counterHorizon(at time: UnixTime) -> UnixTime { Self.back(counters, from: time) }

  private static func back(_ duration: Duration, from time: UnixTime) -> UnixTime {
    let (seconds, overflow) = time.seconds.subtractingReportingOverflow(duration.components.seconds)
    return UnixTime(seconds: overflow ? .min : seconds)
  }
}

/// Tells the writers of a ledger apart.
public struct LedgerWriterID: Sendable, Hashable {
  public let high: UInt64
  public let low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }
}

/// Usage to add to one account: in total, and in the windows in which it happened.
public struct LedgerUsage: Sendable, Equatable {
  public var account: UsageAccount
  public var total: UsageChange
  public var firstSeen: UnixTime
  public var lastSeen: UnixTime
  public var windows: [LedgerWindow]

  public init(
    account: UsageAccount, total: UsageChange, firstSeen: UnixTime, lastSeen: UnixTime, windows: [LedgerWindow] = []
  ) {
    self.account = account
    self.total = total
    self.firstSeen = firstSeen
    self.lastSeen = lastSeen
    self.windows = windows
  }
}

/// Usage within one calendar window.
public struct LedgerWindow: Sendable, Equatable {
  public var unit: CalendarUnit
  public var start: UnixTime
  public var end: UnixTime
  public var usage: UsageChange

  public init(unit: CalendarUnit, start: UnixTime, end: UnixTime, usage: UsageChange) {
    self.unit = unit
    self.start = start
    self.end = end
    self.usage = usage
  }
}

/// What a quota has counted: `used` is added to the counter of this name, account and start.
public struct LedgerCounter: Sendable, Equatable {
  /// The quota: `requests/day`, or the name that the program gave it.
  public var name: String
  public var account: UsageAccount
  /// Of the window, or of the part of a rolling one. `UnixTime(seconds: 0)`: for ever.
  public var start: UnixTime
  /// When it may be forgotten; `nil`: never.
  public var end: UnixTime?
  /// May be negative: a refund. The first batch after a reset says how much has to go.
  public var used: Int

  public init(name: String, account: UsageAccount, start: UnixTime, end: UnixTime?, used: Int) {
    self.name = name
    self.account = account
    self.start = start
    self.end = end
    self.used = used
  }
}

/// What an operator has said of an account; replaces what was said before.
public struct LedgerState: Sendable, Equatable {
  public var account: UsageAccount
  public var isBlocked: Bool
  /// The name of a plan; `nil`: the default one.
  public var plan: String?

  public init(account: UsageAccount, isBlocked: Bool, plan: String? = nil) {
    self.account = account
    self.isBlocked = isBlocked
    self.plan = plan
  }
}

/// One row of what is loaded at the start.
public enum LedgerRow: Sendable, Equatable {
  case state(LedgerState)
  case counter(LedgerCounter)
  /// Totals and open windows of one account.
  case usage(LedgerUsage)
  /// The sum over all accounts.
  case global(LedgerUsage)
}

/// One account as the ledger knows it.
public struct LedgerAccount: Sendable, Equatable {
  public var account: UsageAccount
  public var totals: UsageTotals
  public var windows: [LedgerWindow]
  public var counters: [LedgerCounter]
  public var state: LedgerState?

  public init(
    account: UsageAccount, totals: UsageTotals, windows: [LedgerWindow] = [], counters: [LedgerCounter] = [],
    state: LedgerState? = nil
  ) {
    self.account = account
    self.totals = totals
    self.windows = windows
    self.counters = counters
    self.state = state
  }
}

/// Why a ledger did not do what it was asked.
public enum LedgerError: Error, Sendable, Hashable, CustomStringConvertible {
  /// It cannot be reached, is locked, read-only or full: later it may work. The detail is for the log.
  case unavailable(String)
  /// It refuses what is in the batch, or holds what no version of this program has written: trying again is of no use.
  case rejected(String)
  case closed

  public var description: String {
    switch self {
    case .unavailable(let detail): "the ledger is not available: \(detail)"
    case .rejected(let detail): "the ledger refuses: \(detail)"
    case .closed: "the ledger is closed"
    }
  }
}
