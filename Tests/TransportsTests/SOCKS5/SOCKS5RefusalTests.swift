import Glibc
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// What a SOCKS5 client is told when it cannot have what it asks for, over real sockets.
@Suite struct SOCKS5RefusalTests {
  /// Answers look-ups from a table.
  struct Names: NameLookup {
    var table: [String: [IPAddress]]

    func addresses(of name: DomainName) throws(LookupFailure) -> LookupAnswer {
      guard let addresses = table[name.text] else { throw .notFound }
      return LookupAnswer(addresses: addresses)
    }
  }

  /// The reply to one request, and how the connection went on.
  private func reply(
    to request: [UInt8], options: @escaping (inout ServerOptions) -> Void = { _ in },
    connectTimeout: Duration = .seconds(5)
  ) async throws -> SOCKS5Client.Reply? {
    let answer = Mutex<SOCKS5Client.Reply?>(nil)
    try await withServer(options: options) {
      Listener(.socks5, on: "127.0.0.1:0") {
      } to: {
        Direct()
      }.connectTimeout(connectTimeout)
    } body: { server in
      let proxy = server.address()
      let reply = try await onThread {
        let client = try SOCKS5Client(proxy)
        #expect(try client.greet(0) == 0)
        let reply = try client.request(request)
        // An orderly end: nothing of the answer is lost.
        #expect(try client.peer.receiveToEnd() == [])
        return reply
      }
      answer.withLock { $0 = reply }
    }
    return answer.withLock { $0 }
  }

  @Test func refusedIs5() async throws {
    let free = try BlockingOrigin().address
    #expect(try await reply(to: ClientBytes.connect(free))?.code == 5)
  }

  @Test func aNameThatDoesNotResolveIs4() async throws {
    let answer = try await reply(to: ClientBytes.connect(name: "nowhere.test", port: 80)) {
      $0.engine.lookup = Names(table: [:])
    }
    #expect(answer?.code == 4)
    #expect(answer?.bound == .ip(.anyV4, port: 0))
  }

  @Test func aNetworkWithoutARouteIs3() async throws {
    // A loopback address cannot be reached from a source that is no loopback; the source makes connect fail at once.
    let answer = try await reply(to: ClientBytes.connect(v4: [127, 0, 0, 1], port: 9)) {
      $0.engine.dialing.sourceAddress = IPAddress("203.0.113.77")
    }
    #expect([3, 4].contains(answer?.code ?? 0))
  }

  @Test func aDialThatTakesTooLongIs6() async throws {
    // A listener whose backlog is full answers nobody.
    let origin = try BlockingOrigin(backlog: 0)
    let fillers = try (0..<4).map { _ in try beginConnecting(origin.address) }
    let answer = try await reply(to: ClientBytes.connect(origin.address), connectTimeout: .milliseconds(100))
    #expect(answer?.code == 6)
    withExtendedLifetime(fillers) {}
  }

  @Test(arguments: [2, 3, 0x55] as [UInt8]) func anotherCommandIs7(command: UInt8) async throws {
    let request = ClientBytes.connect(v4: [0, 0, 0, 0], port: 0, command: command)
    #expect(try await reply(to: request)?.code == 7)
  }

  @Test(arguments: [2, 5, 0xff] as [UInt8]) func anotherAddressTypeIs8(type: UInt8) async throws {
    #expect(try await reply(to: [5, 1, 0, type, 1, 2, 3, 4, 5, 6])?.code == 8)
  }

  @Test(arguments: [[], [97, 0, 98]] as [[UInt8]]) func aNameThatIsNoneIs1(name: [UInt8]) async throws {
    #expect(try await reply(to: ClientBytes.connect(name: name, port: 80))?.code == 1)
  }

  @Test func portZeroIs2() async throws {
    #expect(try await reply(to: ClientBytes.connect(v4: [127, 0, 0, 1], port: 0))?.code == 2)
  }

  @Test(arguments: Rejection.Kind.allCases.filter { $0 != .clientGone })
  func everyKindOfRefusalArrives(kind: Rejection.Kind) async throws {
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        OneUser()
        Refuse(kind: kind)
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try SOCKS5Client(proxy)
        #expect(try client.greet(2) == 2)
        #expect(try client.logIn("fierceRabbit", "secretThicket") == 0)
        let reply = try client.request(ClientBytes.connect(v4: [127, 0, 0, 1], port: 9))
        #expect(reply?.code == SOCKS5Reply(for: kind).rawValue)
        #expect(try client.peer.receiveToEnd() == [])
      }
    }
  }

  @Test func whatIsNoSOCKSIsClosed() async throws {
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try BlockingPeer.connect(proxy)
        try client.send([UInt8(ascii: "G")])
        #expect(try client.receiveToEnd() == [])
      }
    }
  }

  @Test(arguments: [[], [5], [5, 2, 0]] as [[UInt8]])
  func aGreetingThatTakesTooLongIsClosed(sent: [UInt8]) async throws {
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
      } to: {
        Direct()
      }.handshakeTimeout(.milliseconds(50))
    } body: { server in
      let proxy = server.address()
      let answer = try await onThread {
        let client = try BlockingPeer.connect(proxy)
        try client.send(sent)
        return try client.receiveToEnd()
      }
      #expect(answer == [])
    }
  }

  @Test func aLoginAndARequestThatTakeTooLongAreAnsweredAndClosed() async throws {
    let events = Mailbox<Witness.Event>()
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        Witness(events: events)
        OneUser()
      } to: {
        Direct()
      }
      .handshakeTimeout(.milliseconds(700))
    } body: { server in
      let proxy = server.address()
      let answers = try await onThread {
        let unread = try SOCKS5Client(proxy)
        #expect(try unread.greet(2) == 2)
        try unread.peer.send([1, 12])
        let late = try SOCKS5Client(proxy)
        #expect(try late.greet(2) == 2)
        #expect(try late.logIn("fierceRabbit", "secretThicket") == 0)
        try late.peer.send([5, 1])
        return [try unread.peer.receiveToEnd(), try late.peer.receiveToEnd()]
      }
      #expect(answers == [[1, 1], [5, 1, 0, 1, 0, 0, 0, 0, 0, 0]])
      for _ in 0..<2 {
        guard case .rejected(_, .handshakeTimeout, isCommitted: false)? = await events.nextEnd() else {
          Issue.record("the chain sees the timeout")
          return
        }
      }
    }
  }

  /// The handshake's time is the client's: ours does not count.
  @Test func ourOwnTimeDoesNotCountAsTheClients() async throws {
    struct Slow: Middleware {
      func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
        try await exchange.sleep(for: .milliseconds(800))
        return try await next()
      }
    }
    let origin = try TestOrigin.echo()
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        Slow()
      } to: {
        Direct()
      }.handshakeTimeout(.milliseconds(100))
    } body: { server in
      let proxy = server.address()
      let reply = try await onThread {
        let client = try SOCKS5Client(proxy)
        try client.peer.send(ClientBytes.greeting(0) + ClientBytes.connect(origin.address))
        return (try client.answer(5), try client.reply()?.code)
      }
      #expect(reply == (0, 0))
    }
  }

  @Test func aClientThatResetsDuringTheDialCancelsIt() async throws {
    let events = Mailbox<Witness.Event>()
    let origin = try BlockingOrigin(backlog: 0)
    let fillers = try (0..<4).map { _ in try beginConnecting(origin.address) }
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        Witness(events: events)
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      let client = try await onThread {
        let client = try SOCKS5Client(proxy)
        #expect(try client.greet(0) == 0)
        try client.peer.send(ClientBytes.connect(origin.address))
        return client.peer
      }
      _ = await events.next()
      while await server.server.openExchanges().first?.upstream == nil { await Task.yield() }
      client.reset()
      guard case .rejected(_, .clientGone, isCommitted: false)? = await events.nextEnd() else {
        Issue.record("the dial ends with the client")
        return
      }
    }
    withExtendedLifetime(fillers) {}
  }
}
