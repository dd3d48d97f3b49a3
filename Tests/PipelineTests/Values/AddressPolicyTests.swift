import Pipeline
import Testing

@Suite struct AddressPolicyTests {
  private let site = Endpoint("shop.example.com:443")!

  private func ips(_ texts: String...) -> [IPAddress] { texts.map { IPAddress($0)! } }

  @Test func onlyTheAllowedAddressesOfANameAreApproved() throws {
    let approved = try AddressPolicy.publicOnly.approve(site, resolved: ips("8.8.8.8", "127.0.0.1", "169.254.169.254"))
    #expect(approved.addresses == [.ip(IPAddress("8.8.8.8")!, port: 443)])
    #expect(approved.endpoint == site)
  }

  @Test func aNameThatResolvesToPrivateAddressesOnlyIsForbidden() {
    let rejection = #expect(throws: Rejection.self) {
      try AddressPolicy.publicOnly.approve(site, resolved: ips("10.0.0.1"))
    }
    #expect(rejection?.kind == .forbidden)
    #expect(rejection?.detail.contains("10.0.0.1") == true)
  }

  @Test func theFirstRuleThatMatchesDecides() throws {
    let policy = AddressPolicy([
      .deny(host: "*.example.com", ports: 0...442), .allow(host: "*.Example.com"), .allow(block: "10.1.0.0/16"),
      .deny(ports: 25...25),
    ])
    #expect(policy.allows(site, at: IPAddress("8.8.8.8")!))
    #expect(!policy.allows(Endpoint("shop.example.com:80")!, at: IPAddress("8.8.8.8")!))
    #expect(!policy.allows(Endpoint("example.com:443")!, at: IPAddress("10.0.0.1")!))
    #expect(policy.allows(Endpoint("10.1.2.3:80")!, at: IPAddress("10.1.2.3")!))
    #expect(!policy.allows(Endpoint("8.8.8.8:25")!, at: IPAddress("8.8.8.8")!))
    #expect(policy.allows(Endpoint("8.8.8.8:26")!, at: IPAddress("8.8.8.8")!))
  }

  @Test func anAllowedNameCannotBePointedAtAPrivateAddressUnlessItsBlockIsAllowed() {
    let byName = AddressPolicy([.allow(host: "*.example.com")])
    let byBlock = AddressPolicy([.allow(host: "*.example.com", block: "10.0.0.0/8")])
    let anything = AddressPolicy([.allow(host: "*.example.com")], otherwise: .allow)
    for address in ips("10.0.0.1", "127.0.0.1", "169.254.169.254", "::1") {
      #expect(!byName.allows(site, at: address))
      #expect(anything.allows(site, at: address))
    }
    #expect(byName.allows(site, at: IPAddress("8.8.8.8")!))
    #expect(byBlock.allows(site, at: IPAddress("10.0.0.1")!))
    #expect(!byBlock.allows(site, at: IPAddress("127.0.0.1")!))
  }

  @Test func denyingOtherwiseIsAnAllowList() {
    let policy = AddressPolicy([.allow(host: "shop.example.com", ports: 443...443)], otherwise: .deny)
    #expect(policy.allows(site, at: IPAddress("8.8.8.8")!))
    #expect(!policy.allows(Endpoint("8.8.8.8:443")!, at: IPAddress("8.8.8.8")!))
  }

  @Test func portZeroAndUnresolvedNamesAreRefused() {
    let zero = #expect(throws: Rejection.self) {
      try AddressPolicy.anything.approve(Endpoint("8.8.8.8:0")!, resolved: ips("8.8.8.8"))
    }
    #expect(zero?.kind == .forbidden)
    let none = #expect(throws: Rejection.self) { try AddressPolicy.anything.approve(site, resolved: []) }
    #expect(none?.kind == .nameNotFound)
  }

  @Test func theStandardDependsOnWhoCanReachTheListener() {
    func standard(_ address: String) -> AddressPolicy {
      AddressPolicy.standard(for: ListenerInfo(name: "x", transport: "tcp", address: SocketAddress(address)!))
    }
    #expect(standard("127.0.0.1:1") == .anything)
    #expect(standard("[::]:1") == .publicOnly)
    #expect(standard("192.168.1.1:1") == .publicOnly)
  }
}
