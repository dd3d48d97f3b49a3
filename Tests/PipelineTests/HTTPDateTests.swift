import Pipeline
import Testing

struct HTTPDateTests {
  private func parse(_ text: String, now: Int64 = 1_763_740_800) -> Int64? {
    HTTPDate.parse(Array(text.utf8).span, now: now)
  }

  @Test func allThreeFormsOfTheRFCAreTheSameSecond() {
    #expect(parse("Sun, 06 Nov 1994 08:49:37 GMT") == 784_111_777)
    #expect(parse("Sunday, 06-Nov-94 08:49:37 GMT") == 784_111_777)
    #expect(parse("Sun Nov  6 08:49:37 1994") == 784_111_777)
  }

  @Test(arguments: [0, 784_111_777, 951_782_400, 1_709_164_800, -1, 253_402_300_799] as [Int64])
  func whatIsWrittenIsReadAgain(_ seconds: Int64) {
    #expect(parse(HTTPDate.text(seconds)) == seconds)
  }

  @Test func theTextIsThePreferredForm() {
    #expect(HTTPDate.text(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT")
    #expect(HTTPDate.text(951_782_400) == "Tue, 29 Feb 2000 00:00:00 GMT")
    #expect(HTTPDate.text(.max) == "Fri, 31 Dec 9999 23:59:59 GMT")
  }

  @Test func twoDigitsOfAYearAreOfThisCenturyUnlessThatIsTooFarAhead() {
    #expect(parse("Monday, 06-Nov-30 08:49:37 GMT") == 1_920_185_377)
    #expect(parse("Sunday, 06-Nov-94 08:49:37 GMT") == 784_111_777)
  }

  @Test(arguments: [
    "", "now", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 31 Feb 1994 08:49:37 GMT",
    "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:00 GMT",
    "Sun, 06 nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT ", "Sun Nov 6 08:49:37 1994", "0",
    "Sun, 6 Nov 1994 08:49:37 GMT", "Sun,", "Sun, 06-Nov-94",
  ])
  func anythingElseIsNoDate(_ text: String) { #expect(parse(text) == nil) }
}
