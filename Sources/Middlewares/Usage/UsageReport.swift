internal import Pipeline

/// What an account has used: in total, in the windows that are open, and in the last hour, day and 30 days.
public struct UsageReport: Sendable, Equatable {
  public let account: UsageAccount
  public var totals: UsageTotals
  /// The calendar windows that `time` lies in, the shortest first.
  public var windows: [LedgerWindow]
  /// The last 60 minutes, 24 hours and 30 days up to the time that was asked for: estimates, see ``UsageEstimate``.
  public var lastHour: UsageChange
  public var lastDay: UsageChange
  public var last30Days: UsageChange
}

/// Usage of a time that ends now, from calendar windows alone: what the open window has, and that share of the one before it
/// which still lies in the time, as if it had come evenly ("sliding window counter").
///
/// Right where usage was even over the window before; at worst wrong by all of that window's share. A month is longer than 30
/// days, or shorter: the part of it that lies in the time is counted.
struct UsageEstimate {
  let current: UsageChange
  let currentStart: UnixTime
  let previous: UsageChange
  let previousStart: UnixTime

  func usage(ofLast length: Duration, at time: UnixTime) -> UsageChange {
    let length = length.inSeconds
    let elapsed = Self.seconds(from: currentStart, to: time)
    if elapsed >= length { return current.scaled(elapsed > 0 ? length / elapsed : 1) }
    var sum = current
    let whole = Self.seconds(from: previousStart, to: currentStart)
    if whole > 0 { sum += previous.scaled(min(1, (length - elapsed) / whole)) }
    return sum
  }

  private static func seconds(from a: UnixTime, to b: UnixTime) -> Double {
    max(0, Double(b.seconds - a.seconds) + Double(b.nanoseconds - a.nanoseconds) / 1e9)
  }
}

/// How usage came in over one calendar unit: the open window, and the one before it.
struct UsageWindow {
  private(set) var start: UnixTime
  private(set) var end: UnixTime
  private(set) var usage = UsageChange()
  private var before = UsageChange()
  private var beforeStart: UnixTime

  init(_ window: CalendarWindow) {
    start = window.start
    end = window.end
    beforeStart = window.start
  }

  /// Goes on to the window that is open now.
  mutating func move(to window: CalendarWindow) {
    if window.start == start { return }
    if window.start == end {
      (before, beforeStart) = (usage, start)
    } else {
      (before, beforeStart) = (UsageChange(), window.start)
    }
    usage = UsageChange()
    start = window.start
    end = window.end
  }

  mutating func add(_ change: UsageChange) { usage += change }

  var estimate: UsageEstimate {
    UsageEstimate(current: usage, currentStart: start, previous: before, previousStart: beforeStart)
  }

  func open(_ unit: CalendarUnit) -> LedgerWindow { LedgerWindow(unit: unit, start: start, end: end, usage: usage) }
}

extension UsageReport {
  /// Of several rows of one account.
  mutating func add(_ other: UsageReport) {
    totals.add(other.totals.usage, at: other.totals.lastSeen)
    totals.firstSeen = min(totals.firstSeen, other.totals.firstSeen)
    for index in windows.indices where index < other.windows.count {
      windows[index].usage += other.windows[index].usage
    }
    lastHour += other.lastHour
    lastDay += other.lastDay
    last30Days += other.last30Days
  }
}
