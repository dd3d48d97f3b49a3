import Middlewares
import Pipeline
import Testing

@testable import ExampleApp

@Suite struct TrackerTests {
  private func token(_ authorization: String) -> String? {
    Token(authorization: Array(authorization.utf8).span)?.text
  }

  @Test func aTokenIsARandomUUIDOfVersionFour() throws {
    var random = SystemRandomNumberGenerator()
    var seen: Set<Token> = []
    for _ in 0..<1000 {
      let made = Token.random(using: &random)
      let digits = made.text.split(separator: "-")
      #expect(digits.map(\.count) == [8, 4, 4, 4, 12])
      #expect(digits[2].first == "4" && "89ab".contains(digits[3].first ?? "x"))
      #expect(token(made.text) == made.text, "it reads what it writes")
      seen.insert(made)
    }
    #expect(seen.count == 1000)
    #expect(Token.random() != Token.random())
    // Every digit that is free takes every value: that one of 16 is missed a thousand times has a chance of 10⁻²⁸.
    for index in 0..<36 where ![8, 13, 14, 18, 19, 23].contains(index) {
      #expect(Set(seen.map { Array($0.text.utf8)[index] }).count == 16)
    }
  }

  @Test func aTokenIsReadAsItIsOrAfterBearer() {
    let text = "01234567-89ab-4cde-8f01-23456789abcd"
    for field in [text, "Bearer \(text)", "bearer   \(text)", "BEARER \(text.uppercased())"] {
      #expect(token(field) == text, "\(field)")
    }
    for field in [
      "", "Bearer", "Bearer ", "Bearer\(text)", "Basic \(text)", "\(text) ", " \(text)", "\(text)0",
      "\(text.dropLast())",
      text.replacing("-", with: "0"), text.replacing("a", with: "g"), text.replacing("0", with: "-"),
      "Bearer Bearer \(text)",
    ] {
      #expect(token(field) == nil, "\(field)")
    }
  }

  @Test func anAnswerIsReadInEverySplit() {
    let text = "HTTP/1.1 401 Unauthorized\r\ncontent-type: x\r\nContent-Length:  3\r\nconnection: close\r\n\r\nabc"
    let bytes = Array(text.utf8)
    for length in 0..<bytes.count { #expect(HTTPAnswer(Array(bytes[..<length])) == nil) }
    let answer = HTTPAnswer(bytes)
    #expect(answer?.status == 401 && answer?.body == Array("abc".utf8))
    #expect(answer?.keepsAlive == false && answer?.isReadable == true)
    for wrong in ["HTTP/1.1 200 OK\r\n\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nx"] {
      #expect(HTTPAnswer(Array(wrong.utf8))?.isReadable == false, "\(wrong)")
    }
    #expect(HTTPAnswer(Array("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".utf8))?.keepsAlive == true)
  }

  private func said<C: Command>(_ command: C.Type, _ arguments: String..., making: (ParsedFlags) throws -> C) -> String
  {
    do {
      _ = try making(ParsedFlags(arguments, declared: C.flags, operands: C.operands))
      return "accepted"
    } catch {
      return "\(error)"
    }
  }

  @Test func flagsGoBeforeTheEnvironmentAndThatBeforeWhatIsUsual() throws {
    func made(_ arguments: [String], _ variables: [String: String]) throws -> (String, String) {
      let environment = Environment { variables[$0] }
      let flags = try ParsedFlags(arguments, declared: TrackerCommand.flags)
      let command = try TrackerCommand(flags, environment)
      return ("\(command.listen)", command.counts.description)
    }
    #expect(try made([], [:]) == ("127.0.0.1:6380", "memory"))
    #expect(try made([], ["ENVOY_ADDR": "", "REDIS_ADDR": ""]) == ("127.0.0.1:6380", "memory"))
    let variables = ["ENVOY_ADDR": "127.0.0.1:1", "REDIS_ADDR": "10.0.0.1:2", "COUNTER_ADDR": "127.0.0.1:3"]
    #expect(try made([], variables) == ("127.0.0.1:1", "redis://10.0.0.1:2"))
    #expect(
      try made(["--listen", "127.0.0.1:4", "--store", "redis://u:s3cret@h:5/1"], variables)
        == ("127.0.0.1:4", "redis://u:***@h:5/1"))
    #expect(try made(["--store", "redis://a", "--store", "redis://b"], [:]).1.contains("a:6379, redis://b:6379"))
    #expect(try made(["--counter", "127.0.0.1:9", "--counter", "c:1"], [:]).1 == "counter 127.0.0.1:9, c:1")
    let counter = try CounterCommand(ParsedFlags([], declared: CounterCommand.flags), Environment { variables[$0] })
    #expect("\(counter.listen)" == "127.0.0.1:3" && counter.counts.description == "redis://10.0.0.1:2")
    #expect(throws: SettingsError.self) { try made([], ["ENVOY_ADDR": "nowhere"]) }
  }

  @Test func whatCannotWorkIsRefusedInASentence() {
    let none = Environment { _ in nil }
    func tracker(_ arguments: String...) -> String {
      do {
        _ = try TrackerCommand(ParsedFlags(arguments, declared: TrackerCommand.flags), none)
        return "accepted"
      } catch {
        return "\(error)"
      }
    }
    #expect(
      tracker("--store", "redis://h", "--counter", "h:1")
        == "--counter and --store: the counters have the store; name one or the other")
    #expect(tracker("--counter", "h").hasPrefix("--counter: \"h\" is not allowed; allowed is HOST:PORT"))
    #expect(tracker("--counter", "h:1", "--counter", "h:1") == "--counter: h:1 is named twice: name each node once")
    #expect(
      tracker("--store", "redis://h", "--store", "redis://h:6379").hasSuffix("is named twice: name each node once"))
    let wrong = tracker("--store", "redis://u:s3cret@h:0")
    #expect(wrong.hasPrefix("--store: the server \"h:0\"") && !wrong.contains("s3cret"))
    #expect(
      said(TrackerCheckCommand.self, "127.0.0.1:0") { try TrackerCheckCommand($0) }
        == "ADDR: \"127.0.0.1:0\" is not allowed; allowed is ADDRESS:PORT with an IP address, such as 127.0.0.1:6382")
    #expect(said(TrackerCheckCommand.self) { try TrackerCheckCommand($0) } == "accepted")
    #expect(said(TrackerCheckCommand.self, "127.0.0.1:1", "[::1]:2") { try TrackerCheckCommand($0) } == "accepted")
    #expect(
      said(TrackerCheckCommand.self, "--connections", "0") { try TrackerCheckCommand($0) }
        == "--connections: \"0\" is not allowed; allowed is 1...256")
  }
}
