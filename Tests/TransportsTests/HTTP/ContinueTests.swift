import Pipeline
import Testing

@testable import Transports

/// `100 (Continue)` (RFC 9110, 10.1.1): said by one side, once. Other interim responses.
@Suite struct ContinueTests {
  private let post = "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"

  @Test func theOriginIsAskedAndItsWordIsRelayed() async throws {
    let backend = try ScriptedBackend { session in
      while let head = try session.readHead() {
        #expect(head["expect"] == ["100-continue"])
        try session.peer.send("HTTP/1.1 100 Continue\r\n\r\n")
        try session.peer.send(response("got " + (try session.peer.read(5))))
      }
    }
    try await withReverseProxy(to: backend) { [post] proxy in
      let client = try HTTPPeer.connect(proxy)
      for _ in 1...2 {
        try client.send(post)
        #expect(try client.readHead()?.startLine == "HTTP/1.1 100 Continue")
        try client.send("abcde")
        #expect(try client.readResponse()?.body == "got abcde")
      }
    }
    #expect(backend.connections == 1)
  }

  @Test func anOriginThatRefusesSavesTheBody() async throws {
    let backend = try ScriptedBackend.answering { _, _ in response("no", status: "417 Expectation Failed") }
    try await withReverseProxy(to: backend) { [post] proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send(post)
      let answer = try client.readResponse()
      #expect(answer?.status == 417)
      // Whether the body comes nobody can know: what follows could be either.
      #expect(answer?.head["connection"] == ["close"])
      #expect(try client.hasEnded())
    }
  }

  @Test func aClientThatDoesNotWaitIsServed() async throws {
    let backend = try ScriptedBackend.answering { _, peer in response("got " + (try peer.read(5))) }
    try await withReverseProxy(to: backend) { [post] proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.ask(post + "abcde")?.body == "got abcde")
      #expect(try client.ask(post + "fghij")?.body == "got fghij")
    }
  }

  @Test func whoReadsTheBodyHereSaysIt() async throws {
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Handle { exchange in try await exchange.respond(200, body: try await exchange.collectBody(upTo: 10)) }
      }
    } body: { [post] server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        for _ in 1...2 {
          try client.send(post)
          #expect(try client.readHead()?.startLine == "HTTP/1.1 100 Continue")
          try client.send("abcde")
          #expect(try client.readResponse { _ in Issue.record("a second 100") }?.body == "abcde")
        }
        // A body that is there already needs no word.
        #expect(try client.ask(post + "fghij")?.body == "fghij")
        #expect(!String(decoding: client.received.suffix(80), as: UTF8.self).contains("100 Continue"))
      }
    }
  }

  @Test func nobodyWhoDoesNotReadSaysIt() async throws {
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Respond(403)
      }
    } body: { [post] server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        try client.send(post)
        #expect(try client.readHead()?.status == 403)
        #expect(try client.hasEnded())
      }
    }
  }

  /// Hints are no answer.
  @Test func anOriginThatEndsAfterAnInterimResponseIsA502() async throws {
    let backend = try ScriptedBackend { session in
      guard let head = try session.readHead() else { return }
      try session.peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
      if head.target == "/part" { try session.peer.send("HTTP/1.1 200 O") }
    }
    try await withReverseProxy(to: backend) { proxy in
      for target in ["/", "/part"] {
        let client = try HTTPPeer.connect(proxy)
        try client.send("GET \(target) HTTP/1.1\r\nHost: t\r\n\r\n")
        var hints: [Int?] = []
        let answer = try client.readResponse { hints.append($0.status) }
        #expect(answer?.status == 502 && hints == [103])
      }
    }
    #expect(backend.requests.count == 2, "an origin that has answered in part is not asked again")
  }

  @Test func interimResponsesAreRelayedInOrder() async throws {
    let backend = try ScriptedBackend { session in
      while try session.readHead() != nil {
        try session.peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
        try session.peer.send("HTTP/1.1 100 Continue\r\n\r\n" + response("done"))
      }
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      var interim: [RawHead] = []
      try client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
      let answer = try client.readResponse { interim.append($0) }
      // The 100 was for nobody.
      #expect(interim.map(\.status) == [103, 102])
      #expect(interim.first?["link"] == ["</a>"])
      #expect(answer?.body == "done")

      let old = try HTTPPeer.connect(proxy)
      try old.send("GET / HTTP/1.0\r\n\r\n")
      #expect(try old.readHead()?.status == 200)
    }
  }

  @Test func anOldClientsExpectationIsIgnored() async throws {
    let backend = try ScriptedBackend.answering { head, peer in
      #expect(head["expect"] == [])
      return response("got " + (try peer.read(5)))
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      let request = "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
      #expect(try client.ask(request + "abcde")?.body == "got abcde")
    }
  }
}
