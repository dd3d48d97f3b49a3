import Pipeline
import Synchronization
import Testing

@testable import Transports

private final class LineCollector: Sendable {
  private let collected = Mutex<[String]>([])
  func add(_ line: String) { collected.withLock { $0.append(line) } }
  var lines: [String] { collected.withLock { $0 } }
}

@Suite struct ClientLimitTests {
  private func greeter() throws -> TestOrigin {
    try TestOrigin { peer in
      try peer.send([7])
      _ = try peer.receiveToEnd()
    }
  }

  /// Connects and says whether it is served.
  private func connect(_ address: SocketAddress, after header: [UInt8] = []) async throws -> BlockingPeer? {
    try await onThread {
      let peer = try BlockingPeer.connect(address)
      if !header.isEmpty { try peer.send(header) }
      let greeting: [UInt8]
      do { greeting = try peer.receive(upTo: 1) } catch { return nil }
      return greeting == [7] ? peer : nil
    }
  }

  /// Tries until there is room: the end of a connection is seen by the server a little later than by its client.
  private func connectWhenThereIsRoom(_ address: SocketAddress, after header: [UInt8] = []) async throws -> BlockingPeer
  {
    while true {
      if let peer = try await connect(address, after: header) { return peer }
    }
  }

  @Test func oneMoreConnectionOfAClientIsClosedAtOnce() async throws {
    let origin = try greeter()
    let log = LineCollector()
    try await withServer(options: { $0.log = { log.add($1) } }) {
      Listener(.tcp, on: "127.0.0.1:0", name: "door") {
      } to: {
        Upstream("\(origin.address)")
      }.maxConnectionsPerClient(2)
    } body: { server in
      let address = server.address()
      let first = try #require(try await connect(address))
      let second = try #require(try await connect(address))
      for _ in 0..<5 { #expect(try await connect(address) == nil) }
      #expect(
        server.server.refusedConnections() == [RefusedConnections(listener: "door", perClient: 5, proxyProtocol: 0)])
      first.close()
      let third = try await connectWhenThereIsRoom(address)
      withExtendedLifetime((second, third)) {}
      // One line for all of them.
      let lines = log.lines.filter { $0.contains("has 2 connections open, and may have no more") }
      #expect(lines.count == 1)
      #expect(lines.first?.hasPrefix("door: 127.0.0.1:") == true)
    }
  }

  @Test func theRealClientIsCountedBehindABalancer() async throws {
    let origin = try greeter()
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
      } to: {
        Upstream("\(origin.address)")
      }.maxConnectionsPerClient(1).proxyProtocol(from: ["127.0.0.1"])
    } body: { server in
      let address = server.address()
      let one = Array("PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n".utf8)
      let other = Array("PROXY TCP4 192.0.2.2 198.51.100.2 4711 443\r\n".utf8)
      let check = Headers.v2(0x20, 0, [])
      let first = try #require(try await connect(address, after: one))
      #expect(try await connect(address, after: one) == nil)
      let second = try #require(try await connect(address, after: other))
      #expect(try await connect(address, after: other) == nil)
      // Health checks are nobody's.
      let checks = [try await connect(address, after: check), try await connect(address, after: check)]
      #expect(checks.allSatisfy { $0 != nil })
      first.close()
      let again = try await connectWhenThereIsRoom(address, after: one)
      withExtendedLifetime((second, checks, again)) {}
    }
  }

  @Test func onEveryTransportItIsAnEndWithoutAByte() async throws {
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
      } to: {
        Upstream("127.0.0.1:9")
      }.maxConnectionsPerClient(1).handshakeTimeout(.seconds(60))
      Listener(.socks5, on: "127.0.0.1:0") {
      } to: {
        Direct()
      }.maxConnectionsPerClient(1)
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Respond(200, "hello")
      }.maxConnectionsPerClient(1)
    } body: { server in
      for (name, question) in [("socks5", [5, 1, 0]), ("http", Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8))] {
        let address = server.address(name)
        let (first, second) = try await onThread {
          let one = try BlockingPeer.connect(address)
          try one.send(question)
          let first = try one.receive()
          let two = try BlockingPeer.connect(address)
          let second: [UInt8]
          do { second = try two.receive() } catch { second = [] }
          // The one that is open goes on.
          try one.send([0])
          return (first, second)
        }
        #expect(!first.isEmpty, "\(name)")
        #expect(second.isEmpty, "\(name)")
      }
      #expect(server.server.refusedConnections().map(\.perClient) == [0, 1, 1])
    }
  }

  @Test func aUnixClientIsItsUser() async throws {
    let origin = try greeter()
    try await withServer {
      Listener(.tcp, on: "unix:/tmp/sluice-limit-\(UInt64.random(in: 0 ... .max)).sock") {
      } to: {
        Upstream("\(origin.address)")
      }.maxConnectionsPerClient(1)
    } body: { server in
      let first = try #require(try await connect(server.address()))
      #expect(try await connect(server.address()) == nil)
      withExtendedLifetime(first) {}
    }
  }

  @Test func anIPv6NetworkIsOneClient() {
    func key(_ text: String) -> ClientKey { ClientKey(clientAddress(text)) }
    #expect(key("[2001:db8:1:2::1]:5") == key("[2001:db8:1:2:ffff::9]:6"))
    #expect(key("[2001:db8:1:2::1]:5") != key("[2001:db8:1:3::1]:5"))
    #expect(key("192.0.2.1:5") == key("[::ffff:192.0.2.1]:6"))
    #expect(key("192.0.2.1:5") != key("192.0.2.2:5"))
    #expect(key("0.0.3.232:1") != key("unix"))
    #expect(key("0.0.0.1:1") != key("[0:0:0:1::]:1"))
  }

  @Test func itIsExactHoweverManyAskAtOnce() async {
    let limit = ClientLimit(10)
    let clients = (0..<8).map { ClientKey(clientAddress("192.0.2.\($0):1")) }
    let entered = await withTaskGroup { group in
      for task in 0..<16 {
        group.addTask {
          var entered = 0
          for i in 0..<1000 {
            let client = clients[(i + task) % clients.count]
            if limit.enter(client) == .counted { entered += 1 }
          }
          return entered
        }
      }
      return await group.reduce(0, +)
    }
    #expect(entered == 10 * clients.count)
    #expect(limit.clients == clients.count)
    for client in clients {
      #expect(limit.enter(client) == .refused)
      for _ in 0..<10 { limit.leave(client) }
    }
    #expect(limit.clients == 0)
  }

  @Test func aReloadChangesIt() {
    let limit = ClientLimit(nil)
    let client = ClientKey(clientAddress("192.0.2.1:1"))
    #expect(limit.enter(client) == .notCounted)
    limit.change(to: 1)
    #expect(limit.enter(client) == .counted)
    #expect(limit.enter(client) == .refused)
    limit.change(to: nil)
    #expect(limit.enter(client) == .notCounted)
    limit.leave(client)
    #expect(limit.clients == 0)
  }

  @Test func theLogIsToldOnceInAWhileAndCountsTheRest() {
    let refusals = Refusals()
    let begin = Instant(nanoseconds: 1_000)
    var lines: [String] = []
    for i in 0..<100 { refusals.note(at: begin + .milliseconds(i)) { lines.append($0) } }
    #expect(lines == [""])
    refusals.note(at: begin + Refusals.quietTime) { lines.append($0) }
    #expect(lines == ["", "; 99 more since the last line"])
    refusals.note(at: begin + Refusals.quietTime * 3) { lines.append($0) }
    #expect(lines.last == "")
    #expect(refusals.count == 102)
  }

  @Test(arguments: [0, -1]) func aLimitBelowOneDoesNotStart(limit: Int) {
    #expect(throws: ConfigurationError.self) {
      try Server(
        Listener(.tcp, on: "127.0.0.1:0") {
        } to: {
          Upstream("127.0.0.1:9")
        }.maxConnectionsPerClient(limit))
    }
  }
}
