import Pipeline
import Testing

@testable import Transports

@Suite struct HeadSerializerTests {
  /// Parses, lets `edit` change the head as an element would, and writes.
  private func rewritten(
    _ text: String, _ outgoing: OutgoingRequest = OutgoingRequest(), host: String = "",
    _ edit: (inout HTTPRequestHead) -> Void = { _ in }
  ) throws -> String {
    var parser = RequestHeadParser(HTTPOptions())
    var head = HTTPRequestHead(method: .get, target: "")
    var framing = RequestFraming()
    let progress = try Array(text.utf8).withUnsafeBytes { try parser.parse($0, into: &head, &framing) }
    #expect(progress == .complete(length: text.utf8.count))
    edit(&head)
    var wire: [UInt8] = []
    HeadSerializer.append(head, outgoing, host: Array(host.utf8), to: &wire)
    return String(decoding: wire, as: UTF8.self)
  }

  @Test func aRequestIsWrittenAnew() throws {
    #expect(
      try rewritten(
        "POST /a?b HTTP/1.0\r\nHost:a\r\nX-Y:\tz \r\nContent-Length:  7\r\n\r\n", OutgoingRequest(body: .length(7)))
        == "POST /a?b HTTP/1.1\r\nHost: a\r\nX-Y: z\r\ncontent-length: 7\r\n\r\n")
    #expect(
      try rewritten(
        "brew /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", OutgoingRequest(body: .chunked))
        == "brew /a HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n")
  }

  @Test(arguments: [
    ("GET http://a", "GET /"), ("GET http://a?b", "GET /?b"), ("GET http://a/b?c", "GET /b?c"),
    ("OPTIONS http://a", "OPTIONS *"),
    ("OPTIONS http://a/", "OPTIONS /"), ("OPTIONS *", "OPTIONS *"), ("GET /http://b/", "GET /http://b/"),
    ("CONNECT a:80", "CONNECT a:80"), ("GET //b", "GET //b"),
  ])
  func anOriginGetsTheOriginForm(line: String, written: String) throws {
    #expect(
      try rewritten("\(line) HTTP/1.1\r\nHost: a\r\n\r\n") == "\(written) HTTP/1.1\r\nHost: a\r\n\r\n")
  }

  @Test(arguments: [
    ("GET http://a/b", "GET http://a/b"), ("GET /b", "GET http://a/b"), ("CONNECT a:80", "CONNECT a:80"),
  ])
  func aProxyGetsTheAbsoluteForm(line: String, written: String) throws {
    #expect(
      try rewritten("\(line) HTTP/1.1\r\nHost: a\r\n\r\n", OutgoingRequest(isForProxy: true))
        == "\(written) HTTP/1.1\r\nHost: a\r\n\r\n")
  }

  @Test func aMissingHostIsWritten() throws {
    #expect(try rewritten("GET / HTTP/1.0\r\n\r\n", host: "o:1") == "GET / HTTP/1.1\r\nhost: o:1\r\n\r\n")
    #expect(try rewritten("GET / HTTP/1.0\r\nHost: a\r\n\r\n", host: "o:1") == "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
  }

  /// What a target says counts more than where the request is sent to (RFC 9112, 3.2.2).
  @Test func aMissingHostIsThatOfTheTarget() throws {
    #expect(try rewritten("GET http://b:2/c HTTP/1.0\r\n\r\n", host: "o:1") == "GET /c HTTP/1.1\r\nhost: b:2\r\n\r\n")
    #expect(
      try rewritten("GET /c HTTP/1.0\r\n\r\n", OutgoingRequest(isForProxy: true), host: "o:1")
        == "GET http://o:1/c HTTP/1.1\r\nhost: o:1\r\n\r\n")
  }

  @Test func whatTheConnectionNeedsIsSaid() throws {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    #expect(
      try rewritten(request, OutgoingRequest(upgrades: true))
        == "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nconnection: upgrade\r\n\r\n")
    #expect(try rewritten(request) == "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(
      try rewritten(request, OutgoingRequest(expectsContinue: true, acceptsTrailers: true, closes: true))
        == "GET / HTTP/1.1\r\nHost: a\r\nexpect: 100-continue\r\nte: trailers\r\nconnection: close, te\r\n\r\n")
  }

  /// The one way in which an element could make two lengths out of one.
  @Test func framingThatAnElementAddsIsNotWritten() throws {
    let written = try rewritten(
      "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 5\r\n\r\n", OutgoingRequest(body: .length(5))
    ) { head in
      head.fields.add("Content-Length", "6")
      head.fields.add("transfer-encoding", "chunked")
      head.fields.set("connection", "x")
      head.fields.set("Keep-Alive", "x")
      head.fields.set("proxy-connection", "x")
      head.fields.set("te", "x")
      head.fields.set("trailer", "x")
      head.fields.set("upgrade", "x")
      head.fields.set("Expect", "x")
      head.fields.add("kept", "z")
    }
    #expect(written == "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\nkept: z\r\ncontent-length: 5\r\n\r\n")
  }

  @Test func lineBreaksThatAnElementAddsDoNotBreakLines() throws {
    let written = try rewritten("GET / HTTP/1.1\r\nHost: a\r\n\r\n") { head in
      head.fields.set("x", "a\r\nContent-Length: 5\0")
      head.target = "/a HTTP/1.1\r\nx: y"
    }
    #expect(written == "GET /aHTTP/1.1x:y HTTP/1.1\r\nHost: a\r\nx: aContent-Length: 5\r\n\r\n")
  }

  private func written(_ status: Int, _ outgoing: OutgoingResponse, _ edit: (inout HTTPResponseHead) -> Void = { _ in })
    -> String
  {
    var head = HTTPResponseHead()
    head.status = status
    head.fields.set("x", "y")
    edit(&head)
    var wire: [UInt8] = []
    let lines = Array("z: 1\r\n".utf8)
    HeadSerializer.append(head, outgoing, lines: lines.span, to: &wire)
    return String(decoding: wire, as: UTF8.self)
  }

  @Test func aResponseIsWrittenAnew() {
    #expect(
      written(200, OutgoingResponse(body: .length(0))) == "HTTP/1.1 200 OK\r\nx: y\r\nz: 1\r\ncontent-length: 0\r\n\r\n"
    )
    #expect(
      written(404, OutgoingResponse(body: .chunked, closes: true))
        == "HTTP/1.1 404 Not Found\r\nx: y\r\nz: 1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n")
    #expect(
      written(304, OutgoingResponse(declaredLength: 9, saysKeepAlive: true))
        == "HTTP/1.1 304 Not Modified\r\nx: y\r\nz: 1\r\ncontent-length: 9\r\nconnection: keep-alive\r\n\r\n")
    #expect(
      written(799, OutgoingResponse(body: .untilClose, closes: true))
        == "HTTP/1.1 799 \r\nx: y\r\nz: 1\r\nconnection: close\r\n\r\n")
  }

  @Test func anAuthoredLengthIsWrittenOnce() {
    #expect(
      written(200, OutgoingResponse(body: .length(2))) { $0.replaceBody([1, 2]) }
        == "HTTP/1.1 200 OK\r\nx: y\r\nz: 1\r\ncontent-length: 2\r\n\r\n")
  }

  @Test func aSwitchNamesItsProtocol() {
    #expect(
      written(101, OutgoingResponse(upgrades: true)) { $0.fields.set("upgrade", "websocket") }
        == "HTTP/1.1 101 Switching Protocols\r\nx: y\r\nupgrade: websocket\r\nz: 1\r\nconnection: upgrade\r\n\r\n")
  }

  @Test(arguments: [
    (1, "1"), (9, "9"), (10, "a"), (15, "f"), (16, "10"), (255, "ff"), (4096, "1000"), (65535, "ffff"),
    (1 << 40, "10000000000"),
  ])
  func aChunkSizeIsHexadecimal(length: Int, digits: String) {
    var wire: [UInt8] = []
    ChunkSerializer.appendHead(length, to: &wire)
    #expect(String(decoding: wire, as: UTF8.self) == digits + "\r\n")
  }

  @Test func chunksDecodeToWhatWasWritten() {
    var wire: [UInt8] = []
    for piece in ["a", "bc", String(repeating: "d", count: 300)] {
      ChunkSerializer.appendHead(piece.utf8.count, to: &wire)
      wire += piece.utf8
      ChunkSerializer.appendEnd(to: &wire)
    }
    var trailers = HeaderFields()
    trailers.set("x-sum", "1")
    ChunkSerializer.appendLast(trailers: trailers, to: &wire)
    #expect(
      DecodedBody(wire)
        == .ended(data: "abc" + String(repeating: "d", count: 300), trailers: "x-sum: 1\r\n", rest: ""))
  }

  @Test func everyStatusHasItsOwnReason() {
    let reasons = (100..<600).map { ReasonPhrase.of($0).description }.filter { !$0.isEmpty }
    #expect(Set(reasons).count == reasons.count)
    #expect(reasons.count > 50)
  }
}
