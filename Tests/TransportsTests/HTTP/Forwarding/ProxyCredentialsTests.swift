import Pipeline
import Testing

@testable import Transports

@Suite struct ProxyCredentialsTests {
  private let head = requestHead(
    .get, "http://a/", ["host: a", "Proxy-Authorization: Basic eDp5", "authorization: Bearer t"])

  @Test func credentialsForTheProxyEndHere() throws {
    let kept = ["host: a", "authorization: Bearer t", "via: 1.1 sluice"]
    #expect(try ForwardingBench().forwarded(head, toStranger: true) == kept)
    #expect(try ForwardingBench().forwarded(head, toStranger: true, hasPrincipal: true) == kept)
    #expect(try ForwardingBench().forwarded(head, toStranger: true, toProxy: true, hasPrincipal: true) == kept)
  }

  @Test func credentialsThatNobodyUsedGoToTheNextProxy() throws {
    let lines = try ForwardingBench().forwarded(head, toStranger: true, toProxy: true)
    #expect(lines.contains("proxy-authorization: Basic eDp5"))
  }

  @Test func anOriginCannotAskForThem() {
    let fields = ["Proxy-Authenticate: Basic realm=x", "proxy-authentication-info: y", "www-authenticate: z"]
    #expect(ForwardingBench().respond(fields) == ["www-authenticate: z", "via: 1.1 sluice"])
    #expect(ForwardingBench().respond(fields, fromProxy: true) == fields + ["via: 1.1 sluice"])
  }

  @Test func theBackendIsNamedOnlyOnRequest() {
    #expect(
      ForwardingBench().respond(["x-backend-url: http://other"]) == ["x-backend-url: http://other", "via: 1.1 sluice"])
    let bench = ForwardingBench { $0.forwarding.insert(.backendURL) }
    #expect(bench.respond(["X-Backend-URL: http://other"]) == ["via: 1.1 sluice", "x-backend-url: http://10.0.0.1:80"])
  }
}
