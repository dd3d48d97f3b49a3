import Pipeline
import Testing

@testable import Transports

/// Where the body of a request ends: said in one way, or refused.
@Suite struct RequestFramingTests {
  static func parse(_ fields: String, _ line: String = "POST / HTTP/1.1", _ options: HTTPOptions = HTTPOptions())
    -> Parsed
  {
    let text = "\(line)\r\nHost: a:1\r\n\(fields)\r\n"
    let parsed = Parsed.request(text, options)
    // The rest of each line's description is what these tests are about.
    guard case .head(let head, let length) = parsed else { return parsed }
    #expect(length == text.utf8.count)
    return .head(String(head.drop { $0 != "[" }), length: 0)
  }

  @Test(arguments: [
    ("Content-Length: 0\r\n", "0"), ("Content-Length: 5\r\n", "5"), ("CONTENT-LENGTH:\t7 \r\n", "7"),
    ("content-length: 9223372036854775807\r\n", "9223372036854775807"), ("Transfer-Encoding: chunked\r\n", "chunked"),
    ("transfer-encoding:Chunked\t\r\n", "chunked"), ("", "none"), ("X-Content-Length: 5\r\n", "none"),
    ("Content-Lengthy: 5\r\n", "none"), ("XTransfer-Encoding: chunked\r\n", "none"),
  ])
  func theLengthIsTakenOutOfTheFields(fields: String, body: String) {
    let isOther = fields.hasPrefix("X") || fields.hasPrefix("Content-Lengthy")
    // "\r\n" is one character.
    let line = isOther ? "|" + fields.dropLast() : ""
    #expect(Self.parse(fields) == .head("[Host: a:1\(line)] \(body)", length: 0))
  }

  @Test(arguments: [
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "both transfer-encoding and content-length"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "both transfer-encoding and content-length"),
    ("Content-Length: 5\r\nContent-Length: 6\r\n", "content-length is there twice: at most one is allowed"),
    ("Content-Length: 5\r\ncontent-length: 5\r\n", "content-length is there twice: at most one is allowed"),
    ("Content-Length: 5, 5\r\n", "content-length: \"5, 5\": one number of decimal digits is allowed"),
    ("Content-Length: 5,6\r\n", "content-length: \"5,6\": one number of decimal digits is allowed"),
    ("Content-Length: +5\r\n", "content-length: \"+5\": one number of decimal digits is allowed"),
    ("Content-Length: -5\r\n", "content-length: \"-5\": one number of decimal digits is allowed"),
    ("Content-Length: 5 5\r\n", "content-length: \"5 5\": one number of decimal digits is allowed"),
    ("Content-Length: 0x5\r\n", "content-length: \"0x5\": a number without leading zeros is allowed"),
    ("Content-Length: 5a\r\n", "content-length: \"5a\": one number of decimal digits is allowed"),
    ("Content-Length: 05\r\n", "content-length: \"05\": a number without leading zeros is allowed"),
    ("Content-Length: 00\r\n", "content-length: \"00\": a number without leading zeros is allowed"),
    ("Content-Length: 5.0\r\n", "content-length: \"5.0\": one number of decimal digits is allowed"),
    ("Content-Length: 1_000\r\n", "content-length: \"1_000\": one number of decimal digits is allowed"),
    ("Content-Length: \"5\"\r\n", "content-length: \"\\x225\\x22\": one number of decimal digits is allowed"),
    ("Content-Length:\r\n", "content-length is empty: decimal digits are needed"),
    (
      "Content-Length: 9223372036854775808\r\n",
      "content-length: \"9223372036854775808\": more than 9223372036854775807 bytes"
    ),
    (
      "Content-Length: 18446744073709551617\r\n",
      "content-length: \"18446744073709551617\": more than 9223372036854775807 bytes"
    ),
    (
      "Content-Length: 99999999999999999999999999999999\r\n",
      "content-length: \"99999999999999999999999999999999\": more than 9223372036854775807 bytes"
    ),
    ("Transfer-Encoding: gzip, chunked\r\n", "transfer-encoding: \"gzip, chunked\": only chunked, once, is allowed"),
    ("Transfer-Encoding: chunked, gzip\r\n", "transfer-encoding: \"chunked, gzip\": only chunked, once, is allowed"),
    (
      "Transfer-Encoding: chunked, chunked\r\n",
      "transfer-encoding: \"chunked, chunked\": only chunked, once, is allowed"
    ),
    ("Transfer-Encoding: chunked,\r\n", "transfer-encoding: \"chunked,\": only chunked, once, is allowed"),
    ("Transfer-Encoding: , chunked\r\n", "transfer-encoding: \", chunked\": only chunked, once, is allowed"),
    ("Transfer-Encoding: xchunked\r\n", "transfer-encoding: \"xchunked\": only chunked, once, is allowed"),
    ("Transfer-Encoding: chunked;q=1\r\n", "transfer-encoding: \"chunked;q=1\": only chunked, once, is allowed"),
    ("Transfer-Encoding: \"chunked\"\r\n", "transfer-encoding: \"\\x22chunked\\x22\": only chunked, once, is allowed"),
    ("Transfer-Encoding: identity\r\n", "transfer-encoding: \"identity\": only chunked, once, is allowed"),
    ("Transfer-Encoding:\r\n", "transfer-encoding: \"\": only chunked, once, is allowed"),
    ("Transfer-Encoding: chun ked\r\n", "transfer-encoding: \"chun ked\": only chunked, once, is allowed"),
    (
      "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
      "transfer-encoding is there twice: at most one is allowed"
    ),
    (
      "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
      "transfer-encoding is there twice: at most one is allowed"
    ),
    ("Transfer-Encoding : chunked\r\n", "field name \"Transfer-Encoding\" is followed by a space: a colon is needed"),
    ("Transfer-Encoding:\u{b}chunked\r\n", "field \"Transfer-Encoding\" holds octet 0x0b, which no value may hold"),
    ("Transfer-Encoding: chunked\r\n , identity\r\n", "a folded field: a line begins with a space"),
  ])
  func whatCanBeReadInTwoWaysIsRefused(fields: String, why: String) {
    #expect(Self.parse(fields) == .refused(.malformed, why))
  }

  @Test func anyTransferEncodingIsRefusedInHTTP10() {
    #expect(
      Self.parse("Transfer-Encoding: chunked\r\n", "POST / HTTP/1.0")
        == .refused(.malformed, "transfer-encoding in HTTP/1.0"))
  }

  @Test(arguments: ["CONNECT a:1 HTTP/1.1", "TRACE / HTTP/1.1"])
  func aMethodWithoutContentHasNone(line: String) {
    #expect(
      Self.parse("Content-Length: 1\r\n", line)
        == .refused(.malformed, "content-length with a method that has no content"))
    #expect(
      Self.parse("Transfer-Encoding: chunked\r\n", line)
        == .refused(.malformed, "transfer-encoding with a method that has no content"))
    #expect(Self.parse("Content-Length: 0\r\n", line) == .head("[Host: a:1] 0", length: 0))
  }

  @Test func aGETMayHaveABody() {
    #expect(Self.parse("Content-Length: 1\r\n", "GET / HTTP/1.1") == .head("[Host: a:1] 1", length: 0))
  }

  @Test func aDeclaredBodyAboveTheLimitIsRefusedBeforeItComes() {
    var options = HTTPOptions()
    options.maxBody = 4
    #expect(Self.parse("Content-Length: 4\r\n", "POST / HTTP/1.1", options) == .head("[Host: a:1] 4", length: 0))
    #expect(
      Self.parse("Content-Length: 5\r\n", "POST / HTTP/1.1", options)
        == .refused(.bodyTooLarge, "content-length 5: at most 4 bytes are allowed"))
  }

  @Test func expectIsMetWhereABodyIsAwaited() {
    #expect(
      Self.parse("Expect: 100-Continue\r\nContent-Length: 1\r\n") == .head("[Host: a:1] 1 expects", length: 0))
    #expect(Self.parse("Expect: 100-continue\r\n") == .head("[Host: a:1] none", length: 0))
    #expect(Self.parse("Expect: 100-continue\r\nContent-Length: 0\r\n") == .head("[Host: a:1] 0", length: 0))
    #expect(
      Self.parse("Expect: 100-continue\r\nContent-Length: 1\r\n", "POST / HTTP/1.0")
        == .head("[Host: a:1] 1 closes", length: 0))
  }
}
