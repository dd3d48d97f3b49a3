import Pipeline
import Testing

@testable import Transports

/// Requests that stand one behind the other on a connection: where each ends, and what may stand between.
@Suite struct PipeliningTests {
  /// Says what it got: method, target, body.
  private func echoing() throws -> ScriptedBackend {
    try ScriptedBackend.answering { head, peer in
      var body = ""
      if let length = head["content-length"].first.flatMap({ Int($0) }) { body = try peer.read(length) }
      if head["transfer-encoding"] == ["chunked"] { body = try peer.readChunks()?.body ?? "cut" }
      return response("\(head.method) \(head.target) \(body)")
    }
  }

  private func answers(_ requests: String, _ count: Int) async throws -> [String] {
    let backend = try echoing()
    let bodies = Mailbox<[String]>()
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send(requests)
      bodies.put(try (0..<count).map { _ in try client.readResponse()?.body ?? "nothing" })
    }
    return try #require(await bodies.next())
  }

  @Test func bodiesOfEveryKindEndWhereTheySay() async throws {
    let requests =
      "POST /length HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nAAA"
      + "PUT /chunked HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nBB\r\n1\r\nB\r\n0\r\n\r\n"
      + "GET /body HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nCCCC"
      + "GET /zero HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n"
      + "POST /none HTTP/1.1\r\nHost: t\r\n\r\n"
      + "DELETE /trailers HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nD\r\n000\r\nX-T: 1\r\n\r\n"
      + "GET /last HTTP/1.1\r\nHost: t\r\n\r\n"
    #expect(
      try await answers(requests, 7) == [
        "POST /length AAA", "PUT /chunked BBB", "GET /body CCCC", "GET /zero ", "POST /none ", "DELETE /trailers D",
        "GET /last ",
      ])
  }

  /// Old clients send a line end behind a body that does not belong to it (RFC 9112, 2.2).
  @Test func oneLineEndBehindABodyIsBorne() async throws {
    let requests =
      "POST /1 HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nq=42\r\n" + "GET /2 HTTP/1.1\r\nHost: t\r\n\r\n"
    #expect(try await answers(requests, 2) == ["POST /1 q=42", "GET /2 "])
  }

  /// Heads that are much longer than the one before.
  @Test func aLongHeadMayFollowAShortOne() async throws {
    let long = String(repeating: "1234567890", count: 400)
    let requests =
      "GET /1 HTTP/1.1\r\nHost: t\r\n\r\n"
      + "GET /2\(long) HTTP/1.1\r\nHost: t\r\nX-Long: \(long)\r\nX-More: \(long)\r\n\r\n"
      + "GET /3 HTTP/1.1\r\nHost: t\r\n\r\n"
    #expect(try await answers(requests, 3) == ["GET /1 ", "GET /2\(long) ", "GET /3 "])
  }

  /// The bytes behind the last request of a connection are nobody's, whatever they look like.
  @Test(arguments: [
    "GET /last HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    "GET /last HTTP/1.1\r\nHost: t\r\nConnection: close\t\r\n\r\n",
    "GET /last HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\nConnection: keep-alive, close\r\n\r\n",
    "GET /last HTTP/1.0\r\nHost: t\r\n\r\n",
  ])
  func whatStandsBehindTheLastRequestReachesNobody(last: String) async throws {
    let backend = try echoing()
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send(last + "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n")
      #expect(try client.readResponse()?.body == "GET /last ")
      #expect(try client.readToEnd() == "")
    }
    #expect(backend.requests.map(\.head.target) == ["/last"])
  }

  /// A request that is refused takes what stands behind it with it.
  @Test(arguments: [
    "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 0,\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: t\r\nDummy: x\nContent-Length: 23\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: t\r\n\rZGET /evil: HTTP/1.1\r\n\r\n",
  ])
  func nothingBehindARefusedRequestIsServed(refused: String) async throws {
    let backend = try echoing()
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("GET /first HTTP/1.1\r\nHost: t\r\n\r\n" + refused + "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n")
      #expect(try client.readResponse()?.body == "GET /first ")
      let answer = try client.readResponse()
      #expect(answer?.status == 400 && answer?.head["connection"] == ["close"])
      #expect(try client.readToEnd() == "")
    }
    #expect(backend.requests.map(\.head.target) == ["/first"])
  }
}
