import Pipeline
import Testing

@testable import Transports

/// Every request that is refused for its syntax, with the sentence that the log gets.
@Suite struct RequestRefusalTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var text: String
    var why: String
    var testDescription: String { text.debugDescription }
    init(_ text: String, _ why: String) {
      self.text = text
      self.why = why
    }
  }

  static let startLines: [Case] = [
    Case("GET /\r\n", "request line without a version: HTTP/0.9 is not served"),
    Case("GET\r\n", "request line without a target"),
    Case("GET \r\n", "request line without a version: HTTP/0.9 is not served"),
    Case("GET HTTP/1.1\r\n", "request line without a version: HTTP/0.9 is not served"),
    Case("GET  / HTTP/1.1\r\n", "request line with two spaces or an empty target"),
    Case("GET /  HTTP/1.1\r\n", "path with a space, which must be percent-encoded"),
    Case("GET / HTTP/1.1 \r\n", "version \"\": HTTP/1.1 or HTTP/1.0 is needed"),
    Case("GET\t/ HTTP/1.1\r\n", "method \"GET\" goes on with a tab"),
    Case("GET /\tHTTP/1.1\r\n", "request line without a version: HTTP/0.9 is not served"),
    Case("GET / http/1.1\r\n", "version \"http/1.1\": HTTP/1.1 or HTTP/1.0 is needed"),
    Case("GET / HTTP/1\r\n", "version \"HTTP/1\": HTTP/1.1 or HTTP/1.0 is needed"),
    Case("GET / HTTP/1.10\r\n", "version \"HTTP/1.10\": HTTP/1.1 or HTTP/1.0 is needed"),
    Case("GET / HTTP/11.1\r\n", "version \"HTTP/11.1\": HTTP/1.1 or HTTP/1.0 is needed"),
    Case("GET / HTTP/1.a\r\n", "version \"HTTP/1.a\": HTTP/1.1 or HTTP/1.0 is needed"),
    Case("GET / HTPP/1.1\r\n", "version \"HTPP/1.1\": HTTP/1.1 or HTTP/1.0 is needed"),
    Case("GET / HTTPS/1.1\r\n", "version \"HTTPS/1.1\": HTTP/1.1 or HTTP/1.0 is needed"),
    Case("G(T / HTTP/1.1\r\n", "method \"G\" goes on with '('"),
    Case("GET\u{0} / HTTP/1.1\r\n", "method \"GET\" goes on with NUL"),
    Case(" GET / HTTP/1.1\r\n", "a request begins with a space, which no method may hold"),
    Case(":", "a request begins with ':', which no method may hold"),
    Case("\u{16}\u{3}\u{1}", "a request begins with octet 0x16, which no method may hold"),
    Case("\rGET / HTTP/1.1\r\n", "a carriage return without a line feed"),
    Case("\nGET / HTTP/1.1\r\n", "a request begins with a line feed, which no method may hold"),
    Case("GET / HTTP/1.1\n", "a line feed without a carriage return"),
    Case("GET / HTTP/1.1\r\r\n", "version \"HTTP/1.1\\x0d\": HTTP/1.1 or HTTP/1.0 is needed"),
    Case("\r\n\r\n", "an empty line in place of a request line"),
  ]

  static let fieldLines: [Case] = [
    Case("X\r\n", "field \"X\" has no colon"),
    Case("X : a\r\n", "field name \"X\" is followed by a space: a colon is needed"),
    Case("X\t: a\r\n", "field name \"X\" is followed by a tab: a colon is needed"),
    Case(": a\r\n", "a field without a name"),
    Case(" X: a\r\n", "a folded field: a line begins with a space"),
    Case("X: a\r\n\tb\r\n", "a folded field: a line begins with a tab"),
    Case("X: a\r\n \r\n", "a folded field: a line begins with a space"),
    Case("X(: a\r\n", "field name \"X\" goes on with '(', which no name may hold"),
    Case("X\u{0}: a\r\n", "field name \"X\" goes on with NUL, which no name may hold"),
    Case("\u{7f}X: a\r\n", "field name \"\" goes on with octet 0x7f, which no name may hold"),
    Case("Ä: a\r\n", "field name \"\" goes on with octet 0xc3, which no name may hold"),
    Case("X: a\u{0}b\r\n", "field \"X\" holds NUL, which no value may hold"),
    Case("X: a\rb\r\n", "field \"X\" holds a carriage return, which no value may hold"),
    Case("X: a\r\r\n", "field \"X\" holds a carriage return, which no value may hold"),
    Case("X: a\nb: c\r\n", "a line feed without a carriage return"),
    Case("X: a\u{b}\r\n", "field \"X\" holds octet 0x0b, which no value may hold"),
    Case("X: 0123456789abcdef\u{1f}\r\n", "field \"X\" holds octet 0x1f, which no value may hold"),
    Case("X: a\u{7f}\r\n", "field \"X\" holds octet 0x7f, which no value may hold"),
    Case("X: \t\u{8}\r\n", "field \"X\" holds octet 0x08, which no value may hold"),
    Case("Expect: 200-ok\r\n", "expect: \"200-ok\": only 100-continue can be met"),
    Case("Expect: 100-continue, x\r\n", "expect: \"100-continue, x\": only 100-continue can be met"),
    Case(
      "Content_Length: 5\r\n",
      "field \"Content_Length\": an underscore in a name that some origins read as a hyphen"),
    Case(
      "Transfer_Encoding: chunked\r\n",
      "field \"Transfer_Encoding\": an underscore in a name that some origins read as a hyphen"),
    Case(
      "X-Forwarded_For: a\r\n",
      "field \"X-Forwarded_For\": an underscore in a name that some origins read as a hyphen"),
    Case(
      "x_forwarded_host: a\r\n",
      "field \"x_forwarded_host\": an underscore in a name that some origins read as a hyphen"),
  ]

  @Test(arguments: startLines) func theStartLineIsRefused(_ c: Case) {
    #expect(Parsed.request(c.text) == .refused(.malformed, c.why))
  }

  @Test(arguments: fieldLines) func theFieldIsRefused(_ c: Case) {
    #expect(
      Parsed.request("GET / HTTP/1.1\r\nHost: a\r\n" + c.text + "\r\n") == .refused(.malformed, c.why))
  }

  /// A value may be a password; only names, and values that frame or route, are in what the log gets.
  @Test func noValueIsInTheLog() {
    let secret = "GET /?token=hush HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer hush\u{0}\r\n\r\n"
    guard case .refused(_, let detail) = Parsed.request(secret) else {
      Issue.record("not refused")
      return
    }
    #expect(!detail.contains("hush"))
  }

  /// An odd name of 32 KiB, or one that would begin a line of the log.
  @Test func whatIsQuotedIsBoundedAndEscaped() {
    let name = String(repeating: "n", count: 20_000)
    guard case .refused(_, let detail) = Parsed.request("GET / HTTP/1.1\r\n\(name)\r\n\r\n") else {
      Issue.record("not refused")
      return
    }
    #expect(detail.utf8.count < 100)
    #expect(
      Parsed.request("GET / HTTP/1.1\r\nHost: a\"b\\\u{9}c\r\n\r\n")
        == .refused(.malformed, "host: \"a\\x22b\\x5c\\x09c\" holds '\"', which no host may hold"))
  }
}

@Suite struct OctetSetTests {
  @Test func theTableOfTokensIsTheSetOfTokens() {
    let octets = (0...255).map { UInt8($0) }
    octets.withUnsafeBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      for i in 0..<256 {
        #expect((base.endOfToken(i, i + 1) == i + 1) == OctetSet.token.contains(octets[i]), "octet \(i)")
      }
    }
  }

  /// Eight octets are looked at at a time: every length, every place, every octet.
  @Test func theEndOfATokenIsFoundWhereverItStands() {
    for length in 0...20 {
      for place in 0..<length {
        for octet in UInt8.min...UInt8.max {
          // What the eight at a time are, and what ends that.
          for filler in [UInt8(ascii: "a"), UInt8(ascii: "-"), UInt8(ascii: "Z"), UInt8(ascii: "7")] {
            var line = [UInt8](repeating: filler, count: length)
            line[place] = octet
            let found = ([0] + line + [0]).withUnsafeBufferPointer { $0.baseAddress?.endOfToken(1, length + 1) }
            if found != (OctetSet.token.contains(octet) ? length : place) + 1 {
              Issue.record("\(octet) at \(place) of \(length): \(found ?? -1)")
            }
          }
        }
      }
    }
  }

  /// Eight octets are looked at at a time, the last eight of a longer line once more: every length, every place, every octet.
  @Test func aControlCharacterIsFoundWhereverItStands() {
    for length in 0...20 {
      for place in 0..<length {
        for octet in 0...255 {
          // Tabs on both sides, which may stand there, and controls outside, which are not to be seen.
          for filler in [UInt8(ascii: "a"), 9] {
            var line = [UInt8](repeating: filler, count: length)
            line[place] = UInt8(octet)
            let isControl = (octet < 32 && octet != 9) || octet == 127
            let found = ([0] + line + [0]).withUnsafeBufferPointer { $0.baseAddress?.firstControl(1, length + 1) }
            if found != (isControl ? place : length) + 1 {
              Issue.record("\(octet) at \(place) of \(length): \(found ?? -1)")
            }
          }
        }
      }
    }
  }
}
