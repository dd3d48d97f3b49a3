import Glibc
import Pipeline
import Testing

@testable import Transports

/// SOCKS5 over real sockets.
@Suite struct SOCKS5ServerTests {
  @Test(arguments: ["127.0.0.1:0", "[::1]:0"]) func anAnonymousClientIsTunnelled(listen: String) async throws {
    let origin = try TestOrigin.echo()
    try await withServer {
      Listener(.socks5, on: listen) {
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      let echoed = try await onThread {
        let (client, reply) = try SOCKS5Client.connect(through: proxy, to: origin.address)
        #expect(reply?.code == 0)
        try client.peer.send(Array("hello".utf8))
        client.peer.finishWriting()
        return try client.peer.receiveToEnd()
      }
      #expect(echoed == Array("hello".utf8))
    }
  }

  @Test func aUnixSocketListensAsWell() async throws {
    let origin = try TestOrigin.echo(.ip(.loopbackV6, port: 0))
    let path = "/tmp/sluice-\(UInt64.random(in: 0 ... .max)).sock"
    try await withServer {
      Listener(.socks5, on: "unix:\(path)") {
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      #expect(proxy == .unix(path))
      try await onThread {
        let (client, reply) = try SOCKS5Client.connect(through: proxy, to: origin.address)
        #expect(reply?.code == 0)
        try client.peer.send([1, 2, 3])
        #expect(try client.peer.receive(exactly: 3) == [1, 2, 3])
      }
    }
    #expect(throws: SystemError("connect", 2)) { try BlockingPeer.connect(.unix(path)) }
  }

  @Test func theBoundAddressIsTheUpstreamSocketsOwn() async throws {
    let seen = Mailbox<SocketAddress?>()
    for address: SocketAddress in [.ip(.loopbackV4, port: 0), .ip(.loopbackV6, port: 0)] {
      let origin = try TestOrigin(address) { peer in
        seen.put(SocketAddress.ask(peer.fd) { getpeername($0, $1, $2) })
        _ = try peer.receive()
      }
      try await withServer {
        Listener(.socks5, on: "127.0.0.1:0") {
        } to: {
          Direct()
        }
      } body: { server in
        let proxy = server.address()
        let bound = try await onThread {
          try SOCKS5Client.connect(through: proxy, to: origin.address).1?.bound
        }
        #expect(bound != nil)
        #expect(await seen.next() == bound)
      }
    }
  }

  @Test(arguments: [[0, 2], [0, 1, 2], [2]] as [[UInt8]])
  func aPasswordIsAskedOfWhoeverOffersOne(methods: [UInt8]) async throws {
    let origin = try TestOrigin.echo()
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        OneUser()
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try SOCKS5Client(proxy)
        try client.peer.send([5, UInt8(methods.count)] + methods)
        #expect(try client.answer(5) == 2)
        #expect(try client.logIn("fierceRabbit", "secretThicket") == 0)
        #expect(try client.request(ClientBytes.connect(origin.address))?.code == 0)
        try client.peer.send([7])
        #expect(try client.peer.receive(exactly: 1) == [7])
      }
    }
  }

  @Test func aWrongPasswordEndsWithStatusOne() async throws {
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        OneUser()
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try SOCKS5Client(proxy)
        #expect(try client.greet(0, 2) == 2)
        // Its request is under way already, and must not turn the answer into a reset.
        try client.peer.send(
          ClientBytes.login("fierceRabbit", "guess") + ClientBytes.connect(v4: [127, 0, 0, 1], port: 1))
        #expect(try client.peer.receiveToEnd() == [1, 1])
      }
    }
  }

  @Test func aClientWithoutAPasswordIsNotAcceptable() async throws {
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        OneUser()
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try SOCKS5Client(proxy)
        try client.peer.send(ClientBytes.greeting(0, 1))
        #expect(try client.peer.receiveToEnd() == [5, 0xff])
      }
    }
  }

  @Test func theBranchThatIsTakenChoosesTheMethod() async throws {
    let origin = try TestOrigin.echo()
    for asks in [true, false] {
      try await withServer {
        Listener(.socks5, on: "127.0.0.1:0") {
          if asks { OneUser() } else { Anonymous() }
        } to: {
          Direct()
        }
      } body: { server in
        let proxy = server.address()
        try await onThread {
          let client = try SOCKS5Client(proxy)
          #expect(try client.greet(0, 2) == (asks ? 2 : 0))
          if asks { #expect(try client.logIn("fierceRabbit", "secretThicket") == 0) }
          #expect(try client.request(ClientBytes.connect(origin.address))?.code == 0)
        }
      }
    }
  }

  /// Takes everybody without asking.
  struct Anonymous: Authenticator {
    func authenticate(_ exchange: Exchange) async throws -> Principal { Principal("anybody") }
  }

  @Test func aRefusalBeforeTheMethodSaysWhyToWhoeverOffersNone() async throws {
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        Refuse(kind: .rateLimited)
        OneUser()
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let (first, reply) = try SOCKS5Client.connect(through: proxy, to: .ip(.loopbackV4, port: 9))
        #expect(reply?.code == 2)
        #expect(try first.peer.receiveToEnd() == [])
        let second = try SOCKS5Client(proxy)
        try second.peer.send(ClientBytes.greeting(2))
        #expect(try second.peer.receiveToEnd() == [5, 0xff])
      }
    }
  }

  @Test func aRefusalAfterTheLoginLeavesTheLoginGood() async throws {
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        OneUser()
        Refuse(kind: .quotaExhausted)
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try SOCKS5Client(proxy)
        #expect(try client.greet(2) == 2)
        #expect(try client.logIn("fierceRabbit", "secretThicket") == 0)
        #expect(try client.request(ClientBytes.connect(v4: [127, 0, 0, 1], port: 9))?.code == 2)
      }
    }
  }

  @Test func dataBehindTheRequestReachesTheUpstream() async throws {
    let origin = try TestOrigin.echo()
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        OneUser()
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      // More than the handshake's buffer holds.
      let early = noise(40_000, seed: 3)
      let received = try await onThread {
        let client = try SOCKS5Client(proxy)
        try client.peer.send(
          ClientBytes.greeting(2) + ClientBytes.login("fierceRabbit", "secretThicket")
            + ClientBytes.connect(origin.address) + early)
        client.peer.finishWriting()
        return try client.peer.receiveToEnd()
      }
      #expect(Array(received.prefix(4)) == [5, 2, 1, 0])
      #expect(Array(received.dropFirst(14)) == early)
    }
  }

  @Test func aHandshakeInSingleBytesIsTheSame() async throws {
    let origin = try TestOrigin.echo()
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        OneUser()
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try SOCKS5Client(proxy)
        let bytes =
          ClientBytes.greeting(0, 2) + ClientBytes.login("fierceRabbit", "secretThicket")
          + ClientBytes.connect(origin.address) + [42]
        for byte in bytes { try client.peer.send([byte]) }
        #expect(try client.answer(5) == 2)
        #expect(try client.answer(1) == 0)
        #expect(try client.reply()?.code == 0)
        #expect(try client.peer.receive(exactly: 1) == [42])
      }
    }
  }

  @Test func bothDirectionsCarryTenMegabytesWhole() async throws {
    let down = noise(10_000_000, seed: 1)
    let up = noise(10_000_000, seed: 2)
    let arrived = Mailbox<Bool>()
    let origin = try TestOrigin { peer in
      let reader = Mailbox<Bool>()
      detachedThread { reader.put((try? peer.receiveToEnd()) == up) }
      try peer.send(down)
      peer.finishWriting()
      let isWhole = blockingWait { await reader.next() }
      arrived.put(isWhole ?? false)
    }
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      let isWhole = try await onThread {
        let (client, reply) = try SOCKS5Client.connect(through: proxy, to: origin.address)
        #expect(reply?.code == 0)
        detachedThread {
          try? client.peer.send(up)
          client.peer.finishWriting()
        }
        return try client.peer.receiveToEnd() == down
      }
      #expect(isWhole)
      #expect(await arrived.next() == true)
    }
  }
}
