import Pipeline
import Testing

@testable import Transports

@Suite struct RequestHeadTests {
  @Test func aPlainRequestIsTakenApart() {
    #expect(
      Parsed.request("GET /a?b=c HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n")
        == .head("GET /a?b=c 1.1 [Host: a.example|Accept: */*] none", length: 53))
  }

  @Test func whatFollowsTheHeadIsLeftAlone() {
    #expect(
      Parsed.request("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next \0\n")
        == .head("GET / 1.1 [Host: a] none", length: 27))
  }

  @Test(arguments: [
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "get", "PURGE", "M-SEARCH",
    "a!#$%&'*+-.^_`|~9",
  ])
  func everyTokenIsAMethod(name: String) {
    #expect(
      Parsed.request("\(name) / HTTP/1.1\r\nHost: a\r\n\r\n")
        == .head("\(name) / 1.1 [Host: a] none", length: 24 + name.utf8.count))
  }

  @Test func whiteSpaceAroundValuesIsWrittenAnew() {
    #expect(
      Parsed.request("GET / HTTP/1.1\r\nHost:a\r\nX-A:  b \t\r\nX-B:\t\r\nX-C: a \t b\r\nX-D: \r\n\r\n")
        == .head("GET / 1.1 [Host: a|X-A: b|X-B: |X-C: a \t b|X-D: ] none", length: 63))
  }

  @Test func oneEmptyLineBeforeARequestIsBorne() {
    #expect(
      Parsed.request("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n") == .head("GET / 1.1 [Host: a] none", length: 29))
    #expect(
      Parsed.request("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        == .refused(.malformed, "an empty line in place of a request line"))
  }

  @Test func octetsAboveASCIIMayStandInValuesOnly() {
    let value = Array("GET / HTTP/1.1\r\nHost: a\r\nX: ".utf8) + [0xff, 0x80, 0xc3] + Array("\r\n\r\n".utf8)
    guard case .head(_, length: value.count) = Parsed.request(value) else {
      Issue.record("\(Parsed.request(value))")
      return
    }
  }

  @Test(arguments: [
    ("HTTP/1.1", "1.1"), ("HTTP/1.0", "1.0"), ("HTTP/1.2", "1.1"), ("HTTP/1.9", "1.1"),
  ])
  func aHigherMinorVersionIsServedAsTheHighestKnown(version: String, served: String) {
    guard case .head(let text, _) = Parsed.request("GET / \(version)\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
    else {
      Issue.record("refused")
      return
    }
    #expect(text == "GET / \(served) [Host: a] none")
  }

  @Test(arguments: ["HTTP/2.0", "HTTP/0.9", "HTTP/3.1", "HTTP/9.9"])
  func anotherMajorVersionIsUnsupported(version: String) {
    #expect(
      Parsed.request("GET / \(version)\r\nHost: a\r\n\r\n")
        == .refused(.unsupportedVersion, "version \"\(version)\": only HTTP/1 is spoken here"))
  }

  @Test func thePrefaceOfHTTP2IsAnUnsupportedVersion() {
    #expect(
      Parsed.request("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        == .refused(.unsupportedVersion, "version \"HTTP/2.0\": only HTTP/1 is spoken here"))
  }

  @Test func aParserServesOneRequestAfterTheOther() throws {
    var parser = RequestHeadParser(HTTPOptions())
    var head = HTTPRequestHead(method: .get, target: "")
    var framing = RequestFraming()
    let first = Array("POST /1 HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\nConnection: x-y\r\nX-Y: 1\r\n\r\n".utf8)
    _ = try first.withUnsafeBytes { try parser.parse($0, into: &head, &framing) }
    #expect(head.body == .bytes(3))
    parser.reset()
    let second = Array("GET /2 HTTP/1.1\r\nHost: b\r\nX-Y: 2\r\n\r\n".utf8)
    _ = try second.withUnsafeBytes { try parser.parse($0, into: &head, &framing) }
    #expect(head.method == .get)
    #expect(head.target == "/2")
    #expect(head.body == .none)
    #expect(head.version == .http11)
    #expect(head.fields["x-y"] == "2")
    #expect(head.fields.values(of: "host") == ["b"])
    #expect(framing == RequestFraming(hasHost: true))
  }
}
