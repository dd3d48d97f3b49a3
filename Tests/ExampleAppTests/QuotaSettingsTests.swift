import Middlewares
import Pipeline
import Testing

@testable import ExampleApp

@Suite struct QuotaSettingsTests {
  private func read(_ arguments: String...) throws -> QuotaSettings {
    try QuotaSettings(ParsedFlags(arguments, declared: QuotaSettings.flags))
  }

  private func sentence(_ arguments: String...) -> String {
    do {
      _ = try QuotaSettings(ParsedFlags(arguments, declared: QuotaSettings.flags))
      return "accepted"
    } catch {
      return "\(error)"
    }
  }

  @Test func quotasAreReadAsTheyAreWritten() throws {
    let settings = try read(
      "--quota", "requests=100/day,bytes=10MB/month", "--quota", "time=2h/hour", "--quota", "connections=5",
      "--quota", "requests=7/30m", "--quota", "bytes=1GB/ever")
    #expect(
      settings.rules.map(\.quota) == [
        .requests(100, per: .day), .bytes(10_000_000, per: .month), .time(.seconds(7200), per: .hour),
        .concurrentConnections(5), .requests(7, per: .rolling(.seconds(1800))), .bytes(1_000_000_000, per: .forever),
      ])
    #expect(settings.rules.map(\.quota.name).prefix(4) == ["requests/day", "bytes/month", "time/hour", "connections"])
    #expect(settings.exhaustion == .refuse && settings.zone == .utc)
  }

  @Test func aPlanHasItsOwnAmountsAndMayLimitWhatIsFreeForOthers() throws {
    let settings = try read(
      "--quota", "requests=100/day", "--plan", "gold:requests=1000/day,bytes=1GB/month", "--plan",
      "staff:requests=unlimited/day")
    #expect(settings.rules.count == 2)
    #expect(settings.rules[0].plans == ["gold": 1000, "staff": .unlimited])
    #expect(settings.rules[1].plans == ["gold": 1_000_000_000] && settings.rules[1].quota.name == "bytes/month")
  }

  @Test func withoutAQuotaEverybodyIsCountedAndABlockCanBite() throws {
    let settings = try read()
    #expect(settings.rules.map(\.quota.name) == ["requests/day"])
    #expect(settings.rules.map(\.quota) == [Quota.requests(0, per: .day).unlimited])
  }

  @Test(arguments: [
    "requests", "requests=", "requests=1", "requests=-1/day", "requests=1/week", "requests=1/day/day", "bytes=10/day",
    "bytes=10MiB/day", "bytes=99999999999TB/day", "time=2/day", "connections=5/day", "hits=1/day", "requests=1/500ms",
    "requests=unlimited/day", "requests=1/day,", "",
  ])
  func aWrongQuotaIsNamedWithWhatIsAllowed(text: String) {
    let said = sentence("--quota", text)
    #expect(said.hasPrefix("--quota: \"") && said.contains("allowed is requests=100/day"), "\(said)")
  }

  @Test func namesAreGivenOnce() {
    #expect(
      sentence("--quota", "requests=1/day", "--quota", "requests=2/day")
        == "--quota: \"requests/day\" is given twice; give it once")
    #expect(
      sentence("--plan", "gold:requests=1/day,requests=2/day")
        == "--plan: \"requests/day\" is given twice; give it once")
    #expect(
      sentence("--plan", "gold:requests=1/day", "--plan", "gold:requests=1/day")
        == "--plan: \"gold\" is given twice; give it once")
    for text in ["gold", ":requests=1/day", "a b:requests=1/day", "default:requests=1/day"] {
      #expect(sentence("--plan", text).hasPrefix("--plan: \"\(text)\" is not allowed; allowed is NAME:WHAT=N/WINDOW"))
    }
  }

  @Test func exhaustionAndZoneAreChecked() throws {
    #expect(try read("--quota-exhausted", "close").exhaustion == .closeExisting)
    #expect(
      try read("--quota-exhausted", "throttle:100kB/s").exhaustion == .throttle(to: .bytesPerSecond(100_000)))
    #expect(sentence("--quota-exhausted", "throttle:1").hasPrefix("--quota-exhausted: \"throttle:1\" is not allowed"))
    #expect(sentence("--zone", "Berlin").hasPrefix("--zone: \"Berlin\" is not allowed; allowed is UTC, or a name"))
    let berlin = try read("--zone", "Europe/Berlin").zone
    #expect(berlin.name == "Europe/Berlin")
    #expect(berlin.offset(at: UnixTime(seconds: 1_795_267_648)) == 3600)
    #expect(berlin.offset(at: UnixTime(seconds: 1_782_864_000)) == 7200)
  }

  @Test func aCounterOfTheLedgerHasTheUnitOfItsName() {
    #expect(QuotaText.unit(of: "bytes/day") == "bytes")
    #expect(QuotaText.unit(of: "time/3600s") == "milliseconds")
    #expect(QuotaText.unit(of: "connections") == "connections")
    #expect(QuotaText.unit(of: "demo") == "requests")
  }
}
