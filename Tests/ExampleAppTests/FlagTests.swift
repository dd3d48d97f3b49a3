import Middlewares
import Testing

@testable import ExampleApp

@Suite struct FlagTests {
  private let declared: [Flag] = [
    .required("listen", "ADDR", "where to listen"), .value("workers", "N", "loops", default: "2"),
    .list("user", "NAME:PASSWORD", "a user"), .toggle("bare", "no chain"),
  ]

  private func sentence(_ arguments: String...) -> String {
    do {
      _ = try ParsedFlags(arguments, declared: declared)
      return "no error"
    } catch {
      return "\(error)"
    }
  }

  @Test func bothWaysToWriteAValueAreRead() throws {
    let flags = try ParsedFlags(
      ["--listen=127.0.0.1:1", "--user", "a:b", "--user", "c:d=e", "--bare"], declared: declared)
    #expect(flags.text("listen") == "127.0.0.1:1")
    #expect(flags.all("user") == ["a:b", "c:d=e"])
    #expect(flags.has("bare"))
    #expect(flags.text("workers") == "2")
    #expect(!flags.has("workers"))
  }

  @Test func everyMistakeIsOneSentenceThatSaysHowToMendIt() {
    #expect(sentence() == "--listen ADDR is missing: where to listen")
    #expect(
      sentence("--lisen", "x")
        == "--lisen is not known; did you mean --listen? known are --listen, --workers, --user, --bare")
    #expect(sentence("x") == "\"x\" is not a flag; known are --listen, --workers, --user, --bare")
    #expect(sentence("--listen") == "--listen needs a value; write --listen ADDR")
    #expect(sentence("--listen", "a", "--listen", "b") == "--listen is given twice; give it once")
    #expect(sentence("--bare=1") == "--bare takes no value; write --bare alone")
  }

  @Test func aValueOutOfRangeNamesTheFlagTheValueAndWhatIsAllowed() throws {
    let flags = try ParsedFlags(["--listen", "x", "--workers", "0"], declared: declared)
    let error = #expect(throws: SettingsError.self) {
      try flags.parsed("workers", allowed: "1...1024") { readInt($0, in: 1...1024) }
    }
    #expect(error?.description == "--workers: \"0\" is not allowed; allowed is 1...1024")
  }

  @Test(arguments: [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000)])
  func durationsHaveAUnit(text: String, milliseconds: Int) {
    #expect(readDuration(text) == .milliseconds(milliseconds))
  }

  @Test(arguments: ["", "10", "0s", "-1s", "1.5s", "1d", "s", "99999999999999999999s", "10 s", "1s1m"])
  func whatIsNoDurationIsRefused(text: String) {
    #expect(readDuration(text) == nil)
  }

  @Test(arguments: [("1000B/s", 1_000), ("500kB/s", 500_000), ("10MB/s", 10_000_000), ("1000GB/s", 1_000_000_000_000)])
  func byteRatesHaveAUnit(text: String, bytes: Int) {
    #expect(readByteRate(text) == .bytesPerSecond(bytes))
  }

  @Test(arguments: [
    "", "10", "MB/s", "1.5MB/s", "10 MB/s", "10MB", "999B/s", "1001GB/s", "99999999999999999999kB/s", "-1kB/s",
  ])
  func whatIsNoByteRateIsRefused(text: String) {
    #expect(readByteRate(text) == nil)
  }

  @Test func aPasswordMayHoldColons() throws {
    let user = try #require(readUser("ann:a:b"))
    #expect(user.name == "ann" && user.password == "a:b")
    #expect(readUser("ann") == nil)
    #expect(readUser(":x") == nil)
    #expect(readUser("ann:") == nil)
    #expect(readUser(String(repeating: "a", count: 256) + ":x") == nil)
  }
}
