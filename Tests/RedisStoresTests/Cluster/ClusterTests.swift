import Pipeline
import Testing

@testable import RedisStores

struct HashSlotTests {
  @Test func theChecksumIsThatOfTheSpecification() {
    #expect(HashSlot.crc16(Array("123456789".utf8)) == 0x31C3)
    #expect(HashSlot.crc16([]) == 0)
  }

  /// By `CLUSTER KEYSLOT` of Redis 7.0.
  @Test(arguments: [
    ("", 0), ("foo", 12182), ("somekey", 11058), ("foo{hash_tag}", 2515), ("bar{hash_tag}", 2515), ("hash_tag", 2515),
    ("{user1000}.following", 3443), ("{user1000}.followers", 3443), ("user1000", 3443), ("foo{}{bar}", 8363),
    ("foo{{bar}}zap", 4015), ("{bar", 4015), ("foo{bar}{zap}", 5061), ("bar", 5061),
  ])
  func slotsAndHashTagsAreThoseOfTheServer(_ key: String, _ slot: Int) {
    #expect(HashSlot(of: Array(key.utf8)) == HashSlot(number: UInt16(slot)))
  }

  @Test func theFirstKeyOfACommandDecides() {
    #expect(RedisCommand("GET", .key("foo")).slot?.number == 12182)
    #expect(RedisCommand("EVAL", "return 1", 2, .key("foo"), .key("bar")).slot?.number == 12182)
    #expect(RedisCommand("PING").slot == nil)
  }
}

struct ClusterMapTests {
  private let asked = RedisURL.Node.endpoint(Endpoint("10.0.0.9:7009")!)

  private func node(_ text: String) -> RedisURL.Node { .endpoint(Endpoint(text)!) }
  private func text(_ text: String) -> RESPValue { .bulk(Array(text.utf8)) }

  private func slots(_ first: Int64, _ last: Int64, _ host: RESPValue, _ port: Int64) -> RESPValue {
    .array([.integer(first), .integer(last), .array([host, .integer(port), text("id"), .array([])])])
  }

  @Test func slotsAreReadAndMissingOnesServedByNobody() throws {
    let reply = RESPValue.array([slots(0, 99, text("10.0.0.1"), 7001), slots(200, 16383, text("a.example"), 7002)])
    let map = try #require(ClusterMap(slots: reply, from: asked))
    #expect(map.nodes == [node("10.0.0.1:7001"), node("a.example:7002")])
    #expect(map.node(of: HashSlot(number: 0)) == node("10.0.0.1:7001"))
    #expect(map.node(of: HashSlot(number: 99)) == node("10.0.0.1:7001"))
    #expect(map.node(of: HashSlot(number: 100)) == nil)
    #expect(map.node(of: HashSlot(number: 16383)) == node("a.example:7002"))
  }

  @Test func aNodeWithoutAHostIsTheHostThatWasAsked() throws {
    for host in [text(""), .null, text("?")] {
      let map = try #require(ClusterMap(slots: .array([slots(0, 1, host, 7001)]), from: asked))
      #expect(map.nodes == [node("10.0.0.9:7001")])
    }
  }

  private func shard(_ ranges: [Int64], _ port: Int64, _ role: String, resp3: Bool) -> RESPValue {
    func map(_ pairs: [(String, RESPValue)]) -> RESPValue {
      resp3
        ? .map(pairs.map { RESPPair(text($0.0), $0.1) }) : .array(pairs.flatMap { [text($0.0), $0.1] })
    }
    let replica = map([("port", .integer(1)), ("endpoint", text("10.0.0.8")), ("role", text("replica"))])
    let master = map([("port", .integer(port)), ("endpoint", text("10.0.0.1")), ("role", text(role))])
    return map([("slots", .array(ranges.map { .integer($0) })), ("nodes", .array([replica, master]))])
  }

  @Test(arguments: [false, true]) func shardsAreReadInBothVersions(_ resp3: Bool) throws {
    let reply = RESPValue.array([
      shard([0, 9, 20, 29], 7001, "master", resp3: resp3), shard([10, 19], 7002, "master", resp3: resp3),
      shard([], 7003, "replica", resp3: resp3),
    ])
    let map = try #require(ClusterMap(shards: reply, from: asked))
    #expect(map.nodes == [node("10.0.0.1:7001"), node("10.0.0.1:7002")])
    #expect(map.node(of: HashSlot(number: 25)) == node("10.0.0.1:7001"))
    #expect(map.node(of: HashSlot(number: 15)) == node("10.0.0.1:7002"))
    #expect(map.node(of: HashSlot(number: 30)) == nil)
  }

  @Test func whatIsNoMapIsRefused() {
    for reply in [
      RESPValue.integer(1), .array([.integer(1)]), .array([slots(0, 16384, text("a"), 1)]),
      .array([slots(5, 4, text("a"), 1)]), .array([slots(0, 1, text("a b"), 1)]),
      .array([slots(0, 1, text("a"), 70000)]),
      .array([slots(0, 1, text("a"), 0)]),
    ] {
      #expect(ClusterMap(slots: reply, from: asked) == nil)
    }
    #expect(ClusterMap(shards: .array([shard([0, 1], 7001, "replica", resp3: true)]), from: asked) == nil)
    #expect(ClusterMap(shards: .array([shard([0], 7001, "master", resp3: true)]), from: asked) == nil)
  }

  @Test func redirectionsAreReadAndOtherErrorsAreNone() {
    func read(_ code: String, _ message: String) -> Redirection? {
      Redirection(RESPError(code: code, message: message), from: asked)
    }
    #expect(read("MOVED", "3999 127.0.0.1:6381") == .moved(HashSlot(number: 3999), node("127.0.0.1:6381")))
    #expect(read("MOVED", "3999 :6381") == .moved(HashSlot(number: 3999), node("10.0.0.9:6381")))
    #expect(read("ASK", "1 a.example:1") == .ask(node("a.example:1")))
    #expect(read("MOVED", "1 ::1:7000") == .moved(HashSlot(number: 1), node("[::1]:7000")))
    #expect(read("TRYAGAIN", "Multiple keys request during rehashing of slot") == .tryAgain)
    #expect(read("CLUSTERDOWN", "Hash slot not served") == .down)
    for message in ["", "1", "16384 a:1", "x a:1", "1 a:0", "1 a:70000", "1 a"] {
      #expect(read("MOVED", message) == nil)
    }
    #expect(read("ERR", "MOVED 1 a:1") == nil)
  }
}
