import Pipeline
import Testing

@testable import ExampleApp

@Suite struct AdminHTTPTests {
  private func place(_ arguments: String...) -> String {
    do {
      let flags = try ParsedFlags(arguments, declared: AdminSettings.httpFlags, operands: [])
      switch try AdminSettings.http(flags) {
      case .http(let address, let names): return ([address.description] + names).joined(separator: " ")
      case .socket(let path): return path
      case nil: return "off"
      }
    } catch {
      return "\(error)"
    }
  }

  @Test func itIsOnThisMachineAloneUnlessSaidOtherwise() {
    #expect(place() == "127.0.0.1:9901")
    #expect(place("--admin-http", "off") == "off")
    #expect(place("--admin-http", "localhost:80") == "127.0.0.1:80")
    #expect(place("--admin-http", ":9901", "--admin-http-host", "sluice.internal") == "0.0.0.0:9901 sluice.internal")
    #expect(
      place("--admin-http", "unix:/x")
        == "--admin-http: \"unix:/x\" is not allowed; allowed is 1.2.3.4:9901, [::1]:9901, :9901, localhost:9901 or off"
    )
    #expect(
      place("--admin-http-host", "a b") == "--admin-http-host: \"a b\" is not allowed; allowed is the name of a host")
  }

  @Test func whoeverElseCanAskIsSaidAtTheStart() {
    func warning(_ address: String) -> String? {
      SocketAddress(address).flatMap { AdminSettings.warning(about: .http($0, names: [])) }
    }
    #expect(warning("127.0.0.1:1") == nil && warning("[::1]:1") == nil)
    #expect(
      warning("0.0.0.0:1")
        == "--admin-http 0.0.0.0:1: everybody who can connect sees metrics and clients' addresses, and can drain upstreams"
    )
  }

  /// DNS rebinding: a page's own name points here, and its scripts ask for that name.
  @Test(arguments: [
    ("127.0.0.1", true), ("[::1]", true), ("192.0.2.7", true), ("localhost", true), ("sluice.internal", true),
    ("evil.example", false), ("localhost.evil.example", false), ("127.0.0.1.evil.example", false), ("", false),
    (nil, false),
  ])
  func aNameThatNobodySaidIsRefused(host: String?, isKnown: Bool) {
    #expect(AdminGuard(names: ["Sluice.Internal"]).isKnown(host) == isKnown)
  }
}
