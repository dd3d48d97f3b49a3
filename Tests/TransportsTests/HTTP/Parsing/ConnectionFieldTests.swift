import Pipeline
import Testing

@testable import Transports

/// What concerns one connection only ends here (RFC 9110, 7.6.1).
@Suite struct ConnectionFieldTests {
  private func request(_ fields: String, _ line: String = "GET / HTTP/1.1") -> Parsed {
    RequestFramingTests.parse(fields, line)
  }

  @Test(arguments: [
    ("Connection: close\r\n", " closes"), ("Connection: keep-alive\r\n", ""), ("Connection: Close\r\n", " closes"),
    ("Connection: keep-alive, close\r\n", " closes"), ("Connection: keep-alive\r\nConnection:,, close,\r\n", " closes"),
    ("Connection:\r\n", ""), ("Proxy-Connection: close\r\n", ""), ("Keep-Alive: timeout=5\r\n", ""),
    ("TE: trailers\r\nConnection: TE\r\n", " trailers"), ("TE: gzip;q=0.5, Trailers\r\n", " trailers"),
    ("TE: gzip\r\n", ""), ("Trailer: x\r\n", ""), ("Upgrade: websocket\r\n", ""), ("Connection: upgrade\r\n", ""),
  ])
  func theyAreTakenOut(fields: String, framing: String) {
    #expect(request(fields) == .head("[Host: a:1] none\(framing)", length: 0))
  }

  @Test func http10IsKeptAliveOnRequestOnly() {
    #expect(request("", "GET / HTTP/1.0") == .head("[Host: a:1] none closes", length: 0))
    #expect(request("Connection: keep-alive\r\n", "GET / HTTP/1.0") == .head("[Host: a:1] none", length: 0))
    // A proxy of that age in between would have passed the field on (RFC 9112, C.2.2).
    #expect(
      request("Connection: keep-alive\r\n", "GET http://a:1/ HTTP/1.0") == .head("[Host: a:1] none closes", length: 0))
  }

  @Test func listedFieldsGoWhereverTheyStand() {
    #expect(
      request(
        "X-One: 1\r\nKeep: a\r\nConnection: x-one, X-Two\r\nx-two:2\r\nx-two: 3\r\nX-Twofold: 4\r\nConnection: X-3\r\nX-3: \r\n"
      )
        == .head("[Host: a:1|Keep: a|X-Twofold: 4] none", length: 0))
  }

  @Test func whatIsListedInTheLimitIsFoundAndMoreIsRefused() {
    let names = (1...16).map { "x-\($0)" }
    let fields = names.map { "\($0): 1\r\n" }.joined()
    #expect(
      request("Connection: \(names.joined(separator: ","))\r\n\(fields)Y: 1\r\n")
        == .head("[Host: a:1|Y: 1] none", length: 0))
    #expect(
      request("Connection: \(names.joined(separator: ",")), y\r\n\(fields)Y: 1\r\n")
        == .refused(.malformed, "connection lists more than 16 names"))
  }

  @Test(arguments: [
    "Host", "content-length", "Authorization", "cookie", "via", "Forwarded", "X-Forwarded-For", "x-forwarded-anything",
    "X-Real-IP", "Max-Forwards", "cache-control", "Content-Type", "content-encoding", "range",
  ])
  func whatIsForEveryRecipientCannotBeListed(name: String) {
    #expect(
      request("Connection: close, \(name)\r\n")
        == .refused(.malformed, "connection lists \"\(name)\", which is for every recipient"))
  }

  @Test(arguments: ["a b", "close;x", "\"close\"", "a=b"]) func whatIsNoOptionIsRefused(option: String) {
    guard case .refused(.malformed, let why) = request("Connection: \(option)\r\n") else {
      Issue.record("not refused")
      return
    }
    #expect(why.hasPrefix("connection: ") && why.hasSuffix(" is no option"))
  }

  @Test func framingThatIsListedStillFrames() {
    #expect(
      request("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", "POST / HTTP/1.1")
        == .head("[Host: a:1] chunked", length: 0))
  }

  @Test func anUpgradeStaysWhereItIsAskedFor() {
    #expect(
      request("Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n")
        == .head("[Host: a:1|Upgrade: websocket] none upgrades", length: 0))
    #expect(
      request("Upgrade: websocket\r\nConnection: upgrade, keep-alive\r\n", "GET / HTTP/1.0")
        == .head("[Host: a:1] none", length: 0))
  }

  @Test(arguments: ["h2c", "H2C", "websocket, h2c", "h2c-14", "h2c;x"]) func h2cIsNeverOffered(protocols: String) {
    #expect(
      request("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: \(protocols)\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n")
        == .head("[Host: a:1] none", length: 0))
  }

  @Test func proxyCredentialsAreLeftToTheChain() {
    #expect(
      request("Proxy-Authorization: Basic eA==\r\n")
        == .head("[Host: a:1|Proxy-Authorization: Basic eA==] none", length: 0))
  }
}
