import Pipeline
import Testing

@testable import Transports

@Suite struct TrailerTests {
  private func trailers(_ lines: String) -> DecodedBody { DecodedBody("0\r\n\(lines)\r\nrest") }

  @Test func theyAreKeptInOrder() {
    #expect(
      trailers("X-Sum:\t1 \r\nServer-Timing: a;b\r\nX-Sum: 2\r\n")
        == .ended(data: "", trailers: "X-Sum: 1\r\nServer-Timing: a;b\r\nX-Sum: 2\r\n", rest: "rest"))
  }

  /// Whoever merges trailers into the head must not be told there who asks, for whom, or what the content is.
  @Test(arguments: [
    "Authorization", "Cookie", "Set-Cookie", "Proxy-Authorization", "proxy_authorization", "Cache-Control",
    "Connection",
    "Content-Encoding", "Content-Range", "Content-Type", "Expect", "Forwarded", "If-Match", "Keep-Alive",
    "Max-Forwards",
    "Range", "TE", "Trailer", "Upgrade", "Via", "WWW-Authenticate", "X-Forwarded-For", "x_forwarded_for", "X-Real-IP",
    "Access-Control-Allow-Origin", "Location", "Vary",
  ])
  func whatBelongsIntoAHeadIsDropped(name: String) {
    #expect(
      trailers("A: 1\r\n\(name): 2\r\nB: 3\r\n") == .ended(data: "", trailers: "A: 1\r\nB: 3\r\n", rest: "rest"))
  }

  @Test func theyAreBoundedInBytesAndNumber() {
    var options = HTTPOptions()
    options.maxTrailers = 16
    options.maxFields = 2
    #expect(
      DecodedBody("0\r\nA: 5678901234\r\n\r\n", options) == .refused(.headTooLarge, "trailers of more than 16 bytes"))
    #expect(
      DecodedBody("0\r\nA: 5678901\r\n\r\n", options) == .ended(data: "", trailers: "A: 5678901\r\n", rest: ""))
    #expect(
      DecodedBody("0\r\na:\r\nb:\r\nc:\r\n\r\n", options) == .refused(.headTooLarge, "more than 2 trailers"))
    #expect(
      DecodedBody("0\r\na:\r\nb:\r\nc:\r\n\r\n", from: .origin, options)
        == .refused(.upstreamProtocol, "origin: more than 2 trailers"))
  }
}
