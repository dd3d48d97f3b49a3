import Pipeline
import Testing

@testable import Transports

@Suite struct TrustedWalkTests {
  private let trusted: [CIDR] = ["192.0.2.0/24", "10.0.0.0/8", "2001:db8:ffff::/48"]

  @Test(arguments: [
    // One hop, several hops, none.
    ("203.0.113.5", "203.0.113.5"), ("203.0.113.5, 10.0.0.1", "203.0.113.5"),
    ("203.0.113.5,10.0.0.1,10.9.9.9", "203.0.113.5"),
    // What the client wrote itself stands on the left.
    ("1.2.3.4, 203.0.113.5, 10.0.0.1", "203.0.113.5"), ("10.0.0.2, 203.0.113.5", "203.0.113.5"),
    // All of them are ours.
    ("10.0.0.2, 10.0.0.1", "10.0.0.2"),
    // With ports and brackets.
    ("203.0.113.5:1234", "203.0.113.5"), ("[2001:db8::5]:1234, 10.0.0.1:9", "2001:db8::5"),
    ("2001:db8::5, [2001:db8:ffff::1]", "2001:db8::5"), ("::ffff:203.0.113.5", "203.0.113.5"),
    ("1.1.1.1, ::ffff:10.0.0.1", "1.1.1.1"),
    // What is no address ends the walk at the one before.
    ("203.0.113.5, unknown, 10.0.0.1", "10.0.0.1"), ("203.0.113.5, unknown", "192.0.2.7"), ("garbage", "192.0.2.7"),
    ("203.0.113.5, 10.0.0.1:port", "192.0.2.7"), ("1.1.1.1, 1.2.3.4:99999", "192.0.2.7"),
    ("1.1.1.1, 127.1", "192.0.2.7"),
    ("unknown, 203.0.113.5", "203.0.113.5"), ("x, 10.0.0.3, 10.0.0.1", "10.0.0.3"),
    // Empty elements are nothing.
    ("203.0.113.5, ,", "203.0.113.5"), ("", "192.0.2.7"), (",", "192.0.2.7"),
  ])
  func theListIsWalkedFromTheRight(list: String, client: String) throws {
    #expect(try ForwardingBench(trusting: trusted).client(of: requestHead(["x-forwarded-for: \(list)"])) == client)
    #expect(try ForwardingBench().client(of: requestHead(["x-forwarded-for: \(list)"])) == "192.0.2.7")
  }

  @Test(arguments: [
    ("for=203.0.113.5", "203.0.113.5"), ("For=\"203.0.113.5:80\";proto=https, for=10.0.0.1", "203.0.113.5"),
    ("proto=http;for=\"[2001:db8::5]\";by=10.0.0.1", "2001:db8::5"), ("for=\"[2001:db8::5]:_p\"", "2001:db8::5"),
    ("for=1.1.1.1, for=203.0.113.5 , for=10.0.0.1", "203.0.113.5"),
    ("for=203.0.113.5;host=\"a,b;c\\\"d\"", "203.0.113.5"),
    ("for=203.0.113.5,,", "203.0.113.5"),
    // Obfuscated, unknown, missing.
    ("for=203.0.113.5, for=_hidden, for=10.0.0.1", "10.0.0.1"), ("for=unknown", "192.0.2.7"),
    ("proto=http", "192.0.2.7"),
    ("for=_hidden, for=203.0.113.5", "203.0.113.5"),
    // Broken: nothing of the line counts.
    ("for=203.0.113.5;x=\", for=10.0.0.1", "192.0.2.7"), ("for=6.6.6.6;a=\", for=\"[2001:db8::5]\"", "192.0.2.7"),
    ("for=1.1.1.1 for=2.2.2.2", "192.0.2.7"), ("for=1.1.1.1;for=2.2.2.2", "192.0.2.7"), ("for", "192.0.2.7"),
    ("for=", "192.0.2.7"), ("=1.1.1.1", "192.0.2.7"), ("for=[2001:db8::5]", "192.0.2.7"),
    ("for=\"1.1.1.1\\", "192.0.2.7"),
    ("", "192.0.2.7"),
  ])
  func theElementsOfForwardedAreWalkedFromTheRight(list: String, client: String) throws {
    #expect(try ForwardingBench(trusting: trusted).client(of: requestHead(["forwarded: \(list)"])) == client)
  }

  @Test func linesAreOneListInTheirOrder() throws {
    let bench = ForwardingBench(trusting: trusted)
    #expect(
      try bench.client(of: requestHead(["x-forwarded-for: 1.1.1.1", "a: b", "X-Forwarded-For: 203.0.113.5"]))
        == "203.0.113.5")
    #expect(try bench.client(of: requestHead(["forwarded: for=\"", "forwarded: for=203.0.113.5"])) == "203.0.113.5")
  }

  @Test func agreeingFieldsAreBelieved() throws {
    let head = requestHead(["forwarded: for=\"203.0.113.5:1\"", "x-forwarded-for: 9.9.9.9, 203.0.113.5"])
    #expect(try ForwardingBench(trusting: trusted).client(of: head) == "203.0.113.5")
  }

  @Test func fieldsThatDisagreeAreNotBelieved() throws {
    let head = requestHead([
      "host: a", "forwarded: for=6.6.6.6", "x-forwarded-for: 203.0.113.5", "x-forwarded-proto: https",
    ])
    let bench = ForwardingBench(trusting: trusted)
    #expect(try bench.client(of: head) == "192.0.2.7")
    #expect(
      try bench.forwarded(head) == [
        "host: a", "via: 1.1 sluice", "forwarded: for=192.0.2.7;host=a;proto=http", "x-forwarded-for: 192.0.2.7",
        "x-forwarded-proto: http", "x-forwarded-host: a",
      ])
  }

  @Test func unixPeersAreBelievedOnlyIfTheOptionsSaySo() throws {
    let head = requestHead(["x-forwarded-for: 203.0.113.5"])
    var bench = ForwardingBench(trusting: ["0.0.0.0/0", "::/0"])
    bench.peer = clientAddress("unix")
    #expect(try bench.client(of: head).hasPrefix("unix:"))
    bench.options.trustsUnixPeers = true
    bench.options.trustedProxies = []
    #expect(try bench.client(of: head) == "203.0.113.5")
  }

  @Test func noListMakesTheWalkReadOutside() throws {
    // Every prefix of lists with every kind of syntax in them.
    let lists = ["for=\"[2001:db8::5]:80\";host=\"a\\\"b\", for=10.0.0.1;;by=x", "[2001:db8::5]:80 , 1.2.3.4:5,::1"]
    for list in lists {
      let bytes = Array(list.utf8)
      for end in 0...bytes.count {
        var walk = TrustedWalk(trusted: trusted)
        walk.walkForwarded(bytes.span.extracting(0..<end))
        walk.walkXForwardedFor(bytes.span.extracting(0..<end))
        _ = walk.client(behind: clientAddress("192.0.2.7"))
      }
    }
  }
}
