import Glibc
import Middlewares
import Pipeline
import PipelineTesting
import Testing

@testable import RedisStores

/// A real cluster of three masters on loopback.
@Suite(.serialized, .timeLimit(.minutes(3))) struct RedisClusterTests {
  private let now = Instant(nanoseconds: 1)

  @Test func commandsFindTheirNodesAndMovedSlotsAreFollowed() async throws {
    try await withRedisCluster { servers, url, world in
      let client = try RedisClient(url)
      world.run { try await client.run($0) }
      try await client.whenRunning()
      for number in 0..<300 {
        #expect(try await client.send(RedisCommand("SET", .key("key \(number)"), .integer(number))) == .status("OK"))
      }
      let replies = try await client.send((0..<300).map { RedisCommand("GET", .key("key \($0)")) })
      #expect(replies.map(\.integer) == (0..<300).map { Int64($0) })
      #expect(client.refreshes <= 2)
      // Our arithmetic is the server's, tags included.
      var random = SeededRandom(seed: 3)
      for _ in 0..<200 {
        let key = (0..<Int.random(in: 0...12, using: &random)).map { _ in "ab{}x".utf8.randomElement(using: &random)! }
        let slot = try await client.send(RedisCommand("CLUSTER", "KEYSLOT", .bytes(key))).integer
        #expect(slot == Int64(HashSlot(of: key).number), "\(String(decoding: key, as: UTF8.self))")
      }
      // A slot moves to another node while its key is asked for: ASK on the way, MOVED after it.
      let nodes = try await ids(servers, world)
      let slot = Int(HashSlot(of: Array("key 7".utf8)).number)
      let from = slot <= 5460 ? 0 : slot <= 10922 ? 1 : 2
      let to = (from + 1) % 3
      let source = nodes[from].client
      let target = nodes[to].client
      _ = try await target.send(RedisCommand("CLUSTER", "SETSLOT", .integer(slot), "IMPORTING", .text(nodes[from].id)))
      _ = try await source.send(RedisCommand("CLUSTER", "SETSLOT", .integer(slot), "MIGRATING", .text(nodes[to].id)))
      #expect(try await client.send(RedisCommand("GET", .key("key 7"))).integer == 7)
      _ = try await source.send(
        RedisCommand("MIGRATE", "127.0.0.1", .integer(servers[to].port), "key 7", 0, 5000))
      #expect(try await client.send(RedisCommand("GET", .key("key 7"))).integer == 7, "by ASK")
      for node in [target, source] {
        _ = try await node.send(RedisCommand("CLUSTER", "SETSLOT", .integer(slot), "NODE", .text(nodes[to].id)))
      }
      #expect(try await client.send(RedisCommand("INCR", .key("key 7"))).integer == 8, "by MOVED")
      #expect(try await client.send(RedisCommand("INCR", .key("key 7"))).integer == 9)
    }
  }

  private func ids(
    _ servers: [RedisServer], _ world: RedisWorld
  ) async throws -> [(client: RedisClient, id: String)] {
    var nodes: [(RedisClient, String)] = []
    for server in servers {
      let client = try RedisClient(server.url)
      world.run { try await client.run($0) }
      try await client.whenRunning()
      nodes.append((client, try await client.send(RedisCommand("CLUSTER", "MYID")).text ?? ""))
    }
    return nodes
  }

  @Test func threeEnginesShareLimitsExactlyOverTheClusterAndALostNodeTakesItsKeysOnly() async throws {
    try await withRedisCluster { servers, url, world in
      try await withWorld { second in
        try await withWorld { third in
          var stores: [RedisLimitStore<TokenBucketAlgorithm>] = []
          for world in [world, second, third] {
            let store = RedisLimitStore(
              try RedisClient(url), "test", .per(.seconds(86_400), 20), algorithm: .tokenBucket,
              options: RedisLimitOptions(whenInTrouble: .failOpen, breakAfter: 1000))
            world.run { try await store.run($0) }
            try await store.client.whenRunning()
            stores.append(store)
          }
          let keys = 10
          let admitted = try await withThrowingTaskGroup(of: (Int, Bool).self) { group in
            for store in stores {
              for number in 0..<20 * keys {
                let now = now
                group.addTask {
                  let key = LimitKey.named("key \(number % keys)")
                  let decision = try await store.take(key, cost: 1, rate: nil, now: now)
                  return (number % keys, decision.isAllowed)
                }
              }
            }
            var admitted = [Int](repeating: 0, count: keys)
            for try await (key, isAllowed) in group where isAllowed { admitted[key] += 1 }
            return admitted
          }
          #expect(admitted == [Int](repeating: 20, count: keys))
          #expect(stores.allSatisfy { $0.counts.byPolicy == 0 })
          // Each master has a part of the keys; without one of them its keys are decided by the policy, at once.
          servers[1].kill()
          var counted = 0
          for number in 0..<keys {
            let decision = try await stores[0].take(.named("key \(number)"), cost: 1, rate: nil, now: now)
            if decision.isCounted {
              counted += 1
              #expect(!decision.isAllowed)
            } else {
              #expect(decision.isAllowed)
            }
          }
          #expect(counted > 0 && counted < keys)
        }
      }
    }
  }
}
