import Pipeline
import Testing

@testable import Transports

@Suite struct ChunkedDecoderTests {
  @Test(arguments: [
    ("0\r\n\r\n", "", ""), ("5\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("1\r\na\r\n00a\r\n0123456789\r\n0\r\n\r\nGET", "a0123456789", "GET"),
    ("A\r\n0123456789\r\n000\r\n\r\n", "0123456789", ""), ("2;a\r\nhi\r\n0;b=\"c d\" ;\tc\r\n\r\n", "hi", ""),
    ("4\r\n\r\n\r\n\r\n0\r\n\r\nx", "\r\n\r\n", "x"), ("2; \ta\r\nhi\r\n0\r\n\r\n", "hi", ""),
    ("2;a=\"b;\\\"c\\\\\";d=e\r\nhi\r\n0\r\n\r\n", "hi", ""), ("2;a = b ;c\t=\t\"\"\r\nhi\r\n0\r\n\r\n", "hi", ""),
  ])
  func dataIsFoundBetweenTheSizes(text: String, data: String, rest: String) {
    #expect(DecodedBody(text) == .ended(data: data, trailers: "", rest: rest))
  }

  @Test(arguments: [
    ("\r\n", "a chunk size begins with a carriage return"), ("g\r\n", "a chunk size begins with 'g'"),
    (" 5\r\n", "a chunk size begins with a space"), ("+5\r\n", "a chunk size begins with '+'"),
    ("-1\r\n", "a chunk size begins with '-'"), (";a\r\n", "a chunk size begins with ';'"),
    ("0x5\r\n", "a chunk size goes on with 'x'"), ("5 \r\nhello", "a chunk size goes on with a space"),
    ("5 ;a\r\n", "a chunk size goes on with a space"), ("5\t\r\n", "a chunk size goes on with a tab"),
    ("5,5\r\n", "a chunk size goes on with ','"), ("5_0\r\n", "a chunk size goes on with '_'"),
    ("5\nhello", "a chunk size goes on with a line feed"),
    ("5\rhello", "a carriage return in a chunk's head without a line feed"),
    ("5\u{0}\r\n", "a chunk size goes on with NUL"), ("5h\r\n", "a chunk size goes on with 'h'"),
    ("ffffffffffffffff\r\n", "a chunk size of more than 15 digits"),
    ("10000000000000005\r\n", "a chunk size of more than 15 digits"),
    ("0000000000000005\r\n", "a chunk size of more than 15 digits"),
    ("5;\r\nhello", "a chunk extension begins with a carriage return: a name is needed"),
    ("5;\nhello", "a chunk extension begins with a line feed: a name is needed"),
    ("5;=a\r\n", "a chunk extension begins with '=': a name is needed"),
    ("5;;a\r\n", "a chunk extension begins with ';': a name is needed"),
    ("5;a;\r\nhello", "a chunk extension begins with a carriage return: a name is needed"),
    ("5;bad[=x\r\n", "a chunk extension goes on with '['"), ("5;a b\r\n", "a chunk extension goes on with 'b'"),
    ("5;a \r\n", "a chunk extension goes on with a carriage return"),
    ("5;a=\r\n", "a chunk extension goes on with a carriage return"),
    ("5;a=b \r\n", "a chunk extension goes on with a carriage return"),
    ("5;a=\"b\"\t\r\n", "a chunk extension goes on with a carriage return"),
    ("5;a=b=c\r\n", "a chunk extension goes on with '='"), ("5;a=\"b\"c\r\n", "a chunk extension goes on with 'c'"),
    ("5;a=\\\r\n", "a chunk extension goes on with '\\'"), ("5;a=b\"c\"\r\n", "a chunk extension goes on with '\"'"),
    ("5;a=\"b;c\r\nhello", "a chunk extension with an open quotation mark"),
    ("5;a=\"b\\\"\r\nhello", "a chunk extension with an open quotation mark"),
    ("5;a=\"\\\\\";b=\"\r\nhello", "a chunk extension with an open quotation mark"),
    ("5;a\nhello", "a chunk extension holds a line feed"), ("5;a\u{0}\r\n", "a chunk extension holds NUL"),
    ("5;a\rb\r\n", "a carriage return in a chunk's head without a line feed"),
    ("5\r\nhello0\r\n\r\n", "a chunk's data goes on with '0': CR LF is needed"),
    ("5\r\nhello\n0\r\n", "a chunk's data goes on with a line feed: CR LF is needed"),
    ("5\r\nhello!\r\n", "a chunk's data goes on with '!': CR LF is needed"),
    ("5\r\nhello\r0\r\n", "a chunk's data is followed by a carriage return alone"),
    ("5\r\nhello\r\n\r\n", "a chunk size begins with a carriage return"),
    ("0\r\nA: b\n\r\n", "a line feed without a carriage return in the trailers"),
    ("0\r\n\n", "a line feed without a carriage return in the trailers"),
    ("0\r\nA : b\r\n", "field name \"A\" is followed by a space: a colon is needed"),
    ("0\r\n A: b\r\n", "a folded field: a line begins with a space"),
    ("0\r\nA: b\u{0}\r\n", "field \"A\" holds NUL, which no value may hold"),
    ("0\r\nA\r\n", "field \"A\" has no colon"), ("0\r\nG\r\n\r\n", "field \"G\" has no colon"),
    ("0\r\nContent-Length: 5\r\n\r\n", "field \"Content-Length\" among the trailers"),
    ("0\r\nTRANSFER-ENCODING: chunked\r\n\r\n", "field \"TRANSFER-ENCODING\" among the trailers"),
    ("0\r\ntransfer_encoding: chunked\r\n\r\n", "field \"transfer_encoding\" among the trailers"),
    ("0\r\nHost: a\r\n\r\n", "field \"Host\" among the trailers"),
  ])
  func whatIsNoChunkIsRefused(text: String, why: String) {
    #expect(DecodedBody(text) == .refused(.malformed, why))
    #expect(DecodedBody(text, from: .origin) == .refused(.upstreamProtocol, "origin: " + why))
  }

  @Test func theLargestSizeIsTaken() {
    #expect(DecodedBody("fffffffffffffff\r\nab") == .incomplete(data: "ab"))
  }

  @Test func theSumOfAllSizesIsNeverOverflown() {
    // Fifteen digits and 2^60 bytes each: the data alone would take centuries.
    var options = HTTPOptions()
    options.maxBody = 6
    #expect(
      DecodedBody("4\r\nabcd\r\n3\r\nefg\r\n0\r\n\r\n", options)
        == .refused(.bodyTooLarge, "a chunked body of more than 6 bytes"))
    #expect(
      DecodedBody("4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n", options) == .ended(data: "abcdef", trailers: "", rest: ""))
    #expect(
      DecodedBody("7\r\nabcdefg\r\n0\r\n\r\n", from: .origin, options)
        == .ended(data: "abcdefg", trailers: "", rest: ""))
  }

  @Test func extensionsAreBoundedInAllChunksTogether() {
    var options = HTTPOptions()
    options.maxChunkExtensions = 8
    #expect(
      DecodedBody("1;abc\r\na\r\n1;abc\r\nb\r\n0\r\n\r\n", options) == .ended(data: "ab", trailers: "", rest: ""))
    let refusal = DecodedBody.refused(.malformed, "chunk extensions of more than 8 bytes in one body")
    #expect(DecodedBody("1;abc\r\na\r\n1;abc\r\nb\r\n0;a\r\n\r\n", options) == refusal)
    #expect(DecodedBody("1;" + String(repeating: "a", count: 8), options) == refusal)
    #expect(DecodedBody("1;" + String(repeating: "a", count: 7), options) == .incomplete(data: ""))
  }

  @Test func aDecoderServesOneBodyAfterTheOther() throws {
    var decoder = ChunkedDecoder(HTTPOptions(), from: .client)
    for _ in 0..<2 {
      let body = Array("1;x\r\na\r\n0\r\nX-T: 1\r\n\r\n".utf8)
      var data: [UInt8] = []
      var at = 0
      var hasEnded = false
      while !hasEnded {
        switch try body.withUnsafeBytes({ try decoder.next(UnsafeRawBufferPointer(rebasing: $0[at...])) }) {
        case .data(let range, let consumed):
          data += body[(at + range.lowerBound)..<(at + range.upperBound)]
          at += consumed
        case .needMore:
          Issue.record("incomplete")
          return
        case .end(let consumed):
          at += consumed
          hasEnded = true
        }
      }
      #expect(data == [UInt8(ascii: "a")])
      #expect(at == body.count)
      #expect(decoder.trailers["x-t"] == "1")
      decoder.reset()
      #expect(!decoder.hasTrailers)
    }
  }
}
