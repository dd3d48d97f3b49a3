import Pipeline
import PipelineTesting
import Testing

@testable import Middlewares

/// Zones by the rules of one year, so that no test depends on what the machine knows.
enum TestZones {
  /// Europe/Berlin in 2026: summer time from 29 March, 01:00 UTC, to 25 October, 01:00 UTC.
  static let berlin = CalendarZone(name: "Europe/Berlin") { time in
    (1_774_746_000..<1_792_890_000).contains(time.seconds) ? 7200 : 3600
  }
  /// Summer time begins at midnight of 29 March 2026, 22:00 UTC of the day before: that day has no midnight.
  static let withoutMidnight = CalendarZone(name: "gap") { $0.seconds < 1_774_735_200 ? 7200 : 10_800 }
  /// Summer time ends at midnight: 25 October 2026, 21:00 UTC, 00:00 becomes 23:00 again.
  static let midnightTwice = CalendarZone(name: "twice") { $0.seconds < 1_792_875_600 ? 10_800 : 7200 }
}

@Suite struct CalendarWindowTests {
  private func window(_ unit: CalendarUnit, _ seconds: Int64, _ zone: CalendarZone = .utc) -> CalendarWindow {
    CalendarWindow(unit, containing: UnixTime(seconds: seconds), in: zone)
  }

  private func length(_ window: CalendarWindow) -> Int64 { window.end.seconds - window.start.seconds }

  @Test func aMonthEndsWhereTheCalendarSaysAlsoInALeapYear() {
    // 2024-02-29T12:00:00Z, 2026-02-28T23:59:59Z, 2100-02-28 (no leap year), 2000-02-29 (one).
    #expect(window(.month, 1_709_208_000).start.seconds == 1_706_745_600)
    #expect(window(.month, 1_709_208_000).end.seconds == 1_709_251_200)
    #expect(window(.month, 1_772_323_199).end.seconds == 1_772_323_200)
    #expect(length(window(.month, 1_772_323_199)) == 28 * 86_400)
    #expect(length(window(.month, 4_107_456_000)) == 28 * 86_400)
    #expect(length(window(.month, 951_782_400)) == 29 * 86_400)
    #expect(length(window(.month, 1_772_323_200)) == 31 * 86_400)
    // December and January.
    #expect(window(.month, 1_798_761_599).end.seconds == 1_798_761_600)
    #expect(length(window(.month, 1_798_761_600)) == 31 * 86_400)
  }

  @Test func aDayHas23Or25HoursWhereTheClockIsChanged() {
    let spring = window(.day, 1_774_746_000, TestZones.berlin)
    #expect(spring.start.seconds == 1_774_738_800)
    #expect(length(spring) == 23 * 3600)
    let autumn = window(.day, 1_792_890_000, TestZones.berlin)
    #expect(autumn.start.seconds == 1_792_879_200)
    #expect(length(autumn) == 25 * 3600)
    #expect(length(window(.day, 1_780_000_000, TestZones.berlin)) == 86_400)
    // March is an hour short, October an hour long.
    #expect(length(window(.month, 1_774_746_000, TestZones.berlin)) == 31 * 86_400 - 3600)
    #expect(length(window(.month, 1_792_890_000, TestZones.berlin)) == 31 * 86_400 + 3600)
  }

  @Test func aDayWithoutMidnightBeginsWithItsFirstMoment() {
    let day = window(.day, 1_774_740_000, TestZones.withoutMidnight)
    #expect(day.start.seconds == 1_774_735_200)
    #expect(length(day) == 23 * 3600)
  }

  @Test func hoursAndMinutesAreAlignedToTheZoneAndNeverLonger() {
    let nepal = CalendarZone(name: "Asia/Kathmandu") { _ in 20_700 }
    #expect(window(.hour, 1_000_000, nepal).start.seconds == 998_100)
    #expect(length(window(.hour, 1_792_890_000, TestZones.berlin)) == 3600)
    #expect(length(window(.minute, 1_792_890_000, TestZones.berlin)) == 60)
    #expect(window(.minute, -1).start.seconds == -60)
  }

  /// Whatever the zone does: every moment lies in one window, and the next begins where it ends.
  @Test(arguments: [CalendarZone.utc, TestZones.berlin, TestZones.withoutMidnight, TestZones.midnightTwice])
  func windowsFollowOneAnotherWithoutGapOrOverlap(_ zone: CalendarZone) {
    for unit in CalendarUnit.allCases {
      var random = SeededRandom(seed: 7)
      for _ in 0..<300 {
        let base: Int64 = random.next() % 2 == 0 ? 1_774_735_200 : 1_792_880_000
        let time = UnixTime(seconds: base + Int64(random.next() % 400_000) - 200_000)
        let window = CalendarWindow(unit, containing: time, in: zone)
        #expect(window.contains(time))
        let next = CalendarWindow(unit, containing: window.end, in: zone)
        #expect(next.start == window.end)
        let last = CalendarWindow(unit, containing: UnixTime(seconds: window.end.seconds - 1), in: zone)
        #expect(last == window)
        #expect(CalendarWindow(unit, containing: window.start, in: zone) == window)
      }
    }
  }

  @Test func daysAndMonthsAreNumberedBackAndForth() {
    for month in Int64(1500 * 12)...Int64(2500 * 12) {
      let first = CivilDate.firstDay(ofMonth: month)
      #expect(CivilDate(day: first).monthNumber == month)
      #expect(CivilDate(day: first - 1).monthNumber == month - 1)
    }
    #expect(CivilDate.firstDay(ofMonth: 1970 * 12) == 0)
  }

  @Test func theRulesOfAZoneAreAskedOnceAWindow() {
    let asked = Counted()
    let zone = CalendarZone(name: "counted") { _ in
      asked.add()
      return 0
    }
    let book = CalendarBook(zone)
    for second in 0..<5000 { _ = book.window(.day, at: UnixTime(seconds: Int64(second))) }
    #expect(asked.count < 20)
  }
}
