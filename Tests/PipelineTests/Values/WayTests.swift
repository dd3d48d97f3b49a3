import Pipeline
import Testing

@Suite struct WayTests {
  private func addresses(_ texts: String...) -> [SocketAddress] { texts.map { SocketAddress($0)! } }

  @Test func aWayThatCanBeUsedHasNoProblem() {
    let ways: [Way] = [
      .direct, .direct(from: "10.0.0.2"), .direct(from: "10.0.0.2", "2001:db8::2", prefer: .ipv6),
      .via(.socks5("proxy:1080")), .via(.socks5("unix:/run/socks"), .http("[::1]:3128", user: "u", password: "")),
      .via(.socks5("1.2.3.4:1", user: "u", password: "p", resolvesNames: true), from: "10.0.0.2", prefer: .ipv4Only),
    ]
    for way in ways { #expect(way.problems == [], "\(way)") }
  }

  @Test func whatCannotBeUsedIsSaidInASentence() {
    let long = String(repeating: "x", count: 256)
    let cases: [(Way, String)] = [
      (
        .direct(from: "10.0.0"),
        #"from "10.0.0": no IP address; write an address of this machine: 10.0.0.2, 2001:db8::2"#
      ),
      (.direct(from: "0.0.0.0"), "from 0.0.0.0: leave it out, and the kernel chooses the address"),
      (
        .direct(from: "10.0.0.2", "10.0.0.3"),
        "from 10.0.0.2, 10.0.0.3: at most one address of each family is allowed"
      ),
      (.direct(from: "::1", prefer: .ipv4Only), "from ::1 and prefer: .ipv4Only: no destination is left to dial"),
      (
        .via(.socks5("proxy")),
        #"socks5 "proxy" is no address: write host:port, 1.2.3.4:port, [::1]:port or unix:/path, with a port of 1...65535"#
      ),
      (
        .via(.http("a:1"), .http("b:0")),
        #"http "b:0" is no address: write host:port, 1.2.3.4:port, [::1]:port, with a port of 1...65535"#
      ),
      (
        .via(.http("a:1"), .socks5("unix:/s")),
        "socks5 unix:/s: only the first proxy of a chain can be a Unix socket"
      ),
      (
        .via(.socks5("a:1", user: "u")), "socks5 a:1: a user name or a password alone: give both, or neither"
      ),
      (
        .via(.socks5("a:1", user: long, password: "p")),
        "socks5 a:1: a user name of 256 and a password of 1 bytes: allowed are 1...255 each (RFC 1929)"
      ),
      (
        .via(.http("a:1", user: "u:v", password: "p")),
        "http a:1: a user name with a colon: Basic cannot carry it (RFC 7617)"
      ),
    ]
    for (way, sentence) in cases { #expect(way.problems == [sentence]) }
  }

  @Test func aWayDescribesItselfWithoutItsSecrets() {
    let way = Way.via(
      .http("a:1", user: "gateway", password: "hidden"), .socks5("b:2", resolvesNames: true), from: "10.0.0.2",
      prefer: .ipv4)
    #expect("\(way)" == "via http a:1, then socks5 b:2 (resolves names) from 10.0.0.2 preferring ipv4")
    #expect("\(Way.direct)" == "direct")
    var dumped = ""
    dump(way, to: &dumped)
    #expect(!dumped.contains("hidden"))
    #expect(!dumped.contains("\(Array("hidden".utf8)[0])\n"))
  }

  @Test func thePreferenceOrdersAndLeavesOut() {
    let all = addresses("[2001:db8::1]:1", "1.1.1.1:1", "[2001:db8::2]:1", "2.2.2.2:1")
    let v6 = addresses("[2001:db8::1]:1", "[2001:db8::2]:1")
    let v4 = addresses("1.1.1.1:1", "2.2.2.2:1")
    let cases: [(Way.Family, [SocketAddress])] = [
      (.resolver, all), (.ipv4, v4 + v6), (.ipv6, v6 + v4), (.ipv4Only, v4), (.ipv6Only, v6),
    ]
    for (family, expected) in cases { #expect(Way.direct(prefer: family).preferred(all) == expected) }
    #expect(Way.direct(prefer: .ipv6Only).preferred([.unix("/s")]) == [.unix("/s")])
  }

  @Test func aSourceLeavesOutTheOtherFamily() {
    let all = addresses("[2001:db8::1]:1", "1.1.1.1:1")
    #expect(Way.direct(from: "10.0.0.2").dialable(all) == addresses("1.1.1.1:1"))
    #expect(Way.direct(from: "2001:db8::9").dialable(all) == addresses("[2001:db8::1]:1"))
    #expect(Way.direct(from: "10.0.0.2", "2001:db8::9").dialable(all) == all)
    #expect(Way.direct(from: "10.0.0.2").dialable([.unix("/s")]) == [.unix("/s")])
  }

  // MARK: Names that a far proxy resolves

  @Test func aNameIsApprovedByNameAndPortAlone() throws {
    let policy = AddressPolicy(
      [
        .deny(host: "bad.example.com"), .deny(block: "10.0.0.0/8"), .allow(host: "*.example.com", ports: 443...443),
        .deny(ports: 25...25),
      ], otherwise: .publicOnly)
    let approved = try policy.approve(unresolved: Endpoint("shop.example.com:443")!)
    #expect(approved.isName)
    #expect(approved.endpoint == Endpoint("shop.example.com:443"))
    #expect(try policy.approve(unresolved: Endpoint("other.test:80")!).isName)
    for text in ["bad.example.com:443", "other.test:25", "other.test:0", "localhost:80", "db.localhost:80"] {
      let rejection = #expect(throws: Rejection.self) { try policy.approve(unresolved: Endpoint(text)!) }
      #expect(rejection?.kind == .forbidden, "\(text)")
    }
    let listed = AddressPolicy([.allow(host: "a.test")], otherwise: .deny)
    #expect(try listed.approve(unresolved: Endpoint("a.test:1")!).isName)
    #expect(throws: Rejection.self) { try listed.approve(unresolved: Endpoint("b.test:1")!) }
  }

  @Test func whatAFarProxyMayReadAsAnAddressIsNoName() {
    for text in ["127.1:80", "2130706433:80", "0x7f000001:80", "1.2.3.0x4:80", "a.0x:80", "example.1:80"] {
      let rejection = #expect(throws: Rejection.self) {
        try AddressPolicy.anything.approve(unresolved: Endpoint(text)!)
      }
      #expect(rejection?.detail.contains("ends in a number") == true, "\(text)")
    }
    for text in ["a1:80", "1a.test:80", "0xg.test:80", "x.0y:80"] {
      #expect(throws: Never.self) { try AddressPolicy.anything.approve(unresolved: Endpoint(text)!) }
    }
  }

  @Test func anAddressIsJudgedAsEverAlsoOnTheWayToAFarProxy() throws {
    let public8 = try AddressPolicy.publicOnly.approve(unresolved: Endpoint("8.8.8.8:53")!)
    #expect(public8.addresses == addresses("8.8.8.8:53"))
    let rejection = #expect(throws: Rejection.self) {
      try AddressPolicy.publicOnly.approve(unresolved: Endpoint("127.0.0.1:53")!)
    }
    #expect(rejection?.kind == .forbidden)
  }
}
