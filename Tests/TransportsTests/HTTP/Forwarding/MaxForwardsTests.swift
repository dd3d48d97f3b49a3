import Pipeline
import Testing

@testable import Transports

@Suite struct MaxForwardsTests {
  @Test(arguments: [("3", "2"), ("1", "0"), ("007", "6"), ("999999999999999999", "1000000")])
  func itIsDecrementedForTraceAndOptions(came: String, goes: String) throws {
    let bench = ForwardingBench { $0.forwarding = [] }
    for method in [HTTPMethod.trace, .options] {
      let head = requestHead(method, "/", ["max-forwards: \(came)"])
      #expect(try Forwarder.turn(of: head) == .forward)
      #expect(try bench.forwarded(head) == ["via: 1.1 sluice", "max-forwards: \(goes)"])
    }
  }

  @Test func otherMethodsCarryItOn() throws {
    for value in ["0", "5", "x"] {
      let head = requestHead(.get, "/", ["max-forwards: \(value)"])
      #expect(try Forwarder.turn(of: head) == .forward)
      #expect(
        try ForwardingBench { $0.forwarding = [] }.forwarded(head) == ["via: 1.1 sluice", "max-forwards: \(value)"])
    }
  }

  @Test func optionsAtItsEndIsAnsweredHere() throws {
    #expect(
      try Forwarder.turn(of: requestHead(.options, "*", ["max-forwards: 0"]))
        == .answer(status: 204, contentType: "", body: []))
  }

  @Test func traceAtItsEndShowsTheRequestWithoutItsSecrets() throws {
    let head = requestHead(
      .trace, "/a?b",
      ["host: x", "Max-Forwards: 0", "Cookie: c", "authorization: a", "Proxy-Authorization: p", "via: 1.1 q"])
    let body = "TRACE /a?b HTTP/1.1\r\nhost: x\r\nMax-Forwards: 0\r\nvia: 1.1 q\r\n\r\n"
    #expect(try Forwarder.turn(of: head) == .answer(status: 200, contentType: "message/http", body: Array(body.utf8)))
  }

  @Test(arguments: [
    ["max-forwards: x"], ["max-forwards: -1"], ["max-forwards:"], ["max-forwards: 1", "max-forwards: 1"],
    ["max-forwards: 1, 1"], ["max-forwards: 1000000000000000000"],
  ])
  func whatIsNoNumberIsRefusedWhereItCounts(fields: [String]) {
    let failure = #expect(throws: Rejection.self) { try Forwarder.turn(of: requestHead(.options, "*", fields)) }
    #expect(failure?.kind == .malformed)
  }
}
