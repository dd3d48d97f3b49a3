import Glibc
import Pipeline
import Testing

@testable import Transports

/// HTTP over ways out, source addresses and families, and dials without a client.
@Suite struct WaysOutTests {
  private func withForwardProxy(
    _ via: Via, names: CountedNames = CountedNames(table: [:]), rejections: Rejections = Rejections(),
    body: @escaping @Sendable (SocketAddress) throws -> Void
  ) async throws {
    try await withServer(options: {
      $0.workers = 1
      $0.engine.lookup = names
    }) {
      Listener(.http, on: "127.0.0.1:0") {
        rejections
      } to: {
        via
      }
    } body: { server in
      let address = server.address()
      try await onThread { try body(address) }
    }
  }

  private static func get(_ url: String, _ host: String) -> String {
    "GET \(url) HTTP/1.1\r\nHost: \(host)\r\nProxy-Authorization: Basic bWluZTptaW5l\r\n\r\n"
  }

  // MARK: HTTP

  @Test func anHTTPProxyThatResolvesNamesGetsAbsoluteFormsOverOneKeptConnection() async throws {
    let far = try ScriptedBackend.answering(response("far"))
    let proxy = FarProxy.http(far.address.text, user: "ann", password: "secret", resolvesNames: true)
    try await withForwardProxy(Via(proxy)) { address in
      let client = try HTTPPeer.connect(address)
      for host in ["one.test", "two.test:81", "one.test"] {
        #expect(try client.ask(Self.get("http://\(host)/x", host))?.body == "far")
      }
    }
    #expect(far.connections == 1)
    #expect(far.requests.map(\.head.target) == ["http://one.test/x", "http://two.test:81/x", "http://one.test/x"])
    for request in far.requests {
      // Ours, not the client's.
      #expect(request.head["proxy-authorization"] == ["Basic YW5uOnNlY3JldA=="])
      #expect(request.head["x-forwarded-for"] == [])
    }
  }

  @Test func aRefusedLoginOfOursIsNoQuestionToTheClient() async throws {
    let far = try ScriptedBackend.answering(
      response(status: "407 Proxy Authentication Required", "Proxy-Authenticate: Basic realm=\"x\"\r\n"))
    let rejections = Rejections()
    let proxy = FarProxy.http(far.address.text, user: "ann", password: "hidden", resolvesNames: true)
    try await withForwardProxy(Via(proxy), rejections: rejections) { address in
      let answer = try address.ask(Self.get("http://one.test/", "one.test"))
      #expect(answer?.status == 502)
      #expect(answer?.head["proxy-authenticate"] == [])
    }
    let rejection = try #require(await rejections.seen.next())
    #expect(rejection.source == .proxy)
    #expect(rejection.retry == .pointless)
  }

  /// A far proxy that answers CONNECT and then is every origin itself.
  private func tunnelling() throws -> ScriptedBackend {
    try ScriptedBackend { session in
      guard let connect = try session.readHead(), connect.method == "CONNECT" else { return }
      try session.peer.send("HTTP/1.1 200 OK\r\n\r\n")
      while try session.readHead() != nil { try session.peer.send(response("for \(connect.target)")) }
    }
  }

  @Test func aTunnelIsKeptForItsDestinationAndNoOther() async throws {
    let far = try tunnelling()
    try await withForwardProxy(Via(.http(far.address.text))) { address in
      let client = try HTTPPeer.connect(address)
      for host in ["127.0.0.7:80", "127.0.0.8:80", "127.0.0.7:80", "127.0.0.8:80", "\(far.address)"] {
        #expect(try client.ask(Self.get("http://\(host)/", host))?.body == "for \(host)")
      }
    }
    #expect(far.connections == 3)
    #expect(far.requests.filter { $0.head.method == "GET" }.allSatisfy { $0.head["proxy-authorization"] == [] })
  }

  @Test func aTunnelToANameThatAClientChoseIsNotKept() async throws {
    let far = try ScriptedSOCKS5.serving()
    try await withForwardProxy(Via(.socks5(far.address.text, resolvesNames: true))) { address in
      let client = try HTTPPeer.connect(address)
      for host in ["one.test", "two.test", "one.test"] {
        #expect(try client.ask(Self.get("http://\(host)/", host))?.body == host)
      }
    }
  }

  @Test func aTunnelToTheOneNameOfAnUpstreamIsKept() async throws {
    let far = try tunnelling()
    try await withServer(options: {
      $0.workers = 1
      $0.engine.lookup = CountedNames(table: [:])
    }) {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Upstream("web.test:80", by: .via(.http(far.address.text, resolvesNames: true)))
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        for _ in 0..<3 { #expect(try client.get()?.body == "for web.test:80") }
      }
    }
    #expect(far.connections == 1)
  }

  // MARK: Addresses

  /// Says who connects.
  private func askingWho(_ address: SocketAddress = .ip(.loopbackV4, port: 0)) throws -> TestOrigin {
    try TestOrigin(address) { peer in
      let who = SocketAddress.ask(peer.fd) { getpeername($0, $1, $2) }
      if case .ip(let ip, _)? = who { try peer.send(Array("\(ip)".utf8)) }
    }
  }

  /// One on each family, with one port. Another program may have just that one of IPv4.
  private func askingWhoTwice() throws -> (v6: TestOrigin, v4: TestOrigin) {
    for _ in 0..<20 {
      let v6 = try askingWho(.ip(.loopbackV6, port: 0))
      do {
        return (v6, try askingWho(.ip(.loopbackV4, port: v6.address.port)))
      } catch {
        continue
      }
    }
    let v6 = try askingWho(.ip(.loopbackV6, port: 0))
    return (v6, try askingWho(.ip(.loopbackV4, port: v6.address.port)))
  }

  private func answer(_ direct: Direct, _ port: UInt16, _ names: CountedNames) async throws -> String {
    let answers = Mailbox<String>()
    try await withServer(options: { $0.engine.lookup = names }) {
      Listener(.socks5, on: "127.0.0.1:0") {
      } to: {
        direct
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try SOCKS5Client(proxy)
        #expect(try client.greet(0) == 0)
        let code = try client.request(ClientBytes.connect(name: "both.test", port: port))?.code ?? 255
        answers.put(code == 0 ? String(decoding: try client.peer.receiveToEnd(), as: UTF8.self) : "code \(code)")
      }
    }
    return await answers.next() ?? ""
  }

  @Test func directConnectsFromTheAddressThatItIsTold() async throws {
    let origin = try askingWho()
    let names = CountedNames(table: ["both.test": [.loopbackV4]])
    #expect(try await answer(Direct(from: "127.0.0.5"), origin.address.port, names) == "127.0.0.5")
    // One that is not this machine's.
    #expect(try await answer(Direct(from: "203.0.113.9"), origin.address.port, names) == "code 3")
    // Of the other family: it is not quietly left out.
    #expect(try await answer(Direct(from: "::1"), origin.address.port, names) == "code 3")
  }

  @Test func directTriesThePreferredFamilyFirst() async throws {
    let (v6, v4) = try askingWhoTwice()
    defer { withExtendedLifetime((v6, v4)) {} }
    let names = CountedNames(table: ["both.test": [.loopbackV4, .loopbackV6]])
    let port = v4.address.port
    #expect(try await answer(Direct(prefer: .ipv6), port, names) == "::1")
    #expect(try await answer(Direct(prefer: .ipv4), port, names) == "127.0.0.1")
    #expect(try await answer(Direct(prefer: .ipv6Only), port, names) == "::1")
    #expect(try await answer(Direct(from: "::1"), port, names) == "::1")
    #expect(try await answer(Direct(from: "127.0.0.5", "::1", prefer: .ipv6), port, names) == "::1")
    #expect(try await answer(Direct(), port, names) == "127.0.0.1")
  }

  // MARK: Without a client

  @Test func aTaskWithoutAClientDialsByAWayToo() async throws {
    let far = try ScriptedSOCKS5 { _, _ in ScriptedSOCKS5.succeeded + [7] }
    let engine = try Engine(EngineOptions(loops: 1))
    let way = Way.via(.socks5(far.address.text))
    let outcome = Mailbox<[UInt8]>()
    try await ServerBackground(engine).run(on: 0) { runtime in
      let target = try AddressPolicy.anything.approve(Endpoint("127.0.0.9:7")!, resolved: [IPAddress("127.0.0.9")!])
      let stream = try await runtime.connect(to: target, by: way, timeout: .seconds(20))
      var bytes: [UInt8] = []
      _ = try await runtime.read(from: stream, into: &bytes)
      stream.close()
      outcome.put(bytes)
    }
    #expect(await outcome.next() == [7])
    #expect(await far.requests.next() == [5, 1, 0, 1, 127, 0, 0, 9, 0, 7])
    try await onThread { engine.stop() }
  }
}

extension ScriptedSOCKS5 {
  /// Is every origin itself: answers each request with the name that it was asked for. One request for each connection.
  static func serving() throws -> ScriptedSOCKS5 {
    try ScriptedSOCKS5 { _, request in
      let name = String(decoding: request[5..<(5 + Int(request[4]))], as: UTF8.self)
      return succeeded + Array(response(name).utf8)
    }
  }
}
