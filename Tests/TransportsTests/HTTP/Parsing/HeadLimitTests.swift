import Pipeline
import Testing

@testable import Transports

@Suite struct HeadLimitTests {
  private var options: HTTPOptions {
    var options = HTTPOptions()
    options.maxRequestLine = 40
    options.maxHead = 100
    options.maxFields = 3
    return options
  }

  /// A request line of so many bytes.
  private func line(_ length: Int) -> String {
    "GET /" + String(repeating: "a", count: length - 14) + " HTTP/1.1"
  }

  @Test func theRequestLineMayBeAsLongAsItsLimit() {
    guard case .head = Parsed.request("\(line(40))\r\nHost: a\r\n\r\n", options) else {
      Issue.record("refused")
      return
    }
    let refusal = Parsed.refused(.requestLineTooLong, "a request line of more than 40 bytes")
    #expect(Parsed.request("\(line(41))\r\nHost: a\r\n\r\n", options) == refusal)
    #expect(Parsed.request(String(repeating: "a", count: 41), options) == .incomplete)
    #expect(Parsed.request(String(repeating: "a", count: 42), options) == refusal)
    #expect(Parsed.request("\r\n" + String(repeating: "a", count: 5000) + "\r\n", options) == refusal)
  }

  @Test func theHeadMayBeAsLongAsItsLimit() {
    let rest = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n"
    let filler = String(repeating: "x", count: 100 - rest.utf8.count)
    let full = "GET / HTTP/1.1\r\nHost: a\r\nX: \(filler)\r\n\r\n"
    guard case .head(_, length: 100) = Parsed.request(full, options) else {
      Issue.record("refused")
      return
    }
    let refusal = Parsed.refused(.headTooLarge, "a head of more than 100 bytes")
    #expect(Parsed.request("GET / HTTP/1.1\r\nHost: a\r\nX: \(filler)x\r\n\r\n", options) == refusal)
    #expect(Parsed.request("GET / HTTP/1.1\r\nHost: a\r\nX: \(filler)xxxxxx", options) == refusal)
    // What comes behind the head is not counted.
    guard case .head(_, length: 100) = Parsed.request(full + filler, options) else {
      Issue.record("refused")
      return
    }
  }

  @Test func fieldsAreCountedWithThoseThatAreTakenOut() {
    guard case .head = Parsed.request("GET / HTTP/1.1\r\nHost: a\r\nTE: a\r\nTE: b\r\n\r\n", options) else {
      Issue.record("refused")
      return
    }
    #expect(
      Parsed.request("GET / HTTP/1.1\r\nHost: a\r\nTE: a\r\nTE: b\r\nTE: c\r\n\r\n", options)
        == .refused(.headTooLarge, "more than 3 fields"))
  }

  @Test func anOriginThatExceedsThemBreaksItsProtocol() {
    #expect(
      Parsed.response("HTTP/1.1 200 OK\r\n" + String(repeating: "A: b\r\n", count: 4), options)
        == .refused(.upstreamProtocol, "origin: more than 3 fields"))
    #expect(
      Parsed.response("HTTP/1.1 200 " + String(repeating: "a", count: 100), options)
        == .refused(.upstreamProtocol, "origin: a head of more than 100 bytes"))
  }

  /// 32 KiB byte by byte: were each byte looked at again with each that comes, this would be half a billion.
  @Test func manySmallPiecesCostNoMoreThanTheirBytes() {
    let value = String(repeating: "x", count: 30_000)
    let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\nX: \(value)\r\n\r\n".utf8)
    var parser = RequestHeadParser(HTTPOptions())
    var head = HTTPRequestHead(method: .get, target: "")
    var framing = RequestFraming()
    let clock = ContinuousClock()
    let elapsed = clock.measure {
      for end in 1...bytes.count {
        let progress = bytes.withUnsafeBytes {
          try? parser.parse(UnsafeRawBufferPointer(rebasing: $0[..<end]), into: &head, &framing)
        }
        #expect(progress == (end < bytes.count ? .incomplete : .complete(length: bytes.count)))
      }
    }
    #expect(elapsed < .seconds(2))
  }
}
