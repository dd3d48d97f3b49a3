import Pipeline
import Testing

@testable import Transports

@Suite struct UpstreamTests {
  @Test func aFixedUpstreamServesSOCKS5WhateverItsClientsAskFor() async throws {
    let origin = try TestOrigin.echo()
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
      } to: {
        Upstream("\(origin.address)")
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try SOCKS5Client(proxy)
        #expect(try client.greet(0) == 0)
        #expect(try client.request(ClientBytes.connect(name: "elsewhere.test", port: 443))?.code == 0)
        try client.peer.send([5])
        #expect(try client.peer.receive(exactly: 1) == [5])
      }
    }
  }

  @Test func aWrongRequestIsRefusedBeforeAFixedUpstreamIsDialled() async throws {
    let dialled = Mailbox<Bool>()
    let origin = try TestOrigin { _ in dialled.put(true) }
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
      } to: {
        Upstream("\(origin.address)")
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try SOCKS5Client(proxy)
        #expect(try client.greet(0) == 0)
        let bind = ClientBytes.connect(v4: [127, 0, 0, 1], port: 9, command: 2)
        #expect(try client.request(bind)?.code == 7)
        // The next one is dialled, and is the first.
        _ = try SOCKS5Client.connect(through: proxy, to: origin.address)
      }
      #expect(await dialled.next() == true)
    }
  }

  @Test func anEndpointIsTakenAsItIs() {
    let endpoint = Endpoint(.ip(.loopbackV6), port: 5432)
    #expect(Upstream(endpoint).parameters == [Parameter("to", "[::1]:5432")])
    #expect(Upstream(unix: "/run/db.sock").parameters == [Parameter("to", "unix:/run/db.sock")])
  }

  @Test func directRefusesPrivateAddressesOnAPublicListener() async throws {
    let origin = try TestOrigin.echo()
    try await withServer {
      Listener(.socks5, on: "0.0.0.0:0") {
      } to: {
        Direct()
      }
    } body: { server in
      guard case .ip(_, let port) = server.address() else { return }
      try await onThread {
        let proxy = SocketAddress.ip(.loopbackV4, port: port)
        let (_, reply) = try SOCKS5Client.connect(through: proxy, to: origin.address)
        #expect(reply?.code == 2)
      }
    }
  }

  @Test func directDialsWhatARuleHasApproved() async throws {
    struct Approve: Middleware {
      let address: SocketAddress

      func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
        _ = try await exchange.destination()
        exchange.approved = try approved(address)
        return try await next()
      }
    }
    let origin = try TestOrigin.echo()
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        Approve(address: origin.address)
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let (client, reply) = try SOCKS5Client.connect(through: proxy, to: .ip(.loopbackV4, port: 1))
        #expect(reply?.code == 0)
        try client.peer.send([8])
        #expect(try client.peer.receive(exactly: 1) == [8])
      }
    }
  }
}
