import Pipeline
import Testing

@testable import Transports

@Suite struct ResponseHeadTests {
  /// What of the description is behind the fields.
  private func framing(_ text: String, to method: HTTPMethod = .get) -> String {
    switch Parsed.response(text, to: method) {
    case .head(let head, let length):
      #expect(length == text.utf8.count)
      return String(head.drop { $0 != "]" }.dropFirst(2))
    case .incomplete: return "incomplete"
    case .refused(let kind, let why): return kind == .upstreamProtocol ? why : "\(kind)"
    }
  }

  @Test func aResponseIsTakenApart() {
    #expect(
      Parsed.response("HTTP/1.1 404 Nope, not there\r\nServer: x\r\nSet-Cookie:a\r\nContent-Length: 3\r\n\r\nabc")
        == .head("1.1 404 [Server: x|Set-Cookie: a] 3", length: 76))
  }

  @Test(arguments: [
    ("HTTP/1.1 200\r\n\r\n", "until close closes"), ("HTTP/1.1 200 \r\n\r\n", "until close closes"),
    ("HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n", "0"), ("HTTP/1.2 200 x\r\nContent-Length: 0\r\n\r\n", "0"),
    ("HTTP/1.1 200 a\tb\r\nTransfer-Encoding: chunked\r\n\r\n", "chunked"),
    ("HTTP/1.0 200 x\r\nContent-Length: 1\r\n\r\n", "1 closes"),
    ("HTTP/1.0 200 x\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", "1"),
    ("HTTP/1.0 200 x\r\nConnection: keep-alive\r\n\r\n", "until close closes"),
    ("HTTP/1.1 200 x\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", "1 closes"),
    ("HTTP/1.1 204 x\r\n\r\n", "none"), ("HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n", "none"),
    ("HTTP/1.1 204 x\r\nContent-Length: 4\r\n\r\n", "none closes"),
    ("HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n", "none closes"),
    ("HTTP/1.1 304 x\r\nContent-Length: 4\r\n\r\n", "none of 4"), ("HTTP/1.1 304 x\r\n\r\n", "none"),
    ("HTTP/1.1 205 x\r\nContent-Length: 0\r\n\r\n", "0"),
    ("HTTP/1.1 100 Continue\r\n\r\n", "none interim"), ("HTTP/1.1 103 x\r\nLink: </a>\r\n\r\n", "none interim"),
    ("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "none closes tunnel"),
  ])
  func theBodyEndsWhereTheHeadSays(text: String, expected: String) {
    #expect(framing(text) == expected)
  }

  @Test func aResponseToHEADHasNoBody() {
    #expect(framing("HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\n", to: .head) == "none of 5")
    #expect(framing("HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", to: .head) == "none")
    #expect(framing("HTTP/1.1 200 x\r\n\r\n", to: .head) == "none")
  }

  @Test func aSuccessOfCONNECTOpensATunnelWhateverItDeclares() {
    #expect(framing("HTTP/1.1 200 x\r\n\r\n", to: .connect) == "none closes tunnel")
    #expect(framing("HTTP/1.1 299 x\r\nContent-Length: 5\r\n\r\n", to: .connect) == "none closes tunnel")
    #expect(framing("HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", to: .connect) == "none closes tunnel")
    #expect(framing("HTTP/1.1 403 x\r\nContent-Length: 5\r\n\r\n", to: .connect) == "5")
  }

  @Test func fieldsOfTheConnectionAreTakenOut() {
    #expect(
      Parsed.response(
        "HTTP/1.1 200 x\r\nConnection: x-a\r\nX-A: 1\r\nKeep-Alive: 5\r\nTrailer: b\r\nTE: c\r\nProxy-Connection: d\r\n"
          + "Upgrade: h2,h2c\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
        == .head("1.1 200 [Proxy-Authenticate: Basic] 0", length: 161))
  }

  @Test func anUpgradeStaysWhereTheClientHasToKnow() {
    #expect(
      Parsed.response("HTTP/1.1 426 x\r\nUpgrade: TLS/1.3\r\nContent-Length: 0\r\n\r\n")
        == .head("1.1 426 [Upgrade: TLS/1.3] 0", length: 55))
    #expect(
      Parsed.response("HTTP/1.1 426 x\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n")
        == .head("1.1 426 [] 0", length: 51))
  }

  @Test(arguments: [
    ("S", "a response begins with \"S\": no HTTP/1"), ("SSH-2.0-x\r\n", "a response begins with \"S\": no HTTP/1"),
    ("HTTQ", "a response begins with \"HTTQ\": no HTTP/1"),
    ("\r\nHTTP/1.1 200 x", "a response begins with \"\\x0d\": no HTTP/1"),
    ("http/1.1 200 x\r\n", "a response begins with \"h\": no HTTP/1"),
    ("HTTP/2.0 200 x\r\n", "version \"HTTP/2.0\": HTTP/1.1 or HTTP/1.0 is needed"),
    ("HTTP/1\r\n", "version \"HTTP/1\": HTTP/1.1 or HTTP/1.0 is needed"),
    ("HTTP/1.1\r\n", "status \"\": a space and three digits from 100 on are needed"),
    ("HTTP/1.1 20 OK\r\n", "status \"20\": a space and three digits from 100 on are needed"),
    ("HTTP/1.1 20\r\n", "status \"20\": a space and three digits from 100 on are needed"),
    ("HTTP/1.1 2000 x\r\n", "status \"2000\": a space and three digits from 100 on are needed"),
    ("HTTP/1.1 099 x\r\n", "status \"099\": a space and three digits from 100 on are needed"),
    ("HTTP/1.1 2x0 x\r\n", "status \"2x0\": a space and three digits from 100 on are needed"),
    ("HTTP/1.1 -10 x\r\n", "status \"-10\": a space and three digits from 100 on are needed"),
    ("HTTP/1.1  200 x\r\n", "status \"\": a space and three digits from 100 on are needed"),
    ("HTTP/1.10 200 x\r\n", "version \"HTTP/1.10\": HTTP/1.1 or HTTP/1.0 is needed"),
    ("HTTP/1.1\t200 x\r\n", "version \"HTTP/1.1\\x09200\": HTTP/1.1 or HTTP/1.0 is needed"),
    ("HTTP/1.1 200 a\u{0}\r\n", "reason of the status line holds NUL"),
    ("HTTP/1.1 200 a\rb\r\n", "reason of the status line holds a carriage return"),
    ("HTTP/1.1 200 x\n", "a line feed without a carriage return"),
    ("HTTP/1.1 200 x\r\nA: b\n\r\n", "a line feed without a carriage return"),
    ("HTTP/1.1 200 x\r\nA : b\r\n", "field name \"A\" is followed by a space: a colon is needed"),
    ("HTTP/1.1 200 x\r\nA: b\r\n c\r\n", "a folded field: a line begins with a space"),
    ("HTTP/1.1 200 x\r\nA: \u{0}\r\n", "field \"A\" holds NUL, which no value may hold"),
    (
      "HTTP/1.1 200 x\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
      "content-length is there twice: at most one is allowed"
    ),
    ("HTTP/1.1 200 x\r\nContent-Length: 1, 1\r\n", "content-length: \"1, 1\": one number of decimal digits is allowed"),
    (
      "HTTP/1.1 200 x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
      "both transfer-encoding and content-length"
    ),
    (
      "HTTP/1.1 200 x\r\nTransfer-Encoding: gzip, chunked\r\n",
      "transfer-encoding: \"gzip, chunked\": only chunked, once, is allowed"
    ),
    ("HTTP/1.0 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer-encoding in HTTP/1.0"),
    ("HTTP/1.1 100 x\r\nContent-Length: 1\r\n\r\n", "status 100 with a body"),
    ("HTTP/1.1 103 x\r\nTransfer-Encoding: chunked\r\n\r\n", "status 103 with a body"),
    (
      "HTTP/1.1 200 x\r\nConnection: content-length\r\n",
      "connection lists \"content-length\", which is for every recipient"
    ),
  ])
  func whatIsNoResponseIsRefused(text: String, why: String) {
    #expect(Parsed.response(text) == .refused(.upstreamProtocol, "origin: " + why))
  }
}
