import Pipeline
import Testing

@testable import Transports

@Suite struct ProxyProtocolWriterTests {
  private func header(_ version: ProxyProtocolVersion, _ source: String, _ destination: String?) -> [UInt8] {
    var out: [UInt8] = [1]
    ProxyProtocolWriter.append(
      version, source: clientAddress(source), destination: destination.flatMap { SocketAddress($0) }, to: &out)
    return Array(out.dropFirst())
  }

  @Test func linesAreWritten() {
    func line(_ source: String, _ destination: String?) -> String {
      String(decoding: header(.v1, source, destination), as: UTF8.self)
    }
    #expect(line("192.0.2.1:4711", "198.51.100.2:443") == "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n")
    #expect(line("[2001:db8::1]:1", "[::1]:2") == "PROXY TCP6 2001:db8::1 ::1 1 2\r\n")
    #expect(line("192.0.2.1:4711", "[::1]:443") == "PROXY TCP6 ::ffff:192.0.2.1 ::1 4711 443\r\n")
    #expect(line("[::1]:1", "192.0.2.1:2") == "PROXY TCP6 ::1 ::ffff:192.0.2.1 1 2\r\n")
    #expect(line("unix", "192.0.2.1:2") == "PROXY UNKNOWN\r\n")
    #expect(line("192.0.2.1:4711", "unix:/run/x") == "PROXY UNKNOWN\r\n")
    #expect(line("192.0.2.1:4711", nil) == "PROXY UNKNOWN\r\n")
  }

  @Test func binaryHeadersAreWritten() {
    #expect(header(.v2, "192.0.2.1:4711", "198.51.100.2:443") == Headers.v2(0x11, Headers.v4))
    #expect(header(.v2, "[2001:db8::1]:4711", "[2001:db8::2]:443") == Headers.v2(0x21, Headers.v6))
    #expect(header(.v2, "unix", "192.0.2.1:2") == Headers.v2(0x00, []))
  }

  @Test(arguments: [ProxyProtocolVersion.v1, .v2]) func whatIsWrittenIsRead(version: ProxyProtocolVersion) throws {
    for (source, destination) in [
      ("192.0.2.1:4711", "198.51.100.2:443"), ("[2001:db8::1]:4711", "[2001:db8::2]:443"),
      ("192.0.2.1:4711", "[2001:db8::2]:443"),
    ] {
      let bytes = header(version, source, destination)
      var parser = ProxyProtocolParser()
      guard case .complete(let read, let length) = try parser.parse(bytes.span),
        case .ip(let from, let fromPort, let to, let toPort) = read.addresses
      else {
        Issue.record("not read: \(bytes)")
        continue
      }
      #expect(length == bytes.count)
      #expect("\(SocketAddress.ip(from, port: fromPort))" == source)
      #expect("\(SocketAddress.ip(to, port: toPort))" == destination)
    }
  }
}
