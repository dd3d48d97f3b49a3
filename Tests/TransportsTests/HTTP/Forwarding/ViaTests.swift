import Pipeline
import Testing

@testable import Transports

@Suite struct ViaTests {
  @Test func viaIsContinuedWithTheVersionThatCameIn() throws {
    let bench = ForwardingBench { $0.forwarding = [] }
    #expect(
      try bench.forwarded(requestHead(["via: 1.0 fred", "Via: 1.1 p.example (x, y)"]))
        == ["via: 1.0 fred, 1.1 p.example (x, y), 1.1 sluice"])
    #expect(try bench.forwarded(requestHead([], version: .http10)) == ["via: 1.0 sluice"])
    #expect(try bench.forwarded(requestHead(["via:"])) == ["via: 1.1 sluice"])
  }

  @Test func responsesCarryTheOriginsVersion() {
    #expect(
      ForwardingBench().respond(["server: x", "via: 1.1 edge"]) == ["server: x", "via: 1.1 edge", "via: 1.1 sluice"])
    #expect(ForwardingBench().respond([], version: .http10) == ["via: 1.0 sluice"])
  }

  @Test(arguments: [
    "1.1 sluice", "1.0 sluice", "HTTP/1.1 sluice", "1.1 fred, 1.1 SLUICE (Debian)", "1.1 (, 1.1 sluice",
    "  1.1\tsluice ",
    "1.0 a,1.1 sluice,1.1 b",
  ])
  func aRequestThatWasHereBeforeIsALoop(via: String) {
    let failure = #expect(throws: Rejection.self) { try ForwardingBench().client(of: requestHead(["via: \(via)"])) }
    #expect(failure?.kind == .loopDetected)
  }

  @Test(arguments: ["1.1 sluice2", "1.1 my-sluice", "1.1 sluice:80", "sluice", "1.1", "", ",,", "1.1 other (sluice)"])
  func otherNamesAreNoLoop(via: String) throws {
    #expect(try ForwardingBench().client(of: requestHead(["via: \(via)"])) == "192.0.2.7")
  }

  @Test func tooManyProxiesAreALoop() {
    let names = (0...Hops.most).map { "1.1 p\($0)" }
    let failure = #expect(throws: Rejection.self) {
      try ForwardingBench().client(of: requestHead(names.map { "via: \($0)" }))
    }
    #expect(failure?.kind == .loopDetected)
    #expect(throws: Never.self) {
      try ForwardingBench().client(of: requestHead([names.dropLast().joined(separator: ", ")].map { "via: \($0)" }))
    }
  }

  @Test func listenersWithoutANameOfTheirOwnHaveDifferentOnes() {
    let names = (0..<100).map { _ in ForwardingRules(HTTPOptions()).name }
    #expect(Set(names).count == 100)
    for name in names {
      #expect(name.starts(with: Array("sluice-".utf8)))
      #expect(name.count == 15 && name.allSatisfy(isToken))
    }
  }

  @Test(arguments: ["", "a b", "a,b", "é", "a\r\nx: y"])
  func aNameThatIsNoTokenIsRefused(name: String) {
    var options = HTTPOptions()
    options.viaName = name
    #expect(ForwardingRules.problem(with: options)?.contains("http.viaName \"\(name)\"") == true)
  }
}
