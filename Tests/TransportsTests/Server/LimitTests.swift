import Pipeline
import Testing

@testable import Transports

@Suite struct LimitTests {
  /// Connects and says whether it is served: the origin greets whoever gets through.
  private func connect(_ address: SocketAddress) async throws -> BlockingPeer {
    try await onThread { try BlockingPeer.connect(address) }
  }

  private func greeter() throws -> TestOrigin {
    try TestOrigin { peer in
      try peer.send([7])
      _ = try peer.receiveToEnd()
    }
  }

  private func isServed(_ peer: BlockingPeer) async throws -> Bool {
    try await onThread { try peer.receive(exactly: 1) == [7] }
  }

  @Test func oneMoreConnectionWaitsUntilOneEnds() async throws {
    let origin = try greeter()
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
      } to: {
        Upstream("\(origin.address)")
      }.maxConnections(2)
    } body: { server in
      let proxy = server.address()
      let first = try await connect(proxy)
      let second = try await connect(proxy)
      #expect(try await isServed(first))
      #expect(try await isServed(second))
      let others = [try await connect(proxy), try await connect(proxy), try await connect(proxy)]
      // Whatever the loops have to do they have done; two are served, and no third.
      for _ in 0..<50 { _ = await server.server.openExchanges() }
      #expect(server.server.openConnections == 2)
      first.close()
      second.close()
      // All at once: which of them gets the free places first is the loops' affair.
      let served = try await withThrowingTaskGroup { group in
        for peer in others {
          group.addTask {
            try await onThread {
              defer { peer.close() }
              return try peer.receive(exactly: 1) == [7]
            }
          }
        }
        return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      #expect(served == 3)
    }
  }

  @Test func theLimitOfTheServerCountsAllListeners() async throws {
    let origin = try greeter()
    try await withServer(options: { $0.maxConnections = 1 }) {
      Listener(.tcp, on: "127.0.0.1:0", name: "a") {
      } to: {
        Upstream("\(origin.address)")
      }
      Listener(.tcp, on: "127.0.0.1:0", name: "b") {
      } to: {
        Upstream("\(origin.address)")
      }
    } body: { server in
      let first = try await connect(server.address("a"))
      #expect(try await isServed(first))
      let second = try await connect(server.address("b"))
      for _ in 0..<50 { _ = await server.server.openExchanges() }
      #expect(server.server.openConnections == 1)
      first.close()
      #expect(try await isServed(second))
    }
  }

  @Test func aClientThatWaitsAtTheLimitIsClosedWhenTheServerEnds() async throws {
    let origin = try greeter()
    var waiting: BlockingPeer?
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
      } to: {
        Upstream("\(origin.address)")
      }.maxConnections(1)
    } body: { server in
      let first = try await connect(server.address())
      #expect(try await isServed(first))
      waiting = try await connect(server.address())
    }
    let received = (try? waiting?.receiveToEnd()) ?? []
    #expect(received == [])
  }
}
