import Pipeline
import PipelineTesting
import Synchronization
import Testing

@testable import RedisStores

/// Connections without a network: time is moved by hand, and what the server says is written here.
@Suite(.timeLimit(.minutes(1))) struct RedisLinkTests {
  /// What arrived, piece by piece.
  private final class Pieces: Sendable {
    private let state = Mutex<[String]>([])
    func add(_ piece: [UInt8]) { state.withLock { $0.append(String(decoding: piece, as: UTF8.self)) } }
    var all: [String] { state.withLock { $0 } }
  }

  private static let hello = "%1\r\n$5\r\nproto\r\n:3\r\n"

  /// Answers HELLO, and PING; anything else by `answer`.
  private static func server(
    _ pieces: Pieces = Pieces(), _ answer: @escaping @Sendable (String) -> String = { _ in "" }
  )
    -> MemoryPeer
  {
    .answers { bytes in
      pieces.add(bytes)
      let text = String(decoding: bytes, as: UTF8.self)
      if text.contains("HELLO") { return Array(Self.hello.utf8) }
      if text == "*1\r\n$4\r\nPING\r\n" { return Array("+PONG\r\n".utf8) }
      return Array(answer(text).utf8)
    }
  }

  private func withClient(
    _ options: RedisOptions = RedisOptions(), _ dials: MockNetwork.Dial, url: String = "redis://127.0.0.1:1",
    _ body: (RedisClient, ManualServices) async throws -> Void
  ) async throws {
    let network = MockNetwork()
    network.usually(dials)
    let services = ManualServices(network: network)
    let client = try RedisClient(url, options: options)
    let running = Task { try await client.run(services) }
    try await client.whenRunning()
    try await body(client, services)
    running.cancel()
    _ = await running.result
  }

  @Test func aServerThatKnowsNoHELLOIsSpokenToInRESP2() async throws {
    let peer = MemoryPeer.answers { bytes in
      let text = String(decoding: bytes, as: UTF8.self)
      if text.contains("HELLO") { return Array("-ERR unknown command `HELLO`\r\n".utf8) }
      if text.contains("AUTH") {
        return Array((text.contains("s3cret") ? "+OK\r\n" : "-ERR invalid password\r\n").utf8)
      }
      if text.contains("SELECT") { return Array("+OK\r\n".utf8) }
      return Array((text.contains("GET") ? "$-1\r\n" : "+PONG\r\n").utf8)
    }
    try await withClient(.init(), .connects(to: peer), url: "redis://:s3cret@127.0.0.1:1/2") { client, _ in
      let reply1 = try await client.send(RedisCommand("GET", .key("a")))
      #expect(reply1 == .null)
    }
  }

  @Test func commandsThatComeTogetherGoOutWithOneWrite() async throws {
    let pieces = Pieces()
    let peer = Self.server(pieces) { _ in ":1\r\n:2\r\n:3\r\n" }
    try await withClient(.init(), .connects(to: peer)) { client, _ in
      let commands = (0..<3).map { RedisCommand("ECHO", .integer($0)) }
      #expect(pieces.all.count == 2, "HELLO and PING")
      let bytes = commands.flatMap(\.bytes)
      let link = RedisNode(client.url.nodes[0], Handshake(client.url), client.options) { _ in }.link(0)
      for command in commands { try link.submit(command.bytes, nil) }
      let network = MockNetwork()
      network.usually(.connects(to: peer))
      let services = ManualServices(network: network)
      let running = Task { try await services.run(on: 0) { try await link.run(on: $0) } }
      while pieces.all.count < 4 { await Task.yield() }
      #expect(pieces.all.last == String(decoding: bytes, as: UTF8.self))
      running.cancel()
      _ = await running.result
    }
  }

  @Test func aCommandWithoutAnAnswerEndsAtItsTimeAndTakesTheConnectionWithIt() async throws {
    try await withClient(.init(), .connects(to: Self.server())) { client, services in
      let silent = Task { try await client.send(RedisCommand("ECHO", "a")) }
      await services.clock.sleepers(1)
      services.clock.advance(by: .milliseconds(499))
      #expect(services.network.dials.count == 1)
      services.clock.advance(by: .milliseconds(1))
      await #expect(throws: RedisError.timeout(.milliseconds(500))) { try await silent.value }
      let reply2 = try await client.send(RedisCommand("PING"))
      #expect(reply2 == .status("PONG"))
      #expect(services.network.dials.count == 2)
    }
  }

  @Test func whatIsNoRESPEndsTheConnection() async throws {
    try await withClient(.init(), .connects(to: Self.server { _ in "HTTP/1.1 400 Bad Request\r\n" })) { client, _ in
      await #expect(throws: RedisError.malformed(.unknownType(72))) { try await client.send(RedisCommand("ECHO", "a")) }
      #expect(client.losses == 1)
    }
  }

  @Test func anAnswerThatNobodyAskedForEndsTheConnection() async throws {
    try await withClient(.init(), .connects(to: Self.server { _ in ":1\r\n:2\r\n" })) { client, _ in
      let reply3 = try await client.send(RedisCommand("ECHO", "a")).integer
      #expect(reply3 == 1)
      let reply4 = try await client.send(RedisCommand("PING"))
      #expect(reply4 == .status("PONG"))
      #expect(client.losses == 1)
    }
  }

  @Test func pushesAreDropped() async throws {
    let peer = Self.server { _ in ">2\r\n+invalidate\r\n*0\r\n:7\r\n" }
    try await withClient(.init(), .connects(to: peer)) { client, _ in
      let reply5 = try await client.send(RedisCommand("ECHO", "a")).integer
      #expect(reply5 == 7)
      #expect(client.losses == 0)
    }
  }

  @Test func attemptsAreMadeAfterGrowingPausesAndOneLineIsWritten() async throws {
    let options = RedisOptions(firstPause: .milliseconds(100), longestPause: .milliseconds(400))
    try await withClient(options, .fails(.connectionRefused)) { client, services in
      for (attempts, whole) in zip(1..., [100, 200, 400, 400]) {
        await services.clock.sleepers(1)
        #expect(services.network.dials.count == attempts)
        // Half of the pause is random.
        let pause = (services.clock.nextWake ?? .distantFuture) - services.clock.now
        #expect((.milliseconds(whole / 2) ... .milliseconds(whole)).contains(pause), "of \(whole) ms at most")
        services.clock.advance(by: pause)
        while services.network.dials.count == attempts { await Task.yield() }
      }
      #expect(services.network.dials.count == 5)
      await #expect(throws: RedisError.unreachable(node: "127.0.0.1:1", "connectionRefused")) {
        try await client.send(RedisCommand("PING"))
      }
      #expect(services.log.text == ["redis 127.0.0.1:1: no connection to 127.0.0.1:1: connectionRefused; trying again"])
      services.network.usually(.connects(to: Self.server()))
      await services.clock.sleepers(1)
      services.clock.advance(by: .milliseconds(400))
      while services.log.text.count < 2 { await Task.yield() }
      #expect(services.log.text.last == "redis 127.0.0.1:1: connected again")
      let reply6 = try await client.send(RedisCommand("PING"))
      #expect(reply6 == .status("PONG"))
    }
  }
}
