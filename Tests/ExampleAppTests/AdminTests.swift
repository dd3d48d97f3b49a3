import Middlewares
import Pipeline
import Testing

@testable import ExampleApp

@Suite struct AdminTests {
  @Test func timesAreWrittenByRFC3339() {
    func text(_ seconds: Int64) -> String { UnixTime(seconds: seconds).rfc3339 }
    #expect(text(0) == "1970-01-01T00:00:00Z")
    #expect(text(951_782_399) == "2000-02-28T23:59:59Z")
    #expect(text(951_782_400) == "2000-02-29T00:00:00Z")
    #expect(text(1_795_267_648) == "2026-11-21T13:27:28Z")
    #expect(text(4_107_542_400) == "2100-03-01T00:00:00Z")
    #expect(text(-1) == "1969-12-31T23:59:59Z")
  }

  @Test(arguments: [
    (0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (1_999, "1.9 kB"), (9_999_999, "9.9 MB"), (10_000_000, "10.0 MB"),
    (1_234_567_890_123, "1.2 TB"), (Int.max, "9223.3 PB"), (-1_500, "-1.5 kB"),
  ])
  func bytesAreRoundedDown(count: Int, text: String) {
    #expect(StatisticsTable.bytes(count) == text)
  }

  @Test func namesThatCouldForgeALineAreQuoted() {
    #expect(TerminalText.shown("ann") == "ann")
    #expect(TerminalText.shown("a\u{1b}[1m") == #""a\u001b[1m""#)
    #expect(TerminalText.shown("") == #""""#)
  }

  @Test func aTableHasColumnsOfOneWidth() {
    #expect(
      StatisticsTable.table([["", "requests"], ["total", "7"], ["this month", "1234567890"]])
        == ["              requests", "total                7", "this month  1234567890"])
    #expect(StatisticsTable.table([["a", "b"], ["long", "x"]], texts: 2) == ["a     b", "long  x"])
  }

  @Test func anAnswerComesBackAsItWasWritten() throws {
    var report = AccountReport(user: "a\"b")
    report.blocked = true
    report.plan = "gold"
    report.firstSeen = "2026-11-21T13:27:28Z"
    report.total.requests = 3
    report.quotas = [
      QuotaStanding(quota: "requests/day", unit: "requests", used: 3, limit: nil, resets: nil, exhausted: false)
    ]
    report.windows = [WindowReport(window: "day", start: "a", end: "b", usage: report.total)]
    let answer = StatisticsAnswer(source: "server", ledger: nil, lastFlush: nil, zone: "UTC", account: report)
    let bytes = Array(answer.json.text.utf8)
    #expect(try AdminClient.value(StatisticsAnswer.self, of: .init(status: 200, body: bytes)) == answer)
  }

  @Test func aRefusalIsTheServersOwnSentence() {
    let body = Array(#"{"error":"nobody is known by the name \"x\""}"#.utf8)
    let error = #expect(throws: AdminError.self) {
      try AdminClient.value(StatisticsAnswer.self, of: .init(status: 404, body: body))
    }
    #expect(error?.description == #"nobody is known by the name "x""# && error?.status == 404)
  }

  @Test func aNameIsOneSegmentOfAPath() {
    #expect(AdminClient.segment("ann-1_~") == "ann-1_~")
    #expect(AdminClient.segment("a/b ?%é.") == "a%2Fb%20%3F%25%C3%A9%2E")
  }

  @Test func anAnswerThatBreaksOffIsNoAnswer() throws {
    let whole = "HTTP/1.1 200 OK\r\ncontent-type: x\r\nContent-Length: 3\r\n\r\nabc"
    #expect(try AdminClient.answer(in: Array(whole.utf8), from: "p").text == "abc")
    for count in 0..<whole.utf8.count {
      #expect(throws: AdminError.self) { try AdminClient.answer(in: Array(whole.utf8.prefix(count)), from: "p") }
    }
    #expect(throws: AdminError.self) { try AdminClient.answer(in: Array("SSH-2.0-x\r\n\r\n".utf8), from: "p") }
  }

  private func sentence(_ arguments: String...) -> String {
    do {
      _ = try UsersCommand(ParsedFlags(arguments, declared: UsersCommand.flags, operands: UsersCommand.operands))
      return "accepted"
    } catch {
      return "\(error)"
    }
  }

  @Test func wrongWordsOfUsersAreOneSentence() {
    #expect(sentence("list", "--users", "f") == "accepted")
    #expect(sentence("plan", "ann", "gold") == "accepted")
    #expect(sentence("add", "--users", "f", "--", "--ann") == "accepted")
    #expect(sentence() == "ACTION is missing: add, remove, list, passwd, block, unblock, reset or plan")
    #expect(sentence("add") == "NAME is missing; write users add NAME")
    #expect(sentence("list", "ann") == "\"ann\" is one word too many; write users list")
    #expect(sentence("block", "ann", "bob") == "\"bob\" is one word too many; write users block NAME")
    #expect(sentence("plan", "ann").hasPrefix("write users plan NAME PLAN"))
    #expect(sentence("plan", "ann", "gold", "x").hasPrefix("\"x\" is one word too many; write ACTION"))
    #expect(sentence("list", "--role", "x") == "--role is for users add alone")
    #expect(sentence("list", "--password-stdin") == "--password-stdin is for users add and users passwd alone")
    #expect(sentence("add", "ann", "--json") == "--json is for users list alone")
    #expect(sentence("drop", "ann").hasPrefix("ACTION: \"drop\" is not allowed; allowed is add, remove"))
    #expect(
      sentence("list", "--admin", String(repeating: "x", count: 108)).hasSuffix(
        "allowed is a path of 1 to 107 bytes for a socket, or off"))
  }
}
