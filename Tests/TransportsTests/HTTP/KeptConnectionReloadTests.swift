import Pipeline
import Testing

@testable import Transports

/// A kept HTTP connection takes the new configuration with its next request, and none is lost.
@Suite struct KeptConnectionReloadTests {
  private func answering(_ body: String, keepAlive: Duration = .seconds(60)) -> some Proxy {
    Listener(.http, on: "127.0.0.1:0", name: "in") {
    } to: {
      Respond(200, body)
    }.options { $0.http.keepAliveTimeout = keepAlive }
  }

  /// A connection that the first chain has answered once.
  private func keptConnection(to server: RunningServer) async throws -> HTTPPeer {
    let address = server.address()
    return try await onThread {
      let client = try HTTPPeer.connect(address)
      #expect(try client.get()?.body == "one")
      return client
    }
  }

  @Test func theNextRequestOfAKeptConnectionTakesTheNewChain() async throws {
    try await withServer(options: { $0.workers = 1 }) {
      answering("one")
    } body: { server in
      let client = try await keptConnection(to: server)
      for word in ["two", "three"] {
        try await server.server.reload(answering(word))
        try await onThread {
          let answer = try client.get()
          #expect(answer?.body == word)
          #expect(answer?.head["connection"] == [])
        }
      }
    }
  }

  @Test func aRequestThatIsUnderWayKeepsItsChainAndItsConnection() async throws {
    let backend = try ScriptedBackend.answering { _, peer in response("old " + (try peer.read(2))) }
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0", name: "in") {
      } to: {
        Upstream(backend.address.text)
      }
    } body: { server in
      let address = server.address()
      let client = try await onThread {
        let client = try HTTPPeer.connect(address)
        // Its body is still to come when the new chain does.
        try client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n")
        return client
      }
      _ = await backend.arrived.next()
      try await server.server.reload(answering("new"))
      try await onThread {
        try client.send("ab")
        #expect(try client.readResponse(to: "POST")?.body == "old ab")
        #expect(try client.get()?.body == "new")
      }
    }
  }

  /// Requests that were sent ahead are read ahead: what is kept of them goes along.
  @Test func pipelinedRequestsGoAlong() async throws {
    try await withServer(options: { $0.workers = 1 }) {
      answering("one")
    } body: { server in
      let client = try await keptConnection(to: server)
      try await server.server.reload(answering("two"))
      try await onThread {
        let request = "GET / HTTP/1.1\r\nHost: test\r\n\r\n"
        try client.send(String(repeating: request, count: 50))
        for _ in 1...50 { #expect(try client.readResponse()?.body == "two") }
      }
    }
  }

  @Test func aConnectionThatWaitsTakesTheNewKeepAliveTime() async throws {
    try await withServer(options: { $0.workers = 1 }) {
      answering("one")
    } body: { server in
      let client = try await keptConnection(to: server)
      try await server.server.reload(answering("two", keepAlive: .milliseconds(1)))
      // By the old time it would stay for a minute. It ends without a word: it is no request that came too late.
      #expect(try await onThread { try client.readToEnd() } == "")
    }
  }

  @Test func aReloadUnderLoadLosesNoRequest() async throws {
    try await withServer {
      answering("0")
    } body: { server in
      let address = server.address()
      try await withThrowingTaskGroup { group in
        for _ in 0..<4 {
          group.addTask {
            try await onThread {
              let client = try HTTPPeer.connect(address)
              for _ in 0..<300 { #expect(try client.get()?.status == 200) }
            }
          }
        }
        for turn in 1...20 { try await server.server.reload(answering("\(turn)")) }
        try await group.waitForAll()
      }
      let answer = try await onThread { try HTTPPeer.connect(address).get() }
      #expect(answer?.body == "20")
    }
  }
}
