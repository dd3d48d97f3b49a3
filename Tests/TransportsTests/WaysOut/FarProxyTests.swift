import Middlewares
import Pipeline
import Testing

@testable import Transports

/// Through proxies of somebody else, over real sockets. Where the far proxy is another server of ours, it is as strict as we are.
@Suite struct FarProxyTests {
  /// A far proxy for SOCKS5 and one for HTTP, both with a login.
  @ProxyBuilder private func farProxies() -> some Proxy {
    Listener(.socks5, on: "127.0.0.1:0", name: "socks") {
      OneUser()
    } to: {
      Direct()
    }
    Listener(.http, on: "127.0.0.1:0", name: "http") {
      OneUser()
    } to: {
      Direct()
    }
  }

  /// Runs `body` with a SOCKS5 server that goes `via`.
  private func withClientSide(
    _ via: Via, names: CountedNames = CountedNames(table: [:]), connectTimeout: Duration = .seconds(20),
    rejections: Rejections = Rejections(), body: @escaping @Sendable (SocketAddress) throws -> Void
  ) async throws {
    try await withServer(options: {
      $0.workers = 1
      $0.engine.lookup = names
    }) {
      Listener(.socks5, on: "127.0.0.1:0") {
        rejections
      } to: {
        via
      }.connectTimeout(connectTimeout)
    } body: { server in
      let address = server.address()
      try await onThread { try body(address) }
    }
  }

  private static func socks(_ address: SocketAddress) -> FarProxy {
    .socks5(address.text, user: "fierceRabbit", password: "secretThicket")
  }

  private static func http(_ address: SocketAddress) -> FarProxy {
    .http(address.text, user: "fierceRabbit", password: "secretThicket")
  }

  // MARK: Ways that lead there

  @Test func eachKindAndEveryChainOfThemReachesTheOrigin() async throws {
    let origin = try TestOrigin.echo()
    try await withServer(app: farProxies) { far in
      let (socks, http) = (Self.socks(far.address("socks")), Self.http(far.address("http")))
      for proxies in [[socks], [http], [socks, http], [http, socks], [socks, http, socks]] {
        try await withClientSide(Via(proxies)) { proxy in
          let (client, reply) = try SOCKS5Client.connect(through: proxy, to: origin.address)
          #expect(reply?.code == 0, "\(proxies)")
          let message = noise(100_000, seed: UInt64(proxies.count))
          #expect(try client.peer.exchange(message) == message)
        }
      }
    }
  }

  @Test func whatTheOriginSaysFirstIsNotLost() async throws {
    // It comes in one piece with the proxy's last word.
    let banner = Array("SSH-2.0-first\r\n".utf8)
    let socks = try ScriptedSOCKS5 { _, _ in ScriptedSOCKS5.succeeded + banner }
    let http = try ScriptedBackend { session in
      guard try session.readHead() != nil else { return }
      try session.peer.send("HTTP/1.1 200 OK\r\n\r\nSSH-2.0-first\r\n")
      _ = try session.peer.readToEnd()
    }
    for proxy in [FarProxy.socks5(socks.address.text), .http(http.address.text)] {
      try await withClientSide(Via(proxy)) { address in
        let (client, reply) = try SOCKS5Client.connect(through: address, to: .ip(.loopbackV4, port: 22))
        #expect(reply?.code == 0)
        #expect(try client.peer.receive(exactly: banner.count) == banner)
      }
    }
  }

  // MARK: Names

  @Test func aNameIsResolvedHereUnlessItIsSaid() async throws {
    let far = try ScriptedSOCKS5 { _, _ in ScriptedSOCKS5.succeeded }
    let names = CountedNames(table: ["db.test": [IPAddress("127.0.0.7")!]])
    try await withClientSide(Via(.socks5(far.address.text)), names: names) { proxy in
      let client = try SOCKS5Client(proxy)
      #expect(try client.greet(0) == 0)
      #expect(try client.request(ClientBytes.connect(name: "db.test", port: 5))?.code == 0)
      #expect(try client.greetAndAsk(proxy, "nowhere.test") == 4)
    }
    #expect(await far.requests.next() == [5, 1, 0, 1, 127, 0, 0, 7, 0, 5])
    #expect(names.asked.value == 2)
  }

  @Test func aNameGoesToTheFarProxyWhereItIsSaid() async throws {
    let far = try ScriptedSOCKS5 { _, _ in ScriptedSOCKS5.succeeded }
    let names = CountedNames(table: [:])
    try await withClientSide(Via(.socks5(far.address.text, resolvesNames: true)), names: names) { proxy in
      let client = try SOCKS5Client(proxy)
      #expect(try client.greet(0) == 0)
      #expect(try client.request(ClientBytes.connect(name: "DB.test", port: 5))?.code == 0)
      // A number in disguise is none of its names.
      #expect(try client.greetAndAsk(proxy, "127.1") == 2)
    }
    #expect(await far.requests.next() == [5, 1, 0, 3, 7] + Array("db.test".utf8) + [0, 5])
    #expect(names.asked.value == 0)
  }

  @Test func rulesDecideOverNamesThatAreLeftToTheFarProxy() async throws {
    let far = try ScriptedSOCKS5 { _, _ in ScriptedSOCKS5.succeeded }
    try await withServer(options: { $0.engine.lookup = CountedNames(table: [:]) }) {
      Listener(.socks5, on: "127.0.0.1:0", name: "via") {
        DestinationRules(.deny(host: "*.bad.test")).leavingNamesToFarProxy()
      } to: {
        Via(.socks5(far.address.text, resolvesNames: true))
      }
      Listener(.socks5, on: "127.0.0.1:0", name: "direct") {
        DestinationRules().leavingNamesToFarProxy()
      } to: {
        Direct()
      }
    } body: { server in
      let (via, direct) = (server.address("via"), server.address("direct"))
      try await onThread {
        let client = try SOCKS5Client(via)
        #expect(try client.greetAndAsk(via, "good.test") == 0)
        #expect(try client.greetAndAsk(via, "x.bad.test") == 2)
        // Nobody resolves it: our own mistake.
        #expect(try client.greetAndAsk(direct, "good.test") == 1)
      }
    }
  }

  @Test func theNextAddressIsAskedForWhenTheFirstIsRefused() async throws {
    let far = try ScriptedSOCKS5 { number, _ in number == 1 ? [5, 4, 0, 1] : ScriptedSOCKS5.succeeded }
    let two = [IPAddress("127.0.0.7")!, IPAddress("::1")!]
    let names = CountedNames(table: ["db.test": two])
    try await withClientSide(Via(.socks5(far.address.text), prefer: .ipv6), names: names) { proxy in
      let code = try SOCKS5Client(proxy).greetAndAsk(proxy, "db.test")
      #expect(code == 0)
    }
    #expect(await far.requests.next()?[3] == 4)
    #expect(await far.requests.next()?[3] == 1)
  }

  // MARK: What goes wrong

  @Test func whatTheFarProxyAnswersReachesTheClient() async throws {
    for (sent, told) in [(1, 4), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 1), (8, 3), (99, 1)] as [(UInt8, UInt8)] {
      let far = try ScriptedSOCKS5 { _, _ in [5, sent, 0, 1, 0, 0, 0, 0, 0, 0] }
      try await withClientSide(Via(.socks5(far.address.text))) { proxy in
        let code = try SOCKS5Client.code(through: proxy)
        #expect(code == told)
      }
    }
  }

  @Test func aProxyThatCannotBeReachedByTheOneBeforeIsNoDecisionAboutTheDestination() async throws {
    let far = try ScriptedSOCKS5 { _, _ in [5, 2, 0, 1, 0, 0, 0, 0, 0, 0] }
    let rejections = Rejections()
    let via = Via(.socks5(far.address.text), .http("127.0.0.9:3128"))
    try await withClientSide(via, rejections: rejections) { proxy in
      let code = try SOCKS5Client.code(through: proxy)
      #expect(code == 4)
    }
    let rejection = try #require(await rejections.seen.next())
    #expect(rejection.kind == .hostUnreachable)
    #expect(rejection.retry == .pointless)
    #expect(
      rejection.detail == "socks5 \(far.address) for 127.0.0.9:3128: its rules do not allow it (REP 2)")
  }

  @Test func aWrongPasswordIsOurFaultAndIsNotInTheLog() async throws {
    try await withServer(app: farProxies) { far in
      let address = far.address("socks")
      let rejections = Rejections()
      let via = Via(.socks5(address.text, user: "fierceRabbit", password: "anotherThicket"))
      try await withClientSide(via, rejections: rejections) { proxy in
        let code = try SOCKS5Client.code(through: proxy)
        #expect(code == 1)
      }
      let rejection = try #require(await rejections.seen.next())
      #expect(rejection.kind == .upstreamProtocol)
      #expect(rejection.source == .proxy)
      #expect(rejection.retry == .pointless)
      #expect(
        rejection.detail
          == "socks5 \(address) for 127.0.0.1:9: it refused the user name or the password (status 1)")
    }
  }

  @Test func aFarProxyThatIsNotThereIsSaidByName() async throws {
    let free = try BlockingOrigin().address
    let rejections = Rejections()
    try await withClientSide(Via(.http(free.text)), rejections: rejections) { proxy in
      let code = try SOCKS5Client.code(through: proxy)
      #expect(code == 5)
    }
    let rejection = try #require(await rejections.seen.next())
    #expect(rejection.detail == "http \(free): \(free)")
    #expect(rejection.retry == .safe)
  }

  @Test(arguments: [[], [5], [5, 0], [5, 0, 5, 0, 0]] as [[UInt8]])
  func aFarProxyThatFallsSilentIsGivenUp(said: [UInt8]) async throws {
    let far = try TestOrigin { peer in
      try peer.send(said)
      _ = try peer.receiveToEnd()
    }
    let rejections = Rejections()
    let via = Via(.socks5(far.address.text))
    try await withClientSide(via, connectTimeout: .milliseconds(300), rejections: rejections) { proxy in
      let code = try SOCKS5Client.code(through: proxy)
      #expect(code == 6)
    }
    let rejection = try #require(await rejections.seen.next())
    #expect(rejection.kind == .connectTimeout)
    #expect(rejection.detail == "via socks5 \(far.address), within 0.3 seconds")
  }

  @Test(arguments: [true, false])
  func aFarProxyThatBreaksOffHasSeenNothingOfTheExchange(resets: Bool) async throws {
    let far = try TestOrigin { peer in
      _ = try peer.receive(exactly: 3)
      try peer.send([5, 0])
      _ = try peer.receive(exactly: 10)
      if resets { peer.reset() }
    }
    let rejections = Rejections()
    try await withClientSide(Via(.socks5(far.address.text)), rejections: rejections) { proxy in
      let code = try SOCKS5Client.code(through: proxy)
      #expect(code == 1)
    }
    let rejection = try #require(await rejections.seen.next())
    #expect(rejection.kind == .upstreamReset)
    #expect(rejection.retry == .safe)
  }

  @Test func aWayThatCannotBeUsedKeepsTheAppFromStarting() throws {
    func problems(@ProxyBuilder _ app: () -> some Proxy) -> String {
      do {
        _ = try Server(app(), options: ServerOptions())
        return "it starts"
      } catch {
        return "\(error)"
      }
    }
    let none: [FarProxy] = []
    #expect(
      problems {
        Listener(.socks5, on: "127.0.0.1:0", name: "s") {
        } to: {
          Via(none)
        }
      }.contains(
        "it has no proxy: name one or more, or write Direct()"))
    #expect(
      problems {
        Listener(.tcp, on: "127.0.0.1:0", name: "s") {
        } to: {
          Via(.http("a:1"))
        }
      }.contains(
        "a TCP client names no destination: write Upstream(\"host:port\") instead of Via(...)"))
    #expect(
      problems {
        Listener(.socks5, on: "127.0.0.1:0", name: "s") {
        } to: {
          Direct(from: "eth0")
        }
      }.contains(
        #"from "eth0": no IP address; write an address of this machine: 10.0.0.2, 2001:db8::2"#))
    #expect(
      problems {
        Listener(.tcp, on: "127.0.0.1:0", name: "s") {
        } to: {
          Upstream("unix:/run/db.sock", by: .via(.socks5("a:1")))
        }
      }.contains("unix:/run/db.sock via socks5 a:1: a far proxy cannot be asked for a Unix socket of this machine"))
  }
}

extension SOCKS5Client {
  /// The code that a new connection gets for an address.
  static func code(through proxy: SocketAddress) throws -> UInt8? {
    let (_, reply) = try SOCKS5Client.connect(through: proxy, to: .ip(.loopbackV4, port: 9))
    return reply?.code
  }

  /// The code that a new connection gets for a name.
  func greetAndAsk(_ proxy: SocketAddress, _ name: String) throws -> UInt8? {
    let client = try SOCKS5Client(proxy)
    guard try client.greet(0) == 0 else { return nil }
    return try client.request(ClientBytes.connect(name: name, port: 5))?.code
  }
}
