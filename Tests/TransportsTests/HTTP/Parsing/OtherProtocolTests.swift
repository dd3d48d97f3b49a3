import Pipeline
import Testing

@testable import Transports

/// What other protocols, other versions and damaged messages look like: refused, or read in the one way in which they can be.
@Suite struct OtherProtocolTests {
  @Test(arguments: [
    ("GET /sweet/music ICE/1.0\r\nHost: a\r\n\r\n", "version \"ICE/1.0\": HTTP/1.1 or HTTP/1.0 is needed"),
    ("GET /sweet/music IHTTP/1.0\r\nHost: a\r\n\r\n", "version \"IHTTP/1.0\": HTTP/1.1 or HTTP/1.0 is needed"),
    ("OPTIONS /sweet/music RTSP/1.0\r\nHost: a\r\n\r\n", "version \"RTSP/1.0\": HTTP/1.1 or HTTP/1.0 is needed"),
    ("HEAD /foo HTTP/1.1 xxxxxx\r\nHost: a\r\n\r\n", "version \"xxxxxx\": HTTP/1.1 or HTTP/1.0 is needed"),
    ("GET / HTTP/1.01\r\nHost: a\r\n\r\n", "version \"HTTP/1.01\": HTTP/1.1 or HTTP/1.0 is needed"),
    ("PRI * HTTP/1.1\r\nHost: a\r\n\r\nSM\r\n\r\n", "target *: only OPTIONS may have it"),
    ("NOTIFY * HTTP/1.1\r\nHost: a\r\n\r\n", "target *: only OPTIONS may have it"),
    (
      "GET ../../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
      "target begins with '.': /path or http://host/path is allowed"
    ),
    ("CONNECT /_goRPC_ HTTP/1.0\r\n\r\n", "target of CONNECT: \"/_goRPC_\" has no host"),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "a folded field: a line begins with a space"),
    ("GET / HTTP/1.1\rLine: 1\r\n\r\n", "version \"1\": HTTP/1.1 or HTTP/1.0 is needed"),
    (
      "GET / HTTP/1.1\r\nHost: a\r\n\rZGET /evil: HTTP/1.1\r\n\r\n",
      "field name \"\" goes on with a carriage return, which no name may hold"
    ),
    (
      "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\rabc\r\n\r\n",
      "field name \"\" goes on with a carriage return, which no name may hold"
    ),
    (
      "PUT / HTTP/1.1\r\nHost: a\r\nConnection: keep\ralive\r\n\r\n",
      "field \"Connection\" holds a carriage return, which no value may hold"
    ),
    (
      "PUT / HTTP/1.1\r\nHost: a\r\nContent\rLength: 3\r\n\r\n",
      "field name \"Content\" goes on with a carriage return, which no name may hold"
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nname\r\n : value\r\n\r\n", "field \"name\" has no colon"),
    ("GET / HTTP/1.1\r\nHost: 0.0.0.0=5000\r\n\r\n", "host: \"0.0.0.0=5000\" holds '=', which no host may hold"),
    ("GET / HTTP/1.1\r\nHost: a.:1.2\r\n\r\n", "host: \"a.:1.2\" has no port of 0 to 65535"),
    ("GET / HTTP/1.1\r\nHost: a:98777\r\n\r\n", "host: \"a:98777\" has no port of 0 to 65535"),
    ("GET / HTTP/1.1\r\nHost: [::1].:98\r\n\r\n", "host: \"[::1].:98\" holds '.', which no host may hold"),
    ("GET / HTTP/1.1\r\nHost: x[::1]\r\n\r\n", "host: \"x[::1]\" holds '[', which no host may hold"),
    ("GET http://a#b HTTP/1.1\r\nHost: a\r\n\r\n", "host of the target: \"a#b\" holds '#', which no host may hold"),
    ("GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "host of the target: \"u:p@a\" has no port of 0 to 65535"),
    ("GET http://: HTTP/1.1\r\nHost: :80\r\n\r\n", "host of the target: \":\" has no host"),
    (
      "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0 , 0\r\n\r\n",
      "content-length: \"0 , 0\": a number without leading zeros is allowed"
    ),
    (
      "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0,\r\n\r\n",
      "content-length: \"0,\": a number without leading zeros is allowed"
    ),
    (
      "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: pigeons\r\n\r\n",
      "transfer-encoding: \"pigeons\": only chunked, once, is allowed"
    ),
    (
      "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunkedchunked\r\n\r\n",
      "transfer-encoding: \"chunkedchunked\": only chunked, once, is allowed"
    ),
    (
      "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: deflate\r\nTransfer-Encoding: chunked\r\n\r\n",
      "transfer-encoding: \"deflate\": only chunked, once, is allowed"
    ),
  ])
  func aRequestThatIsNoneIsRefused(text: String, why: String) {
    #expect(Parsed.request(text) == .refused(.malformed, why))
  }

  @Test(arguments: [
    "RTSP/1.1 200 OK\r\n\r\n", "ICE/1.1 200 OK\r\n\r\n", "HTTPER/1.1 200 OK\r\n\r\n", "HTP/1.1 200 OK\r\n\r\n",
    "HTTP/01.1 200 OK\r\n\r\n", "HTTP/11.1 200 OK\r\n\r\n", "HTTP/1.01 200 OK\r\n\r\n", "HTTP/0.9 200 OK\r\n\r\n",
    "HTTP/5.6 200 OK\r\n\r\n", "HTTP/1.1 2 OK\r\n\r\n", "\rHTTP/1.1\t200 OK\r\n\r\n", "HTTP/1.1 200 OK\rFoo: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\rContent-Length: 4\r\n\r\nEvil", "HTTP/1.1 200 OK\r\n Host: foo\r\n\r\n",
    "HTTP/1.1 200 OK\r\nFoo: 1\rBar: 2\r\n\r\n", "HTTP/1.1 200 OK\u{0}xxxx\r\n\r\n",
    "HTTP/1.1 200 OK\r\nen-US Content-Type: text/xml\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "HTTP/1.1 200 x\r\nTransfer-Encoding: chunkedchunked\r\n\r\n",
    "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked, gzip, chunked\r\n\r\n",
    "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    "HTTP/1.1 200 x\r\nContent-Length: foo\r\n\r\n", "HTTP/1.1 200 x\r\nContent-Length:\r\n\r\n",
    "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 4\r\n\r\n",
    "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n",
  ])
  func aResponseThatIsNoneIsRefused(text: String) {
    guard case .refused(.upstreamProtocol, let why) = Parsed.response(text) else {
      Issue.record("\(Parsed.response(text))")
      return
    }
    #expect(why.hasPrefix("origin: "))
  }

  @Test(arguments: [
    ("HTTP/1.1 500 Ori\u{eb}ntatieprobleem\r\nContent-Length: 0\r\n\r\n", "1.1 500 [] 0"),
    ("HTTP/1.1 200  OK\r\nContent-Length: 0\r\n\r\n", "1.1 200 [] 0"),
    ("HTTP/1.1 200 OK\r\nDCLK_imp: v7;x;;~~cs=o\r\nContent-Length: 0\r\n\r\n", "1.1 200 [DCLK_imp: v7;x;;~~cs=o] 0"),
    (
      "HTTP/1.1 200 OK\r\nContent-Length-X: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
      "1.1 200 [Content-Length-X: 0] chunked"
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length:\t42\t\r\n\r\n", "1.1 200 [] 42"),
    ("HTTP/1.1 200 OK\r\nProxy-Connection: close\r\nContent-Length: 0\r\n\r\n", "1.1 200 [] 0"),
    ("HTTP/1.0 204 No content\r\nConnection: keep-alive\r\n\r\n", "1.0 204 [] none"),
    // Some servers say that nothing follows their 101; it is not handed on.
    (
      "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n",
      "1.1 101 [Upgrade: x] none closes tunnel"
    ),
    (
      "HTTP/1.0 200 OK\r\nFoo: \t \t \r\nBar: a a a \r\nContent-Length: 1\r\n\r\n",
      "1.0 200 [Foo: |Bar: a a a] 1 closes"
    ),
  ])
  func anOddResponseIsReadInTheOneWay(text: String, read: String) {
    #expect(Parsed.response(text) == .head(read, length: text.utf8.count))
  }

  @Test(arguments: [
    String(repeating: "9", count: 100) + "\r\nxxx", "10\u{0}\r\nxxx", "3\r\nxxx__1a\r\n", "3\r\nxxx\r_1a\r\n",
    "3\r\nxxx_\n1a\r\n", "25  \r\ndata", "2 erfrferferf\r\naa\r\n", "3 \n  \r\nfoo", "4\r\nSEE-THIS\r\n0\r\n\r\n",
    "5\r\r;ABCD\r\n34\r\nE\r\n0\r\n\r\n",
  ])
  func aChunkThatIsNoneIsRefused(text: String) {
    guard case .refused(.malformed, _) = DecodedBody(text) else {
      Issue.record("\(DecodedBody(text))")
      return
    }
  }

  @Test func extensionsAreDropped() {
    let body =
      "5;ilove;some=aretheseparametersfor;another=withvalue\r\nhello\r\n"
      + "6;q=\"I \\\"love\\\"; \\\\extensions\\\\\";blah;foo=bar\r\n world\r\n0; random=\"junk\"; more\r\n\r\n"
    #expect(DecodedBody(body) == .ended(data: "hello world", trailers: "", rest: ""))
  }
}
