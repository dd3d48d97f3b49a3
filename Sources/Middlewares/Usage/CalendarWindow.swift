public import Pipeline
internal import Synchronization

/// One window of a calendar: from `start` up to, and without, `end`.
public struct CalendarWindow: Sendable, Hashable {
  public let unit: CalendarUnit
  public let start: UnixTime
  public let end: UnixTime

  /// The window that `time` lies in.
  ///
  /// A day and a month begin at midnight in the zone, or with the first moment after it where a change of the clock leaves
  /// midnight out, so that a day may have 23 or 25 hours. Hours and minutes are always as long as they are called.
  public init(_ unit: CalendarUnit, containing time: UnixTime, in zone: CalendarZone) {
    self.unit = unit
    switch unit {
    case .minute: (start, end) = Self.aligned(to: 60, time.seconds, zone)
    case .hour: (start, end) = Self.aligned(to: 3600, time.seconds, zone)
    case .day:
      (start, end) = Self.interval(time.seconds, zone) {
        CivilDate.day(of: $0)
      } begin: {
        $0
      }
    case .month:
      (start, end) = Self.interval(time.seconds, zone) {
        CivilDate(day: CivilDate.day(of: $0)).monthNumber
      } begin: {
        CivilDate.firstDay(ofMonth: $0)
      }
    }
  }

  init(_ unit: CalendarUnit, start: UnixTime, end: UnixTime) {
    self.unit = unit
    self.start = start
    self.end = end
  }

  func contains(_ time: UnixTime) -> Bool { start <= time && time < end }

  private static func aligned(
    to length: Int64, _ seconds: Int64, _ zone: CalendarZone
  ) -> (start: UnixTime, end: UnixTime) {
    let local = seconds + Int64(zone.offset(at: UnixTime(seconds: seconds)))
    let start = seconds - floorModulo(local, length)
    return (UnixTime(seconds: start), UnixTime(seconds: start + length))
  }

  /// - Parameters:
  ///   - number: of the window that a local second lies in.
  ///   - begin: the first day of a window.
  private static func interval(
    _ seconds: Int64, _ zone: CalendarZone, number: (Int64) -> Int64, begin: (Int64) -> Int64
  ) -> (start: UnixTime, end: UnixTime) {
    var current = number(seconds + offset(seconds, zone))
    var start = midnight(of: begin(current), zone)
    // Where a clock goes back over midnight, a piece of the old day comes again: it belongs to the new one.
    if seconds < start {
      current -= 1
      start = midnight(of: begin(current), zone)
    }
    var end = midnight(of: begin(current + 1), zone)
    if seconds >= end {
      (start, current) = (end, current + 1)
      end = midnight(of: begin(current + 1), zone)
    }
    return (UnixTime(seconds: start), UnixTime(seconds: end))
  }

  /// The first moment of a day in a zone.
  private static func midnight(of day: Int64, _ zone: CalendarZone) -> Int64 {
    let local = day * 86_400
    let guess = local - offset(local - offset(local, zone), zone)
    func hasBegun(_ seconds: Int64) -> Bool { seconds + offset(seconds, zone) >= local }
    if hasBegun(guess), !hasBegun(guess - 1) { return guess }
    // A change of the clock is near: no zone is more than 14 hours away from UTC.
    var before = local - 15 * 3600
    var after = local + 15 * 3600
    while after - before > 1 {
      let middle = before + (after - before) / 2
      if hasBegun(middle) { after = middle } else { before = middle }
    }
    return after
  }

  private static func offset(_ seconds: Int64, _ zone: CalendarZone) -> Int64 {
    Int64(zone.offset(at: UnixTime(seconds: seconds)))
  }
}

/// Days and months of the proleptic Gregorian calendar, after Howard Hinnant, "chrono-compatible low-level date algorithms".
struct CivilDate {
  let year: Int64
  /// 1...12
  let month: Int64

  /// - Parameter day: since 1970-01-01.
  init(day: Int64) {
    let shifted = day + 719_468
    let era = floorDivide(shifted, 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  }

  /// Months since the year 0.
  var monthNumber: Int64 { year * 12 + month - 1 }

  /// The day that a second lies in, since 1970-01-01.
  static func day(of seconds: Int64) -> Int64 { floorDivide(seconds, 86_400) }

  static func firstDay(ofMonth number: Int64) -> Int64 {
    let month = floorModulo(number, 12) + 1
    let year = floorDivide(number, 12) - (month <= 2 ? 1 : 0)
    let era = floorDivide(year, 400)
    let yearOfEra = year - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }
}

func floorDivide(_ a: Int64, _ b: Int64) -> Int64 { a >= 0 ? a / b : -((b - 1 - a) / b) }
func floorModulo(_ a: Int64, _ b: Int64) -> Int64 { a - floorDivide(a, b) * b }

/// The windows of this moment, found once for all accounts: a zone's rules are not asked for an exchange.
final class CalendarBook: Sendable {
  let zone: CalendarZone
  private let current: Mutex<[CalendarWindow]>

  init(_ zone: CalendarZone) {
    self.zone = zone
    current = Mutex([])
  }

  func window(_ unit: CalendarUnit, at time: UnixTime) -> CalendarWindow {
    let known = current.withLock { $0.first { $0.unit == unit && $0.contains(time) } }
    if let known { return known }
    // Outside the lock: the rules are somebody else's code.
    let found = CalendarWindow(unit, containing: time, in: zone)
    current.withLock { windows in
      windows.removeAll { $0.unit == unit }
      windows.append(found)
    }
    return found
  }
}

/// The wall time of an exchange, without asking the system for each: monotonic time, and what lies between the two clocks, which
/// is looked at again every 100 ms. So a step of the clock is noticed that late.
final class CoarseWallClock: Sendable {
  private static let pace: UInt64 = 100_000_000

  private let clock: WallClock
  private let readAt = Atomic<UInt64>(0)
  private let offset = Atomic<Int64>(0)

  init(_ clock: WallClock) { self.clock = clock }

  func time(at now: Instant) -> UnixTime {
    let last = readAt.load(ordering: .acquiring)
    // Another loop's time may lag a little behind the one that has looked.
    let age = now.nanoseconds > last ? now.nanoseconds - last : 0
    let nanoseconds: Int64
    if last != 0, age < Self.pace {
      nanoseconds = Int64(clamping: now.nanoseconds) &+ offset.load(ordering: .relaxed)
    } else {
      let time = clock.now
      nanoseconds = time.wholeNanoseconds
      offset.store(nanoseconds &- Int64(clamping: now.nanoseconds), ordering: .relaxed)
      readAt.store(max(now.nanoseconds, 1), ordering: .releasing)
    }
    return UnixTime(wholeNanoseconds: nanoseconds)
  }

  /// Asks the system.
  var now: UnixTime { clock.now }
}

extension UnixTime {
  /// Since 1970, clamped to what 64 bits hold (the year 2262).
  var wholeNanoseconds: Int64 {
    let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    if overflow { return seconds < 0 ? .min : .max }
    let (sum, carry) = scaled.addingReportingOverflow(Int64(nanoseconds))
    return carry ? .max : sum
  }

  init(wholeNanoseconds: Int64) {
    let seconds = floorDivide(wholeNanoseconds, 1_000_000_000)
    self.init(seconds: seconds, nanoseconds: Int32(wholeNanoseconds - seconds * 1_000_000_000))
  }
}
