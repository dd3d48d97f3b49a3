import Pipeline
import PipelineTesting
import Testing

@testable import Transports

/// A client keeps its backend by a cookie.
@Suite struct StickyTests {
  private let strategy = LoadBalancing.sticky(StickyCookie("route", secret: Secret("s")), otherwise: .roundRobin)

  /// The cookie of the backend that serves a client without one, and its port.
  private func firstVisit(_ world: GroupWorld) async throws -> (port: Int, cookie: String) {
    let exchange = world.exchange()
    let port = try await world.serve(exchange)
    let text = try #require(exchange.affinityCookie)
    #expect(text.hasSuffix("; Path=/; HttpOnly; SameSite=Lax"))
    return (port, String(text.prefix { $0 != ";" }))
  }

  @Test func aClientKeepsTheBackendThatItsCookieNames() async throws {
    let world = GroupWorld(strategy, to: GroupWorld.backends(3))
    let (port, cookie) = try await firstVisit(world)
    for _ in 0..<5 {
      let exchange = world.exchange(["cookie": "a=b; \(cookie); route2=0"])
      #expect(try await world.serve(exchange) == port)
      // It has it already.
      #expect(exchange.affinityCookie == nil)
    }
  }

  @Test func aClientWhoseBackendIsGoneIsGivenAnotherOne() async throws {
    let world = GroupWorld(strategy, to: GroupWorld.backends(3))
    let (port, cookie) = try await firstVisit(world)
    try world.group.disable("127.0.0.1:\(port)")
    let exchange = world.exchange(["cookie": cookie])
    #expect(try await world.serve(exchange) != port)
    #expect(exchange.affinityCookie != nil)
  }

  @Test func aDrainingBackendKeepsTheClientsThatItHasAndGetsNoOthers() async throws {
    let world = GroupWorld(strategy, to: GroupWorld.backends(2))
    let (port, cookie) = try await firstVisit(world)
    try world.group.drain("127.0.0.1:\(port)")
    #expect(try await world.serve(world.exchange(["cookie": cookie])) == port)
    for _ in 0..<4 { #expect(try await world.serve() != port) }
  }

  @Test func aRetryGoesElsewhereAndTakesTheCookieAlong() async throws {
    let world = GroupWorld(strategy, to: GroupWorld.backends(2))
    let (port, cookie) = try await firstVisit(world)
    world.port(port, .fails(Rejection(.connectionRefused)))
    let exchange = world.exchange(["cookie": cookie])
    #expect(await world.refusal(exchange)?.kind == .connectionRefused)
    #expect(try await world.serve(exchange) != port)
    #expect(exchange.affinityCookie != nil)
  }

  @Test func noCookieNamesABackendThatHasNotServed() async throws {
    let world = GroupWorld(strategy, to: GroupWorld.backends(2))
    for port in 1...2 { world.port(port, .fails(Rejection(.connectionRefused))) }
    let exchange = world.exchange()
    #expect(await world.refusal(exchange)?.kind == .connectionRefused)
    // A fallback may answer now, and the client shall not be sent to the one that failed.
    #expect(exchange.affinityCookie == nil)
  }

  @Test(arguments: [
    "route=", "route=00", "route=zzzzzzzzzzzzzzzz", "route=0000000000000000", "xroute=1", "route", ";;;", "=",
    "route=0123456789abcdef0",
  ])
  func aCookieThatIsNoneIsPassedOver(_ text: String) async throws {
    let world = GroupWorld(strategy, to: GroupWorld.backends(2))
    let exchange = world.exchange(["cookie": text])
    try await world.serve(exchange)
    #expect(exchange.affinityCookie != nil)
  }

  @Test func theCookieDoesNotSayTheBackendsNameAndDependsOnTheSecret() {
    let (one, other) = (StickyCookie("route", secret: Secret("1")), StickyCookie("route", secret: Secret("2")))
    #expect(one.token(of: "10.0.0.1:80") != other.token(of: "10.0.0.1:80"))
    let text = StickyCookie("route", lifetime: .seconds(60)).text(for: 5, isSecure: true)
    #expect(text == "route=0000000000000005; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure")
  }
}
