import LedgerTesting
import Middlewares
import Pipeline
import Testing

@testable import ExampleApp

@Suite struct AccountingSettingsTests {
  private func sentence(_ declared: [Flag], _ arguments: [String], _ read: (ParsedFlags) throws -> Void) -> String {
    do {
      try read(ParsedFlags(arguments, declared: declared))
      return "accepted"
    } catch {
      return "\(error)"
    }
  }

  @Test func aLedgerIsAFileOrOffAndNeverShowsAPassword() {
    func ledger(_ arguments: String...) -> String {
      sentence([LedgerSettings.flag], arguments) { _ = try LedgerSettings($0) }
    }
    #expect(ledger("--ledger", "off") == "accepted")
    #expect(ledger("--ledger", "/var/lib/usage.db") == "accepted")
    #expect(ledger("--ledger", "").hasPrefix("--ledger: \"\" is not allowed; allowed is the path of a file"))
    let refused = ledger("--ledger", "postgres://sluice:s3cret@:x:/")
    #expect(refused.hasPrefix("--ledger: ") && !refused.contains("s3cret"))
  }

  @Test func aLedgerNeedsADirectoryBeforeTheServerStarts() throws {
    let flags = try ParsedFlags(["--ledger", "/nonexistent/usage.db"], declared: [LedgerSettings.flag])
    let error = #expect(throws: SettingsError.self) { try LedgerSettings(flags).prepare() }
    #expect(
      error?.description.hasPrefix("--ledger: the directory /nonexistent cannot be reached: No such file") == true)
    // A command does not make what a server would.
    #expect(try LedgerSettings(flags).openForCommand() == nil)
  }

  @Test func aCacheIsRefusedWithoutItsPassword() {
    func cache(_ arguments: String...) -> String {
      sentence(CacheSettings.flags, arguments) { _ = try CacheSettings($0) }
    }
    #expect(cache() == "accepted")
    #expect(cache("--cache", "redis://h:1", "--cache-trouble", "refuse") == "accepted")
    #expect(cache("--cache-trouble", "refuse").hasPrefix("--cache-trouble needs --cache"))
    #expect(
      cache("--cache", "redis://h", "--cache-trouble", "x")
        == "--cache-trouble: \"x\" is not allowed; allowed is alone or refuse")
    let wrong = cache("--cache", "redis://u:s3cret@h:0")
    #expect(wrong.hasPrefix("--cache: the server \"h:0\"") && !wrong.contains("s3cret"))
  }

  @Test func onlyTheOwnerAndRootPassAndNobodyFromTheNetwork() {
    let guardian = OwnerOnly(owner: 1000)
    #expect(guardian.isOwner(ClientAddress(.unix(uid: 1000))))
    #expect(guardian.isOwner(ClientAddress(.unix(uid: 0))))
    #expect(!guardian.isOwner(ClientAddress(.unix(uid: 1001))))
    #expect(!guardian.isOwner(ClientAddress(.ip(.loopbackV4, port: 1))))
    #expect(!OwnerOnly(owner: 0).isOwner(ClientAddress(.unix(uid: 1))))
  }

  @Test func whatACommandSaysToTheLedgerChangesOnlyThat() throws {
    let ledger = MemoryLedger()
    let ann = UsageAccount.identity(Principal("ann"))
    let time = WallClock.system.now
    let end = UnixTime(seconds: time.seconds + 3600)
    #expect(try !ledger.apply(.block(true), to: "ann", isKnown: false))
    var batch = LedgerBatch(writer: LedgerWriterID(high: 1, low: 1), sequence: 1)
    batch.usage = [
      LedgerUsage(account: ann, total: UsageChange(requests: 7), firstSeen: time, lastSeen: time)
    ]
    batch.counters = [
      LedgerCounter(name: "requests/day", account: ann, start: time, end: end, used: 7),
      LedgerCounter(name: "bytes/ever", account: ann, start: UnixTime(seconds: 0), end: nil, used: 99),
    ]
    try ledger.add(batch)
    #expect(try ledger.apply(.plan("gold"), to: "ann", isKnown: false))
    #expect(try ledger.apply(.block(true), to: "ann", isKnown: false))
    var known = try #require(try ledger.account(ann, at: time))
    #expect(known.state == LedgerState(account: ann, isBlocked: true, plan: "gold"))
    #expect(known.counters.map(\.used).sorted() == [7, 99])
    #expect(try ledger.apply(.reset, to: "ann", isKnown: false))
    #expect(try ledger.apply(.block(false), to: "ann", isKnown: false))
    known = try #require(try ledger.account(ann, at: time))
    #expect(known.counters.allSatisfy { $0.used == 0 } && known.totals.requests == 7)
    #expect(known.state == LedgerState(account: ann, isBlocked: false, plan: "gold"))
    // Somebody of the user file who has used nothing yet.
    #expect(try ledger.apply(.block(true), to: "bob", isKnown: true))
  }

  @Test func aReportOfTheLedgerAddsThePartsOfARollingWindow() {
    let ann = UsageAccount.identity(Principal("ann"))
    let now = UnixTime(seconds: 1_000_000)
    func counter(_ start: Int64, _ end: Int64?, _ used: Int) -> LedgerCounter {
      LedgerCounter(
        name: "requests/3600s", account: ann, start: UnixTime(seconds: start), end: end.map { UnixTime(seconds: $0) },
        used: used)
    }
    var known = LedgerAccount(account: ann, totals: UsageTotals(seen: now))
    known.counters = [counter(999_000, 1_002_600, 3), counter(999_500, 1_003_100, 4), counter(900_000, 903_600, 50)]
    let report = AccountReport(known, user: "ann", at: now)
    #expect(
      report.quotas == [
        QuotaStanding(
          quota: "requests/3600s", unit: "requests", used: 7, limit: nil,
          resets: UnixTime(seconds: 1_002_600).rfc3339, exhausted: false)
      ])
  }
}
