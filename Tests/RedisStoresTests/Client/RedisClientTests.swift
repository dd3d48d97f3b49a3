import Glibc
import Pipeline
import PipelineTesting
import RealPrograms
import Synchronization
import Testing

@testable import RedisStores

/// The client over sockets, with a real server.
@Suite(.serialized, .timeLimit(.minutes(2))) struct RedisClientTests {
  @Test func commandsAndPipelinesAreAnswered() async throws {
    let server = try RedisServer()
    try await withWorld { world in
      let client = try RedisClient(server.url + "/3")
      world.run { try await client.run($0) }
      try await client.whenRunning()
      #expect(try await client.send(RedisCommand("SET", .key("a"), "1")) == .status("OK"))
      #expect(try await client.send(RedisCommand("INCR", .key("a"))).integer == 2)
      let bytes = [UInt8](0...255) + Array("\r\n$5\r\n".utf8)
      #expect(try await client.send(RedisCommand("SET", .key("b"), .bytes(bytes))) == .status("OK"))
      #expect(try await client.send(RedisCommand("GET", .key("b"))).bytes == bytes)
      #expect(try await client.send(RedisCommand("GET", .key("none"))) == .null)
      let replies = try await client.send((0..<1000).map { RedisCommand("ECHO", .integer($0)) })
      #expect(replies.map(\.integer) == (0..<1000).map { Int64($0) })
      let mixed = try await client.send([RedisCommand("LPUSH", .key("b"), "x"), RedisCommand("PING")])
      #expect(mixed[0].kind == "the error WRONGTYPE")
      #expect(mixed[1] == .status("PONG"))
      await #expect(throws: RedisError.self) { try await client.send(RedisCommand("NOSUCH")) }
      // The protocol is RESP3, and the database is the third.
      #expect(try await client.send(RedisCommand("CONFIG", "GET", "port")).pairs?.count == 1)
      #expect(try await client.send(RedisCommand("CLIENT", "INFO")).text?.contains(" db=3 ") == true)
      #expect(try await client.send(RedisCommand("CLIENT", "INFO")).text?.contains(" resp=3") == true)
      #expect(client.losses == 0)
      #expect(world.log.lines.isEmpty)
    }
  }

  @Test func manyTasksAtOnceGetTheirOwnAnswers() async throws {
    let server = try RedisServer()
    try await withWorld { world in
      let client = try RedisClient(server.url)
      world.run { try await client.run($0) }
      try await client.whenRunning()
      try await withThrowingTaskGroup(of: Bool.self) { group in
        for number in 0..<2000 {
          group.addTask {
            try await client.send(RedisCommand("ECHO", .integer(number))).integer == Int64(number)
          }
        }
        for try await isRight in group { #expect(isRight) }
      }
    }
  }

  @Test func loginsAreCheckedAndAWrongPasswordReachesNoLog() async throws {
    let server = try RedisServer("--requirepass", "s3cret")
    try await withWorld { world in
      let right = try RedisClient("redis://:s3cret@127.0.0.1:\(server.port)")
      world.run { try await right.run($0) }
      try await right.whenRunning()
      #expect(
        try await right.send(RedisCommand("ACL", "SETUSER", "app", "on", ">pa ss", "allkeys", "allcommands"))
          == .status("OK"))
      let user = try RedisClient("redis://app:pa%20ss@127.0.0.1:\(server.port)")
      world.run { try await user.run($0) }
      try await user.whenRunning()
      #expect(try await user.send(RedisCommand("ACL", "WHOAMI")).text == "app")
      for wrong in ["redis://:wr0ng@127.0.0.1:\(server.port)", "redis://app:wr0ng@127.0.0.1:\(server.port)"] {
        let client = try RedisClient(wrong)
        world.run { try await client.run($0) }
        try await client.whenRunning()
        await #expect(throws: RedisError.unreachable(node: "127.0.0.1:\(server.port)", "HELLO was refused: WRONGPASS"))
        {
          try await client.send(RedisCommand("PING"))
        }
      }
      let none = try RedisClient(server.url)
      world.run { try await none.run($0) }
      try await none.whenRunning()
      await #expect(throws: RedisError.unreachable(node: "127.0.0.1:\(server.port)", "HELLO was refused: NOAUTH")) {
        try await none.send(RedisCommand("PING"))
      }
      #expect(world.log.lines.contains { $0.contains("WRONGPASS") })
      #expect(!world.log.lines.contains { $0.contains("wr0ng") })
    }
  }

  @Test func aUnixSocketWorksToo() async throws {
    let path = "/tmp/sluice-redis-\(getpid()).sock"
    let server = try RedisServer("--unixsocket", path)
    try await withWorld { world in
      let client = try RedisClient("unix://\(path)")
      world.run { try await client.run($0) }
      try await client.whenRunning()
      #expect(try await client.send(RedisCommand("PING")) == .status("PONG"))
    }
    server.kill()
    unlink(path)
  }

  @Test func aHungServerCostsOneTimeoutAndThenNothing() async throws {
    // A listener that accepts (in the kernel) and never answers.
    let silent = try SilentListener()
    try await withWorld { world in
      let client = try RedisClient(
        "redis://127.0.0.1:\(silent.port)",
        options: RedisOptions(connectTimeout: .milliseconds(100), firstPause: .seconds(30), longestPause: .seconds(60)))
      world.run { try await client.run($0) }
      try await client.whenRunning()
      let down = RedisError.unreachable(node: "127.0.0.1:\(silent.port)", "no connection within 0.1 seconds")
      await #expect(throws: down) { try await client.send(RedisCommand("PING")) }
      // From now on the refusal is immediate: a thousand of them take no thousand timeouts.
      let began = world.services.now
      for _ in 0..<1000 { await #expect(throws: down) { try await client.send(RedisCommand("PING")) } }
      #expect(world.services.now - began < .seconds(20))
      #expect(world.log.lines.count == 1)
    }
  }

  @Test func aCommandThatIsNotAnsweredEndsInTimeAndTheConnectionIsMadeAnew() async throws {
    let server = try RedisServer()
    try await withWorld { world in
      let client = try RedisClient(server.url, options: RedisOptions(commandTimeout: .milliseconds(200)))
      let other = try RedisClient(server.url)
      world.run { try await client.run($0) }
      world.run { try await other.run($0) }
      try await client.whenRunning()
      try await other.whenRunning()
      #expect(try await client.send(RedisCommand("PING")) == .status("PONG"))
      // A list that stays empty: the answer comes later than the client waits.
      await #expect(throws: RedisError.timeout(.milliseconds(200))) {
        try await client.send(RedisCommand("BLPOP", .key("empty"), 20))
      }
      #expect(try await client.send(RedisCommand("ECHO", "after")).text == "after")
      #expect(client.losses == 1)
    }
  }

  @Test func aKilledServerIsNoticedAndARestartedOneIsFoundAgain() async throws {
    let server = try RedisServer()
    try await withWorld { world in
      let client = try RedisClient(server.url, options: RedisOptions(longestPause: .milliseconds(50)))
      world.run { try await client.run($0) }
      try await client.whenRunning()
      #expect(try await client.send(RedisCommand("PING")) == .status("PONG"))
      server.kill()
      // At most one command notices the loss; from then on it is known.
      var failures = 0
      while failures < 3 {
        do { _ = try await client.send(RedisCommand("PING")) } catch is RedisError { failures += 1 }
      }
      try server.restart()
      let reply = try await client.eventually(RedisCommand("PING"), world)
      #expect(reply == .status("PONG"))
      #expect(world.log.lines.count { $0.contains("trying again") } == 1)
      #expect(world.log.lines.count { $0.contains("connected again") } == 1)
    }
  }

  @Test func oneLoopThatFindsTheServerAgainTellsTheOthers() async throws {
    let server = try RedisServer()
    try await withWorld(loops: 3) { world in
      let client = try RedisClient(
        server.url, options: RedisOptions(firstPause: .seconds(2), longestPause: .seconds(60)))
      world.run { try await client.run($0) }
      try await client.whenRunning()
      for shard in 0..<3 { #expect(client.post(RedisCommand("PING"), shard: shard)) }
      server.kill()
      // All three know that it is gone, and pause: two seconds, then four, then up to a minute.
      let end = world.services.now + .seconds(30)
      func areDown() -> Bool { (0..<3).allSatisfy { !client.post(RedisCommand("PING"), shard: $0) } }
      while !areDown() { try #require(world.services.now < end, "the loss is not noticed") }
      try server.restart()
      func areUp() -> Int { (0..<3).count { client.post(RedisCommand("PING"), shard: $0) } }
      while areUp() == 0 {
        try #require(world.services.now < end, "no loop tries again")
        try await world.services.sleep(for: .milliseconds(5))
      }
      // The others follow by the bell, which is a matter of turns and not of pauses.
      let found = world.services.now
      while areUp() < 3 { try await world.services.sleep(for: .milliseconds(5)) }
      #expect(world.services.now - found < .milliseconds(900))
    }
  }

  @Test func aClientThatNobodyRunsSaysSoAndAClosedOneToo() async throws {
    let server = try RedisServer()
    let idle = try RedisClient(server.url)
    await #expect(throws: RedisError.notRunning) { try await idle.send(RedisCommand("PING")) }
    try await withWorld { world in
      let client = try RedisClient(server.url, options: RedisOptions(commandTimeout: .seconds(30)))
      world.run { try await client.run($0) }
      let watcher = try RedisClient(server.url)
      world.run { try await watcher.run($0) }
      try await client.whenRunning()
      try await watcher.whenRunning()
      let blocked = Task { try await client.send(RedisCommand("BLPOP", .key("empty"), 20)) }
      while try await watcher.send(RedisCommand("INFO", "clients")).text?.contains("blocked_clients:1") != true {}
      client.close()
      await #expect(throws: RedisError.closed) { try await blocked.value }
      await #expect(throws: RedisError.closed) { try await client.send(RedisCommand("PING")) }
    }
  }

  @Test func ofTwoThatRunOneClientTheSecondTakesOver() async throws {
    let server = try RedisServer()
    try await withWorld { world in
      let client = try RedisClient(server.url)
      let services = world.services
      let first = Task { try await client.run(services) }
      try await client.whenRunning()
      let second = Task { try await client.run(services) }
      #expect(try await client.send(RedisCommand("PING")) == .status("PONG"))
      first.cancel()
      _ = await first.result
      try await client.whenRunning()
      #expect(try await client.send(RedisCommand("PING")) == .status("PONG"))
      second.cancel()
      _ = await second.result
      await #expect(throws: RedisError.notRunning) { try await client.send(RedisCommand("PING")) }
    }
  }

  @Test func scriptsAreSentAsAWholeOnceAndFoundAgainAfterAFlush() async throws {
    let server = try RedisServer()
    try await withWorld { world in
      let client = try RedisClient(server.url)
      world.run { try await client.run($0) }
      try await client.whenRunning()
      let script = RedisScript("return {KEYS[1], ARGV[1], redis.sha1hex('abc')}")
      for round in 0..<3 {
        if round == 2 { _ = try await client.send(RedisCommand("SCRIPT", "FLUSH")) }
        let reply = try await client.run(script, keys: [Array("k".utf8)], arguments: ["v"])
        #expect(reply.elements?.map(\.text) == ["k", "v", SHA1.hexDigest(of: Array("abc".utf8))])
      }
      let stats = try await client.send(RedisCommand("INFO", "commandstats")).text ?? ""
      #expect(stats.contains("cmdstat_eval:calls=2"))
      #expect(stats.contains("cmdstat_evalsha:calls=3"))
    }
  }

  @Test func oneMoreThanThePipelineHoldsIsRefusedAtOnce() async throws {
    let server = try RedisServer()
    try await withWorld(loops: 1) { world in
      let options = RedisOptions(commandTimeout: .seconds(30), maxPipelined: 10)
      let client = try RedisClient(server.url, options: options)
      let watcher = try RedisClient(server.url)
      world.run { try await client.run($0) }
      world.run { try await watcher.run($0) }
      try await client.whenRunning()
      try await watcher.whenRunning()
      // Nothing behind it is answered before it is.
      let blocked = Task { try await client.send(RedisCommand("BLPOP", .key("empty"), 20)) }
      while try await watcher.send(RedisCommand("INFO", "clients")).text?.contains("blocked_clients:1") != true {}
      for _ in 0..<9 { #expect(client.post(RedisCommand("PING"))) }
      await #expect(throws: RedisError.pipelineFull(limit: 10)) { try await client.send(RedisCommand("PING")) }
      _ = try await watcher.send(RedisCommand("RPUSH", .key("empty"), "x"))
      #expect(try await blocked.value.elements?.last?.text == "x")
      #expect(try await client.eventually(RedisCommand("PING"), world) == .status("PONG"))
    }
  }
}

/// A port on which connections are accepted by the kernel alone.
final class SilentListener: Sendable {
  let port: UInt16
  private let descriptor: Int32

  init() throws {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    self.descriptor = descriptor
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
        bind(descriptor, raw, length) == 0 && listen(descriptor, 128) == 0 && getsockname(descriptor, raw, &length) == 0
      }
    }
    guard code else { throw ProgramFailure(description: "no listener: \(errno)") }
    port = UInt16(bigEndian: address.sin_port)
  }

  deinit { close(descriptor) }
}

extension RedisClient {
  /// Returns once somebody runs it.
  func whenRunning() async throws {
    while true {
      do {
        _ = try await send(RedisCommand("PING"))
        return
      } catch RedisError.notRunning {
        await Task.yield()
      } catch is RedisError {
        return
      }
    }
  }

  /// The answer, once there is a server: its start is no event of this process.
  func eventually(_ command: RedisCommand, _ world: RedisWorld) async throws -> RESPValue {
    let end = world.services.now + .seconds(30)
    while true {
      do {
        return try await send(command)
      } catch let error as RedisError {
        if world.services.now > end { throw error }
        try await world.services.sleep(for: .milliseconds(5))
      }
    }
  }
}
