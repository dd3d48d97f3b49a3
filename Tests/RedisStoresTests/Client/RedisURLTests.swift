import Pipeline
import Testing

@testable import RedisStores

struct RedisURLTests {
  @Test(arguments: [
    ("redis://127.0.0.1:6380/2", ["127.0.0.1:6380"], 2), ("redis://cache", ["cache:6379"], 0),
    ("redis://[::1]:7000", ["[::1]:7000"], 0), ("redis://[::1]", ["[::1]:6379"], 0), ("redis://h/", ["h:6379"], 0),
    ("redis-cluster://a:1,b:2,10.0.0.1", ["a:1", "b:2", "10.0.0.1:6379"], 0),
    ("unix:///run/redis.sock", ["unix:/run/redis.sock"], 0),
    ("unix:///run/redis.sock?db=3", ["unix:/run/redis.sock"], 3),
  ])
  func placesAreRead(_ text: String, _ nodes: [String], _ database: Int) throws {
    let url = try RedisURL(text)
    #expect(url.nodes.map(\.description) == nodes)
    #expect(url.database == database)
    #expect(url.isCluster == text.hasPrefix("redis-cluster"))
    #expect(url.password == nil)
  }

  @Test(
    arguments: [
      ("redis://app:s3cret@h", "app", "s3cret"), ("redis://:s3cret@h", nil, "s3cret"),
      ("redis://a%40b:p%3a%2F%25@h:1/1", "a@b", "p:/%"), ("redis-cluster://u:a@b@c@h:1", "u", "a@b@c"),
    ] as [(String, String?, String)])
  func loginsAreRead(_ text: String, _ user: String?, _ password: String) throws {
    let url = try RedisURL(text)
    #expect(url.user == user)
    #expect(url.password?.reveal() == password)
  }

  @Test func thePasswordStandsInNoDescriptionAndNoError() throws {
    let url = try RedisURL("redis://app:s3cret@h:1/2")
    #expect("\(url)" == "redis://app:***@h:1/2")
    var dumped = ""
    dump(url, to: &dumped)
    #expect(!dumped.contains("s3cret"))
    for text in ["redis://app:s3cret@h:99999", "redis://app:s3cret%zz@h", "redis://s3cret@h", "redis://app:s3cret@a b"]
    {
      do {
        _ = try RedisURL(text)
        Issue.record("\(text) was taken")
      } catch { #expect(!error.message.contains("s3cret"), "\(error)") }
    }
  }

  @Test(arguments: [
    ("http://h", "a URL that begins with \"http\""), ("", "a URL that begins with \"\""),
    ("rediss://h", "TLS is not spoken"),
    ("redis://", "the server \"\""), ("redis://h:0", "the server \"h:0\""), ("redis://h:65536", "the server"),
    ("redis://a,b", "2 servers in a redis:// URL"), ("redis://h/x", "the database \"x\"; allowed are 0...65535"),
    ("redis://h/65536", "the database"), ("redis-cluster://a:1/1", "a cluster has database 0 only"),
    ("redis-cluster://a:1,,b:1", "the server \"\""), ("unix://relative", "the Unix socket \"relative\""),
    ("unix:///a?x=1", "allowed is ?db=N"), ("redis://user@h", "a user without a password"),
    ("redis://user:@h", "an empty password"), ("redis://u:%4@h", "two hexadecimal digits"),
  ])
  func mistakesAreNamed(_ text: String, _ part: String) {
    do {
      _ = try RedisURL(text)
      Issue.record("\(text) was taken")
    } catch { #expect(error.message.contains(part), "\(error)") }
  }
}

struct HandshakeTests {
  private func wire(_ words: String...) -> [UInt8] {
    RedisCommand(words[0], words: words.dropFirst().map { .text($0) }).bytes
  }

  private let hello = RESPValue.map([RESPPair(.bulk(Array("proto".utf8)), .integer(3))])
  private let unknown = RESPValue.error(RESPError(code: "ERR", message: "unknown command 'HELLO'"))

  @Test func withoutAPasswordHELLOIsAll() {
    var handshake = Handshake(user: nil, password: nil, database: 0)
    #expect(handshake.opening == wire("HELLO", "3"))
    #expect(handshake.received(hello) == .ready(.resp3))
  }

  @Test func theLoginComesWithHELLOAndTheDatabaseAfterIt() {
    var handshake = Handshake(user: nil, password: Secret("s3cret"), database: 4)
    #expect(handshake.opening == wire("HELLO", "3", "AUTH", "default", "s3cret"))
    #expect(handshake.received(hello) == .send(wire("SELECT", "4")))
    #expect(handshake.received(.status("OK")) == .ready(.resp3))
  }

  @Test func aServerWithoutHELLOIsSpokenToInRESP2() {
    var named = Handshake(user: "app", password: Secret("s3cret"), database: 1)
    #expect(named.received(unknown) == .send(wire("AUTH", "app", "s3cret")))
    #expect(named.received(.status("OK")) == .send(wire("SELECT", "1")))
    #expect(named.received(.status("OK")) == .ready(.resp2))
    var old = Handshake(user: nil, password: Secret("s3cret"), database: 0)
    #expect(old.received(.error(RESPError(code: "NOPROTO", message: "sorry"))) == .send(wire("AUTH", "s3cret")))
    #expect(old.received(.status("OK")) == .ready(.resp2))
    var open = Handshake(user: nil, password: nil, database: 0)
    #expect(open.received(unknown) == .ready(.resp2))
  }

  @Test(arguments: ["WRONGPASS", "NOAUTH", "NOPERM", "LOADING"])
  func aRefusalIsFinalAndQuotesNothing(_ code: String) {
    var handshake = Handshake(user: "app", password: Secret("s3cret"), database: 0)
    let refusal = RESPValue.error(RESPError(code: code, message: "app s3cret"))
    #expect(handshake.received(refusal) == .fail("HELLO was refused: \(code)"))
  }

  @Test func refusedAUTHAndSELECTFailAndSoDoAnswersOfAnotherKind() {
    var auth = Handshake(user: nil, password: Secret("s3cret"), database: 0)
    _ = auth.received(unknown)
    #expect(auth.received(.error(RESPError(code: "ERR", message: "s3cret"))) == .fail("AUTH was refused: ERR"))
    var select = Handshake(user: nil, password: nil, database: 99)
    _ = select.received(hello)
    #expect(select.received(.error(RESPError(code: "ERR", message: ""))) == .fail("SELECT 99 was refused: ERR"))
    var strange = Handshake(user: nil, password: nil, database: 0)
    #expect(strange.received(.status("OK")) == .fail("HELLO was answered with a status"))
  }
}

struct ReconnectPauseTests {
  @Test func itDoublesToItsLimitAndItsUpperHalfIsRandom() {
    let options = RedisOptions(firstPause: .milliseconds(20), longestPause: .milliseconds(100))
    var shortest = ReconnectPause(options)
    var longest = ReconnectPause(options)
    #expect((0..<5).map { _ in shortest.next(randomBits: 0) } == [10, 20, 40, 50, 50].map { .milliseconds($0) })
    for whole in [20, 40, 80, 100, 100] {
      let span = UInt64(whole) * 500_000
      #expect(longest.next(randomBits: span) == .milliseconds(whole))
    }
    longest.reset()
    #expect(longest.next(randomBits: 0) == .milliseconds(10))
    for _ in 0..<100 { #expect(longest.next(randomBits: .max) <= .milliseconds(100)) }
  }

  @Test func optionsOutOfRangeAreNamed() {
    #expect(RedisOptions().problem == nil)
    #expect(RedisOptions(connectTimeout: .zero).problem?.contains("connectTimeout") == true)
    #expect(RedisOptions(firstPause: .seconds(2), longestPause: .seconds(1)).problem?.contains("longestPause") == true)
    #expect(RedisOptions(maxPipelined: 0).problem?.contains("maxPipelined of 0") == true)
    #expect(RedisOptions(maxRedirections: 101).problem?.contains("maxRedirections of 101") == true)
    #expect(RedisOptions(limits: RESPLimits(line: 1)).problem?.contains("limits.line of 1") == true)
  }
}

struct RedisScriptTests {
  /// FIPS 180-4.
  @Test(arguments: [
    ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"), ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
    ("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "84983e441c3bd26ebaae4aa1f95129e5e54670f1"),
    (String(repeating: "a", count: 1000), "291e9a6c66994949b57ba5e650361e98fc36b1ba"),
  ])
  func digestsAreSHA1(_ text: String, _ digest: String) {
    #expect(RedisScript(text).digest == digest)
  }
}
