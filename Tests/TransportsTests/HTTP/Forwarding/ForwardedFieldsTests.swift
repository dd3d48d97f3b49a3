import Pipeline
import Testing

@testable import Transports

@Suite struct ForwardedFieldsTests {
  @Test func anOriginIsToldOfTheClient() throws {
    let lines = try ForwardingBench().forwarded(requestHead(["host: example.com", "accept: */*"]))
    #expect(
      lines == [
        "host: example.com", "accept: */*", "via: 1.1 sluice", "forwarded: for=192.0.2.7;host=example.com;proto=http",
        "x-forwarded-for: 192.0.2.7", "x-forwarded-proto: http", "x-forwarded-host: example.com",
      ])
  }

  @Test func anIPv6ClientStandsInBracketsAndQuotationMarks() throws {
    var bench = ForwardingBench()
    bench.peer = clientAddress("[2001:db8::7]:4711")
    let lines = try bench.forwarded(requestHead(["host: example.com:8080"]))
    #expect(lines.contains("forwarded: for=\"[2001:db8::7]\";host=\"example.com:8080\";proto=http"))
    #expect(lines.contains("x-forwarded-for: 2001:db8::7"))
    #expect(lines.contains("x-forwarded-host: example.com:8080"))
  }

  @Test func aUnixClientIsUnknown() throws {
    var bench = ForwardingBench()
    bench.peer = clientAddress("unix")
    let lines = try bench.forwarded(requestHead(["host: a"]))
    #expect(lines.contains("forwarded: for=unknown;host=a;proto=http"))
    #expect(lines.contains("x-forwarded-for: unknown"))
  }

  @Test func whatAnUnknownPeerSaysIsDropped() throws {
    let lines = try ForwardingBench(trusting: ["10.0.0.0/8"]).forwarded(
      requestHead([
        "host: a", "Forwarded: for=6.6.6.6", "X-Forwarded-For: 6.6.6.6", "x-forwarded-proto: https",
        "X-FORWARDED-HOST: evil", "x-forwarded-port: 1", "x-forwarded-prefix: /x", "X-Forwarded-By: me",
        "x-forwardedfor: kept",
      ]))
    #expect(
      lines == [
        "host: a", "x-forwardedfor: kept", "via: 1.1 sluice", "forwarded: for=192.0.2.7;host=a;proto=http",
        "x-forwarded-for: 192.0.2.7", "x-forwarded-proto: http", "x-forwarded-host: a",
      ])
  }

  @Test func whatATrustedPeerSaysIsKeptAndContinued() throws {
    let lines = try ForwardingBench(trusting: ["192.0.2.0/24"]).forwarded(
      requestHead([
        "host: inner", "forwarded: for=198.51.100.1;proto=https", "x-forwarded-for: 203.0.113.9",
        "X-Forwarded-For: 198.51.100.1", "x-forwarded-proto: https", "x-forwarded-host: outer",
        "x-forwarded-port: 443",
      ]))
    #expect(
      lines == [
        "host: inner", "x-forwarded-port: 443", "via: 1.1 sluice",
        "forwarded: for=198.51.100.1;proto=https, for=192.0.2.7;host=inner;proto=http",
        "x-forwarded-for: 203.0.113.9, 198.51.100.1, 192.0.2.7", "x-forwarded-proto: https", "x-forwarded-host: outer",
      ])
  }

  @Test func onlyTheFieldsThatTheOptionsNameAreWritten() throws {
    let none = try ForwardingBench { $0.forwarding = [] }.forwarded(requestHead(["host: a"]))
    #expect(none == ["host: a", "via: 1.1 sluice"])
    let by = try ForwardingBench { $0.forwarding = [.forwardedBy] }.forwarded(requestHead(["host: a"]))
    #expect(by == ["host: a", "via: 1.1 sluice", "x-forwarded-by: sluice"])
  }

  @Test func aTrustedPeersFieldsPassEvenIfNoneAreWritten() throws {
    let lines = try ForwardingBench(trusting: ["192.0.2.7"]) { $0.forwarding = [] }.forwarded(
      requestHead(["x-forwarded-for: 198.51.100.1", "x-forwarded-by: edge"]))
    #expect(lines == ["via: 1.1 sluice", "x-forwarded-for: 198.51.100.1", "x-forwarded-by: edge"])
  }

  @Test func theHostIsTheOneThatTheClientNamed() throws {
    let bench = ForwardingBench()
    var head = requestHead(["host: outer"])
    let forwarder = Forwarder(ForwardingRules(bench.options), peer: bench.peer)
    _ = try forwarder.receive(&head)
    head.fields.set("host", "inner")
    let lines = bench.lines(of: head, by: forwarder)
    #expect(lines.contains("host: inner"))
    #expect(lines.contains("x-forwarded-host: outer"))
  }

  @Test func aForwardProxyTellsOriginsNothingOfItsClients() throws {
    let lines = try ForwardingBench().forwarded(
      requestHead(.get, "http://example.com/", ["host: example.com", "x-forwarded-for: 6.6.6.6"]), toStranger: true)
    #expect(lines == ["host: example.com", "via: 1.1 sluice"])
  }

  @Test func noFormOfTheTargetHidesAReverseProxysClient() throws {
    let lines = try ForwardingBench().forwarded(requestHead(.get, "http://example.com/", ["host: example.com"]))
    #expect(lines.contains("x-forwarded-for: 192.0.2.7"))
  }

  @Test func aRetryWritesTheSameAgain() throws {
    let bench = ForwardingBench(trusting: ["192.0.2.7"])
    var head = requestHead(["host: a", "via: 1.1 edge", "x-forwarded-for: 198.51.100.1"])
    let forwarder = Forwarder(ForwardingRules(bench.options), peer: bench.peer)
    _ = try forwarder.receive(&head)
    let first = bench.lines(of: head, by: forwarder)
    #expect(bench.lines(of: head, by: forwarder) == first)
  }

  @Test func theNextRequestOnTheConnectionHasItsOwnHost() throws {
    let bench = ForwardingBench()
    let forwarder = Forwarder(ForwardingRules(bench.options), peer: bench.peer)
    for host in ["a.example", "b", ""] {
      var head = requestHead(host.isEmpty ? [] : ["host: \(host)"])
      _ = try forwarder.receive(&head)
      let lines = bench.lines(of: head, by: forwarder)
      #expect(lines.contains("x-forwarded-host: \(host)") == !host.isEmpty)
      #expect(lines.contains(host.isEmpty ? "forwarded: for=192.0.2.7;proto=http" : "host: \(host)"))
    }
  }

  /// Of a head that the parser has looked at, whose lines are not gone through again, what was written last is used again.
  @Test func theNextParsedRequestOnTheConnectionHasItsOwnHost() throws {
    let bench = ForwardingBench()
    let forwarder = Forwarder(ForwardingRules(bench.options), peer: bench.peer)
    for host in ["a.example", "a.example", "b", "", "b", "b.example", "", "", "a.example"] {
      var parser = RequestHeadParser(HTTPOptions())
      var head = HTTPRequestHead(method: .get, target: "")
      var framing = RequestFraming()
      let text = host.isEmpty ? "GET / HTTP/1.0\r\n\r\n" : "GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n"
      _ = try Array(text.utf8).withUnsafeBytes { try parser.parse($0, into: &head, &framing) }
      #expect(KnownNames(of: head.fields) != nil)
      _ = try forwarder.receive(&head)
      let own = bench.lines(of: head, by: forwarder).filter { !$0.hasPrefix("Host: ") }
      // A connection of its own has nothing to use again.
      #expect(own == bench.lines(of: head, by: try newForwarder(bench, &head)).filter { !$0.hasPrefix("Host: ") })
      #expect(own.contains("x-forwarded-host: \(host)") == !host.isEmpty)
      #expect(own.filter { $0.hasPrefix("x-forwarded-host:") }.count == (host.isEmpty ? 0 : 1))
    }
  }

  private func newForwarder(_ bench: ForwardingBench, _ head: inout HTTPRequestHead) throws -> Forwarder {
    let forwarder = Forwarder(ForwardingRules(bench.options), peer: bench.peer)
    _ = try forwarder.receive(&head)
    return forwarder
  }
}
