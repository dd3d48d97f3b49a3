import Pipeline
import Testing

@testable import Transports

/// What happens when a kept upstream connection is dead. A request that may have had an effect is never sent twice.
@Suite struct StaleConnectionTests {
  /// Answers the first request of the first connection; ends that connection without an answer at the second.
  private func dyingBackend(_ partialAnswer: String = "") throws -> ScriptedBackend {
    try ScriptedBackend { session in
      var count = 0
      while let head = try session.readHead() {
        if let length = head["content-length"].first.flatMap({ Int($0) }) { _ = try session.peer.read(length) }
        count += 1
        if session.number == 1, count == 2 {
          try session.peer.send(partialAnswer)
          return
        }
        try session.peer.send(response("from \(session.number)"))
      }
    }
  }

  @Test func aGetIsSentAgainOverANewConnection() async throws {
    let backend = try dyingBackend()
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get("/1")?.body == "from 1")
      #expect(try client.get("/2")?.body == "from 2")
    }
    #expect(backend.requests.map(\.head.target) == ["/1", "/2", "/2"])
  }

  /// RFC 9110, 9.2.2: whose effect is the same however often they come. There is no body that would have to be kept.
  @Test(arguments: ["PUT", "DELETE", "OPTIONS"]) func whatIsIdempotentAndHasNoBodyIsSentAgain(method: String)
    async throws
  {
    let backend = try dyingBackend()
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get("/1")?.body == "from 1")
      let answer = try client.ask("\(method) /2 HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")
      #expect(answer?.body == "from 2")
    }
    #expect(backend.requests.map(\.head.target) == ["/1", "/2", "/2"])
  }

  /// Of PUT and DELETE the body has been handed on and is not kept, although sending them again would be allowed.
  @Test(arguments: ["POST", "PATCH", "PUT", "DELETE", "PROPFIND"]) func whatMayHaveHadAnEffectIsNotSentTwice(
    method: String
  )
    async throws
  {
    let backend = try dyingBackend()
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get("/1")?.body == "from 1")
      let answer = try client.ask("\(method) /2 HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc")
      #expect(answer?.status == 502)
      #expect(try client.get("/3")?.body == "from 2")
    }
    #expect(backend.requests.map(\.head.target) == ["/1", "/2", "/3"])
  }

  @Test func aPostWithoutABodyIsNotSentTwice() async throws {
    let backend = try dyingBackend()
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get("/1")?.body == "from 1")
      #expect(try client.ask("POST /2 HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")?.status == 502)
    }
    #expect(backend.requests.map(\.head.target) == ["/1", "/2"])
  }

  @Test func oneByteOfAnAnswerForbidsAnotherTry() async throws {
    let backend = try dyingBackend("H")
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get("/1")?.body == "from 1")
      #expect(try client.get("/2")?.status == 502)
    }
    #expect(backend.requests.map(\.head.target) == ["/1", "/2"])
  }

  @Test func aNewConnectionThatEndsWithoutAnAnswerIsA502() async throws {
    let backend = try ScriptedBackend { session in _ = try session.readHead() }
    try await withReverseProxy(to: backend) { proxy in
      let status = try proxy.get()?.status
      #expect(status == 502)
    }
    #expect(backend.requests.count == 1)
  }

  @Test func aConnectionThatTheUpstreamClosedIsNotUsed() async throws {
    // Closes after each answer, without having said so.
    let backend = try ScriptedBackend { session in
      _ = try session.readHead()
      try session.peer.send(response("from \(session.number)"))
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for number in 1...5 {
        #expect(try client.get()?.body == "from \(number)")
        // The backend's close is behind its answer; a POST shows that no dead connection is taken for it.
        _ = blockingWait { await backend.ended.next() }
      }
      #expect(try client.ask("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx")?.status == 200)
    }
    #expect(backend.requests.count == 6)
  }

  @Test func anUpstreamThatSpeaksWithoutBeingAskedIsNotUsed() async throws {
    let backend = try ScriptedBackend { session in
      while try session.readHead() != nil {
        try session.peer.send(response("from \(session.number)") + response("poison"))
      }
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for number in 1...3 { #expect(try client.get()?.body == "from \(number)") }
    }
  }

  @Test func anUpstreamThatWantsToCloseIsNotKept() async throws {
    let backend = try ScriptedBackend.answering { _, _ in response("ok", "Connection: close\r\n") }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for _ in 1...3 {
        let answer = try client.get()
        #expect(answer?.body == "ok")
        #expect(answer?.head["connection"] == [])
      }
    }
    #expect(backend.connections == 3)
  }
}
