import Pipeline
import Testing

@testable import Transports

@Suite struct RoundRobinTests {
  @Test func upstreamsAreTakenInTurn() async throws {
    let origins = try (0..<3).map { number in
      try TestOrigin { peer in
        try peer.send([UInt8(number)])
        _ = try peer.receiveToEnd()
      }
    }
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
      } to: {
        RoundRobin(origins.map { Upstream("\($0.address)") })
      }
    } body: { server in
      let address = server.address()
      var greetings: [UInt8] = []
      for _ in 0..<6 {
        greetings += try await onThread { try BlockingPeer.connect(address).receive(exactly: 1) }
      }
      #expect(greetings == [0, 1, 2, 0, 1, 2])
    }
  }

  @Test func anAppWithoutAnUpstreamDoesNotStart() {
    let failure = #expect(throws: ConfigurationError.self) {
      try Server(
        Listener(.tcp, on: "127.0.0.1:0") {
        } to: {
          RoundRobin([])
        })
    }
    #expect(failure?.description.contains("it has no upstream") == true)
  }

  @Test func anAddressThatCannotBeReadKeepsTheAppFromStarting() {
    #expect(throws: ConfigurationError.self) {
      try Server(
        Listener(.tcp, on: "127.0.0.1:0") {
        } to: {
          RoundRobin("127.0.0.1:1", "nowhere")
        })
    }
  }
}
