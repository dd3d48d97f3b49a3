import Glibc
import Pipeline
import Testing

@testable import Transports

/// Notes whom an exchange is served for.
struct ClientWitness: Middleware {
  let seen: Mailbox<String>

  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    seen.put("\(exchange.client)")
    return try await next()
  }
}

extension Mailbox<LogLine> {
  /// The next line that says this.
  func line(with text: String) async throws -> LogLine {
    while true {
      let line = try #require(await next())
      if line.text.contains(text) { return line }
    }
  }
}

@Suite struct ProxyProtocolServerTests {
  static let line = Array("PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n".utf8)
  static let binary = Headers.v2(0x21, Headers.v6)
  private static let hello = Array("hello".utf8)

  /// Sends the pieces, and then "hello" through the echo behind the proxy, which sends this back.
  private func echo(_ address: SocketAddress, after pieces: [[UInt8]], is expected: [UInt8]) async throws {
    let answer = try await onThread {
      let peer = try BlockingPeer.connect(address)
      for piece in pieces { try peer.send(piece) }
      return try peer.exchange(Self.hello)
    }
    #expect(answer == expected)
  }

  /// A client that is refused sees the end, or a reset.
  private func expectClosed(_ address: SocketAddress, after bytes: [UInt8]) async throws {
    let answer: [UInt8] = try await onThread {
      let peer = try BlockingPeer.connect(address)
      try peer.send(bytes)
      do { return try peer.receive() } catch { return [] }
    }
    #expect(answer.isEmpty)
  }

  @Test func theClientIsWhomTheHeaderNames() async throws {
    let origin = try TestOrigin.echo()
    let seen = Mailbox<String>()
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
        ClientWitness(seen: seen)
      } to: {
        Upstream("\(origin.address)")
      }.proxyProtocol(from: ["127.0.0.0/8"])
    } body: { server in
      try await echo(server.address(), after: [Self.line], is: Self.hello)
      try await echo(server.address(), after: [Self.binary], is: Self.hello)
      #expect(await seen.next() == "192.0.2.1:4711")
      #expect(await seen.next() == "[2001:db8::1]:4711")
    }
  }

  @Test func aHeaderMayComeInAnyPieces() async throws {
    let origin = try TestOrigin.echo()
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
      } to: {
        Upstream("\(origin.address)")
      }.proxyProtocol(from: ["127.0.0.1"])
    } body: { server in
      for header in [Self.line, Self.binary] {
        try await echo(server.address(), after: header.map { [$0] }, is: Self.hello)
        for cut in stride(from: 1, to: header.count, by: 9) {
          let pieces = [Array(header[..<cut]), Array(header[cut...]) + Self.hello]
          try await echo(server.address(), after: pieces, is: Self.hello + Self.hello)
        }
      }
    }
  }

  @Test func aSOCKS5ClientIsKnownToo() async throws {
    let origin = try TestOrigin.echo()
    let seen = Mailbox<String>()
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        ClientWitness(seen: seen)
      } to: {
        Direct()
      }.proxyProtocol(from: ["127.0.0.1"])
    } body: { server in
      let address = server.address()
      guard case .ip(_, let port) = origin.address else { return }
      let answer = try await onThread {
        let peer = try BlockingPeer.connect(address)
        // Everything at once: the handshake is what was read ahead.
        try peer.send(Self.line + ClientBytes.greeting(0) + ClientBytes.connect(v4: [127, 0, 0, 1], port: port))
        return try peer.exchange(Self.hello)
      }
      #expect(answer.prefix(4) == [5, 0, 5, 0])
      #expect(answer.suffix(5) == Self.hello[...])
      #expect(await seen.next() == "192.0.2.1:4711")
    }
  }

  @Test func healthChecksAreServedAsThePeer() async throws {
    let origin = try TestOrigin.echo()
    let seen = Mailbox<String>()
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
        ClientWitness(seen: seen)
      } to: {
        Upstream("\(origin.address)")
      }.proxyProtocol(from: ["127.0.0.1"])
    } body: { server in
      for header in [Headers.v2(0x20, 0, []), Array("PROXY UNKNOWN\r\n".utf8)] {
        try await echo(server.address(), after: [header], is: Self.hello)
        #expect(await seen.next()?.hasPrefix("127.0.0.1:") == true)
      }
    }
  }

  @Test(arguments: [
    Array("GET / HTTP/1.1\r\n\r\n".utf8), [5, 1, 0], Array("PROXY TCP4 1.2.3.4\r\n".utf8), Headers.withChecksum(xor: 1),
  ])
  func withoutAHeaderAListedPeerIsClosed(bytes: [UInt8]) async throws {
    let seen = Mailbox<String>()
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0", name: "door") {
        ClientWitness(seen: seen)
      } to: {
        Upstream("127.0.0.1:9")
      }.proxyProtocol(from: ["127.0.0.1"])
    } body: { server in
      try await expectClosed(server.address(), after: bytes)
      let line = try await server.log.line(with: "PROXY protocol")
      #expect(line.text.hasPrefix("door: 127.0.0.1:"))
      #expect(line.level == .notice)
      #expect(server.server.refusedConnections().map(\.proxyProtocol) == [1])
      seen.put("nobody")
      let first = await seen.next()
      #expect(first == "nobody")
    }
  }

  @Test func aHeaderThatDoesNotComeIsNotAwaitedForEver() async throws {
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
      } to: {
        Upstream("127.0.0.1:9")
      }.proxyProtocol(from: ["127.0.0.1"]).handshakeTimeout(.milliseconds(50))
    } body: { server in
      try await expectClosed(server.address(), after: Array("PROXY TCP4 192".utf8))
      let line = try await server.log.line(with: "PROXY protocol")
      #expect(line.text.contains("no complete header after 0.05 seconds, but 14 bytes"))
    }
  }

  @Test func othersAreClosedAtOnce() async throws {
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
      } to: {
        Upstream("127.0.0.1:9")
      }.proxyProtocol(from: ["192.0.2.0/24"])
    } body: { server in
      let address = server.address()
      let end = try await onThread {
        let peer = try BlockingPeer.connect(address)
        return try peer.receive()
      }
      #expect(end.isEmpty)
      let line = try await server.log.line(with: "is no listed peer of the PROXY protocol")
      #expect(line.text.hasPrefix("tcp: 127.0.0.1:"))
    }
  }

  @Test func othersAreServedPlainWhereThatIsAllowed() async throws {
    let origin = try TestOrigin.echo()
    let seen = Mailbox<String>()
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
        ClientWitness(seen: seen)
      } to: {
        Upstream("\(origin.address)")
      }.proxyProtocol(from: ["192.0.2.0/24"], others: .plain)
    } body: { server in
      try await echo(server.address(), after: [], is: Self.hello)
      try await echo(server.address(), after: [Array("PROXi TCP4".utf8)], is: Array("PROXi TCP4hello".utf8))
      #expect(await seen.next()?.hasPrefix("127.0.0.1:") == true)
    }
  }

  @Test func othersCannotAnnounceAClient() async throws {
    let received = Mailbox<[UInt8]>()
    let origin = try TestOrigin { peer in
      var all: [UInt8] = []
      do {
        while case let bytes = try peer.receive(), !bytes.isEmpty { all += bytes }
      } catch {
        // The reset is what is expected.
      }
      received.put(all)
    }
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
      } to: {
        Upstream("\(origin.address)")
      }.proxyProtocol(from: ["192.0.2.0/24"], others: .plain)
    } body: { server in
      let address = server.address()
      for header in [Self.line, Self.binary] {
        try await expectClosed(address, after: header)
        #expect(await received.next() == [])
        // In pieces, what comes before the signature is complete may pass, and nothing else.
        _ = try await onThread {
          let peer = try BlockingPeer.connect(address)
          for byte in header {
            do { try peer.send([byte]) } catch { break }
          }
          do { return try peer.receive() } catch { return [] }
        }
        let passed = try #require(await received.next())
        #expect(header.starts(with: passed))
        #expect(passed.count < (header == Self.line ? 6 : 12))
      }
    }
  }

  @Test(arguments: [ProxyProtocolVersion.v1, .v2])
  func anUpstreamIsToldOfTheClient(version: ProxyProtocolVersion) async throws {
    let origin = try TestOrigin.echo()
    let seen = Mailbox<String>()
    // Two of ours, one behind the other; the inner one must believe what the outer one says of a client that it was told of.
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0", name: "inner") {
        ClientWitness(seen: seen)
      } to: {
        Upstream("\(origin.address)")
      }.proxyProtocol(from: ["127.0.0.1"])
    } body: { inner in
      let innerAddress = inner.address()
      try await withServer {
        Listener(.tcp, on: "127.0.0.1:0", name: "outer") {
        } to: {
          Upstream("\(innerAddress)", proxyProtocol: version)
        }.proxyProtocol(from: ["127.0.0.1"])
      } body: { outer in
        try await echo(outer.address(), after: [Self.binary], is: Self.hello)
        #expect(await seen.next() == "[2001:db8::1]:4711")
      }
    }
  }

  @Test func theUpstreamReadsTheClientsAddressAndTheAnnouncedDestination() async throws {
    let received = Mailbox<[UInt8]>()
    let origin = try TestOrigin { peer in received.put(try peer.receiveToEnd()) }
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0", name: "plain") {
      } to: {
        Upstream("\(origin.address)", proxyProtocol: .v1)
      }
      Listener(.tcp, on: "127.0.0.1:0", name: "announced") {
      } to: {
        Upstream("\(origin.address)", proxyProtocol: .v1)
      }.proxyProtocol(from: ["127.0.0.1"])
    } body: { server in
      let plain = server.address("plain")
      let port = try await onThread {
        let peer = try BlockingPeer.connect(plain)
        _ = try peer.exchange(Self.hello)
        guard case .ip(_, let port)? = SocketAddress.ask(peer.fd, { getsockname($0, $1, $2) }) else { return UInt16(0) }
        return port
      }
      guard case .ip(_, let listenPort) = plain else { return }
      let text = String(decoding: try #require(await received.next()), as: UTF8.self)
      #expect(text == "PROXY TCP4 127.0.0.1 127.0.0.1 \(port) \(listenPort)\r\nhello")
      try await echo(server.address("announced"), after: [Self.line], is: [])
      #expect(await received.next() == Self.line + Self.hello)
    }
  }

  @Test func aSOCKS5TunnelTellsItsUpstream() async throws {
    let received = Mailbox<[UInt8]>()
    let origin = try TestOrigin { peer in received.put(try peer.receiveToEnd()) }
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
      } to: {
        Upstream("\(origin.address)", proxyProtocol: .v2)
      }
    } body: { server in
      let address = server.address()
      _ = try await onThread {
        let peer = try BlockingPeer.connect(address)
        try peer.send(ClientBytes.greeting(0) + ClientBytes.connect(name: "example.com", port: 1))
        return try peer.exchange(Self.hello)
      }
      let bytes = try #require(await received.next())
      #expect(bytes.starts(with: ProxyProtocolHeader.v2Signature))
      #expect(bytes.count == 28 + 5)
    }
  }

  @Test func anHTTPClientIsKnownToo() async throws {
    let backend = try ScriptedBackend.answering(response("hello"))
    try await withReverseProxy(to: backend) {
      $0.proxyProtocol = ProxyProtocolPeers(["127.0.0.1"])
    } body: { proxy in
      let client = try HTTPPeer.connect(proxy)
      // The header and two requests in one piece.
      let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
      try client.send(String(decoding: Self.line, as: UTF8.self) + get + get)
      #expect(try client.readResponse()?.body == "hello")
      #expect(try client.readResponse()?.body == "hello")
    }
    #expect(backend.requests.map { $0.head["x-forwarded-for"] } == [["192.0.2.1"], ["192.0.2.1"]])
  }

  @Test func twoHTTPClientsNeverTravelUnderOneHeader() async throws {
    let headers = Mailbox<String>()
    let backend = try ScriptedBackend { session in
      headers.put(try session.peer.read(through: "\r\n") ?? "")
      while try session.readHead() != nil { try session.peer.send(response("hello")) }
    }
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Upstream(backend.address.text, proxyProtocol: .v1)
      }.options { $0.http.trustedProxies = ["127.0.0.1"] }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        for number in 1...3 {
          #expect(try client.get("/", "X-Forwarded-For: 192.0.2.\(number)\r\n")?.body == "hello")
        }
      }
      guard case .ip(_, let port) = address else { return }
      for number in 1...3 {
        // The client that the trusted proxy in front named; its port is not known.
        let header = await headers.next()
        #expect(header == "PROXY TCP4 192.0.2.\(number) 127.0.0.1 0 \(port)\r\n")
      }
    }
  }

  /// A destination of one's own: a forward proxy whose tunnels lead to places that want to know who comes.
  private struct Introduced: Destination {
    let link: UpstreamLink
    let destination: ApprovedDestination

    init(_ version: ProxyProtocolVersion, to address: SocketAddress) {
      link = UpstreamLink(proxyProtocol: version, isChosenByClient: true)
      guard case .ip(let ip, let port) = address else { preconditionFailure("\(address) is no IP address") }
      destination = try! AddressPolicy.anything.approve(Endpoint(.ip(ip), port: port), resolved: [ip])
    }

    func serve(_ exchange: Exchange) async throws -> Summary {
      // Read it, so that CONNECT's own place is known.
      _ = try await exchange.destination()
      return try await exchange.forward(to: destination, over: link)
    }
  }

  @Test(arguments: [ProxyProtocolVersion.v1, .v2]) func aTunnelOfACONNECTBeginsWithTheHeader(
    version: ProxyProtocolVersion
  ) async throws {
    let received = Mailbox<[UInt8]>()
    let origin = try TestOrigin { peer in
      // The header comes before the client knows that the way is open.
      received.put(try peer.receive(exactly: version == .v1 ? Self.line.count : 28))
      while case let bytes = try peer.receive(), !bytes.isEmpty { try peer.send(bytes) }
    }
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Introduced(version, to: origin.address)
      }.proxyProtocol(from: ["127.0.0.1"])
    } body: { server in
      let address = server.address()
      let place = "\(origin.address)"
      try await onThread {
        let client = try HTTPPeer.connect(address)
        // Everything in one piece: what stands behind the CONNECT belongs into the tunnel, behind the header.
        try client.send(
          String(decoding: Self.line, as: UTF8.self) + "CONNECT \(place) HTTP/1.1\r\nHost: \(place)\r\n\r\nhello")
        #expect(try client.readResponse(to: "CONNECT")?.status == 200)
        #expect(try client.read(5) == "hello")
        try client.send("again")
        #expect(try client.read(5) == "again")
      }
      let header = try #require(await received.next())
      switch version {
      case .v1: #expect(header == Self.line)
      case .v2:
        #expect(header.starts(with: ProxyProtocolHeader.v2Signature))
        // The client's address and port, as the balancer in front named them.
        #expect(header[16..<20] == [192, 0, 2, 1] && header[24..<26] == [0x12, 0x67])
      }
    }
  }

  @Test func anAppThatListsNobodyDoesNotStart() {
    #expect(throws: ConfigurationError.self) {
      try Server(
        Listener(.tcp, on: "127.0.0.1:0") {
        } to: {
          Upstream("127.0.0.1:9")
        }.proxyProtocol(from: []))
    }
  }
}
