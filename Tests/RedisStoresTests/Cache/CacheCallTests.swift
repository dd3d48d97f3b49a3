import Pipeline
import Testing

@testable import RedisStores

/// How keys and operations are written for the wire.
@Suite struct CacheCallTests {
  private let call = CacheCall(prefix: "p")

  private func key(_ group: String, _ name: String = "") -> String {
    String(decoding: call.key(CacheKey(group, name)), as: UTF8.self)
  }

  @Test func aGroupIsTheHashTagWhateverItIsCalled() {
    #expect(key("user", "day") == "p:{user}day")
    #expect(key("") == "p:{%}")
    #expect(key("a}b{c%", "}{") == "p:{a%7Db{c%25}}{")
    for group in ["", "a", "}", "{", "{}", "}{", "a}b", "%", "%7D", "ä"] {
      let slots = Set(["", "x", "}", "{y}", "z{"].map { HashSlot(of: call.key(CacheKey(group, $0))).number })
      #expect(slots.count == 1, "\(group)")
    }
  }

  @Test func differentKeysAreDifferentInRedis() {
    let parts = ["", "a", "{", "}", "%", "%7D", "%25", "{}", "a}", "}a", "{a}"]
    let all = parts.flatMap { group in parts.map { key(group, $0) } }
    #expect(Set(all).count == parts.count * parts.count)
  }

  @Test func aCallIsItsScriptsDigestAndWithSourceItsText() {
    let request = call.add(-3, CacheKey("g", "n"), CacheKey("g"), .fromChange(.milliseconds(1500)))
    let rest = "$1\r\n2\r\n$6\r\np:{g}n\r\n$5\r\np:{g}\r\n$2\r\n-3\r\n$5\r\n-1500\r\n"
    #expect(
      String(decoding: request.command.bytes, as: UTF8.self)
        == "*7\r\n$7\r\nEVALSHA\r\n$40\r\n\(CacheScript.add.digest)\r\n" + rest)
    let source = CacheScript.add.source
    #expect(
      String(decoding: request.withSource.bytes, as: UTF8.self)
        == "*7\r\n$4\r\nEVAL\r\n$\(source.utf8.count)\r\n\(source)\r\n" + rest)
    #expect(request.command.description == "EVALSHA")
  }

  @Test func limitsAndCostsStayWithinWhatLuaCountsExactly() {
    let take = CacheTake(CacheKey("g"), cost: .max, limit: .max, lifetime: .fromCreation(.nanoseconds(1)))
    let text = String(decoding: call.take([take]).command.bytes, as: UTF8.self)
    #expect(text.hasSuffix("$16\r\n9007199254740992\r\n$16\r\n9007199254740991\r\n$1\r\n1\r\n"))
  }
}
