import Pipeline
import Testing

@testable import Transports

/// Headers as bytes, without our own writer.
enum Headers {
  static func v2(_ family: UInt8, _ body: [UInt8], length: Int? = nil) -> [UInt8] {
    v2(0x21, family, body, length: length)
  }

  static func v2(_ command: UInt8, _ family: UInt8, _ body: [UInt8], length: Int? = nil) -> [UInt8] {
    let length = length ?? body.count
    return [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, command, family]
      + [UInt8(length >> 8), UInt8(length & 255)] + body
  }

  static let v4: [UInt8] = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 0x01, 0xbb]
  static let v6: [UInt8] =
    [0x20, 0x01, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [1] + [0x20, 0x01, 0x0d, 0xb8]
    + [UInt8](repeating: 0, count: 11) + [2] + [0x12, 0x67, 0x01, 0xbb]

  static func line(_ text: String) -> [UInt8] { Array("\(text)\r\n".utf8) }

  /// A header with a checksum record, and with the right sum if `xor` is 0.
  static func withChecksum(_ before: [UInt8] = [], xor: UInt8 = 0) -> [UInt8] {
    var bytes = v2(0x21, 0x11, v4 + before + [0x03, 0, 4, 0, 0, 0, 0])
    var sum = CRC32C()
    for byte in bytes { sum.add(byte) }
    for i in 0..<4 { bytes[bytes.count - 4 + i] = UInt8(truncatingIfNeeded: sum.value >> UInt32(24 - 8 * i)) }
    bytes[bytes.count - 1] ^= xor
    return bytes
  }
}

@Suite struct ProxyProtocolParserTests {
  typealias Addresses = ProxyProtocolHeader.Addresses

  static func ip(_ source: String, _ port: UInt16, _ destination: String, _ destinationPort: UInt16) -> Addresses {
    .ip(
      source: IPAddress(source)!, sourcePort: port, destination: IPAddress(destination)!,
      destinationPort: destinationPort)
  }

  struct Good: Sendable, CustomTestStringConvertible {
    var name: String
    var bytes: [UInt8]
    var addresses: Addresses
    var testDescription: String { name }
  }

  static let good: [Good] = [
    Good(
      name: "v1 IPv4", bytes: Headers.line("PROXY TCP4 192.0.2.1 198.51.100.2 4711 443"),
      addresses: ip("192.0.2.1", 4711, "198.51.100.2", 443)),
    Good(
      name: "v1 IPv6", bytes: Headers.line("PROXY TCP6 2001:db8::1 2001:DB8:0:0::2 0 65535"),
      addresses: ip("2001:db8::1", 0, "2001:db8::2", 65535)),
    Good(
      name: "v1 IPv6, mapped", bytes: Headers.line("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2"),
      addresses: ip("192.0.2.1", 1, "::1", 2)),
    Good(
      name: "v1 IPv6, as long as it can be",
      bytes: Headers.line(
        "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535"),
      addresses: ip(
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)),
    Good(name: "v1 unknown", bytes: Headers.line("PROXY UNKNOWN"), addresses: .ownOnes),
    Good(
      name: "v1 unknown, 107 bytes", bytes: Headers.line("PROXY UNKNOWN " + String(repeating: "f", count: 91)),
      addresses: .ownOnes),
    Good(
      name: "v2 IPv4", bytes: Headers.v2(0x11, Headers.v4), addresses: ip("192.0.2.1", 4711, "198.51.100.2", 443)),
    Good(
      name: "v2 IPv6", bytes: Headers.v2(0x21, Headers.v6), addresses: ip("2001:db8::1", 4711, "2001:db8::2", 443)),
    Good(name: "v2 local", bytes: Headers.v2(0x20, 0x00, []), addresses: .ownOnes),
    Good(
      name: "v2 local, with a family and bytes that mean nothing", bytes: Headers.v2(0x20, 0x12, [1, 2, 3]),
      addresses: .ownOnes),
    Good(name: "v2 unspecified", bytes: Headers.v2(0x00, []), addresses: .ownOnes),
    Good(name: "v2 Unix", bytes: Headers.v2(0x31, [UInt8](repeating: 65, count: 216)), addresses: .ownOnes),
    Good(
      name: "v2 with records", bytes: Headers.v2(0x11, Headers.v4 + [0x02, 0, 1, 97, 0x04, 0, 0, 0xea, 0, 2, 1, 2]),
      addresses: ip("192.0.2.1", 4711, "198.51.100.2", 443)),
    Good(
      name: "v2 with a checksum", bytes: Headers.withChecksum([0x04, 0, 1, 9]),
      addresses: ip("192.0.2.1", 4711, "198.51.100.2", 443)),
    Good(
      name: "v2, as long as it may be",
      bytes: Headers.v2(0x11, Headers.v4 + [0x04, 0x0f, 0xe1] + [UInt8](repeating: 0, count: 0xfe1)),
      addresses: ip("192.0.2.1", 4711, "198.51.100.2", 443)),
  ]

  private func header(_ bytes: [UInt8]) throws -> (ProxyProtocolHeader, Int)? {
    var parser = ProxyProtocolParser()
    guard case .complete(let header, let length) = try parser.parse(bytes.span) else { return nil }
    return (header, length)
  }

  @Test(arguments: good) func aHeaderIsRead(good: Good) throws {
    let (header, length) = try #require(try header(good.bytes))
    #expect(header.addresses == good.addresses)
    #expect(length == good.bytes.count)
    #expect(header.version == (good.name.hasPrefix("v1") ? .v1 : .v2))
  }

  @Test(arguments: good) func whatFollowsIsTheClients(good: Good) throws {
    let (header, length) = try #require(try header(good.bytes + good.bytes))
    #expect(header.addresses == good.addresses)
    #expect(length == good.bytes.count)
  }

  @Test(arguments: good) func byteByByteIsTheSame(good: Good) throws {
    var parser = ProxyProtocolParser()
    for end in 0..<good.bytes.count {
      #expect(try parser.parse(good.bytes.span.extracting(0..<end)) == .incomplete)
    }
    #expect(
      try parser.parse(good.bytes.span)
        == .complete(
          ProxyProtocolHeader(version: good.name.hasPrefix("v1") ? .v1 : .v2, addresses: good.addresses),
          length: good.bytes.count))
  }

  @Test(arguments: good) func everySplitIsTheSame(good: Good) throws {
    for cut in stride(from: 0, to: good.bytes.count, by: max(1, good.bytes.count / 120)) {
      var parser = ProxyProtocolParser()
      #expect(try parser.parse(good.bytes.span.extracting(0..<cut)) == .incomplete)
      let rest = good.bytes + [1, 2, 3]
      guard case .complete(let header, let length) = try parser.parse(rest.span) else {
        Issue.record("not complete after a cut at \(cut)")
        continue
      }
      #expect(header.addresses == good.addresses)
      #expect(length == good.bytes.count)
    }
  }

  static let badLines = [
    "GET / HTTP/1.1", "PROXY", "PROXY ", "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2", "proxy TCP4 192.0.2.1 192.0.2.2 1 2",
    "PROXY TCP4", "PROXY TCP4 192.0.2.1", "PROXY TCP4 192.0.2.1 192.0.2.2", "PROXY TCP4 192.0.2.1 192.0.2.2 1",
    "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 ", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3",
    "PROXY TCP4  192.0.2.1 192.0.2.2 1 2", "PROXY TCP4 192.0.2.1 192.0.2.2 1  2", "PROXY TCP4 192.0.2.1 192.0.2.2 01 2",
    "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536", "PROXY TCP4 192.0.2.1 192.0.2.2 1 -2",
    "PROXY TCP4 192.0.2.1 192.0.2.2 1 99999999999", "PROXY TCP4 192.0.2.1 192.0.2.2 1 ",
    "PROXY TCP4 192.0.2.1 192.0.2.2  2", "PROXY TCP4 192.0.2.1 192.0.2.256 1 2", "PROXY TCP4 192.0.2.01 192.0.2.2 1 2",
    "PROXY TCP4 ::1 192.0.2.2 1 2", "PROXY TCP4 ::1 ::1 1 2", "PROXY TCP6 192.0.2.1 192.0.2.2 1 2",
    "PROXY TCP6 [::1] [::1] 1 2", "PROXY TCP6 ::1%lo ::1 1 2", "PROXY TCP5 192.0.2.1 192.0.2.2 1 2",
    "PROXY UDP4 192.0.2.1 192.0.2.2 1 2", "PROXY tcp4 192.0.2.1 192.0.2.2 1 2", "PROXY UNKNOWNS",
    "PROXY TCP4\t192.0.2.1 192.0.2.2 1 2", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\0", "PROXY UNKNOWN \u{e9}",
    "PROXY UNKNOWN \n", "PROXY UNKNOWN \rx", "PROXY UNKNOWN " + String(repeating: "f", count: 92),
  ]

  @Test(arguments: badLines) func aBadLineIsAFault(line: String) {
    let failure = #expect(throws: Rejection.self) { try header(Headers.line(line)) }
    #expect(failure?.kind == .malformed)
    #expect(failure?.detail.hasPrefix("PROXY protocol: ") == true)
  }

  struct Bad: Sendable, CustomTestStringConvertible {
    var name: String
    var bytes: [UInt8]
    var testDescription: String { name }
  }

  static let badBinaries: [Bad] = [
    Bad(name: "another signature", bytes: [0x0d, 0x0a, 0x0d, 0x0a, 0x01]),
    Bad(name: "version 1 in binary", bytes: Headers.v2(0x11, 0x11, Headers.v4)),
    Bad(name: "version 3", bytes: Headers.v2(0x31, 0x11, Headers.v4)),
    Bad(name: "command 2", bytes: Headers.v2(0x22, 0x11, Headers.v4)),
    Bad(name: "datagrams over IPv4", bytes: Headers.v2(0x12, Headers.v4)),
    Bad(name: "datagrams over IPv6", bytes: Headers.v2(0x22, Headers.v6)),
    Bad(name: "datagrams over Unix", bytes: Headers.v2(0x32, [UInt8](repeating: 0, count: 216))),
    Bad(name: "IPv4 without a protocol", bytes: Headers.v2(0x10, Headers.v4)),
    Bad(name: "a protocol without a family", bytes: Headers.v2(0x01, [])),
    Bad(name: "family 4", bytes: Headers.v2(0x41, Headers.v4)),
    Bad(name: "protocol 3", bytes: Headers.v2(0x13, Headers.v4)),
    Bad(name: "too short for IPv4", bytes: Headers.v2(0x11, Array(Headers.v4.dropLast()))),
    Bad(name: "too short for IPv6", bytes: Headers.v2(0x21, Headers.v4)),
    Bad(name: "too short for Unix", bytes: Headers.v2(0x31, Headers.v6)),
    Bad(name: "longer than is taken", bytes: Headers.v2(0x11, Headers.v4, length: 4081)),
    Bad(name: "local and longer than is taken", bytes: Headers.v2(0x20, 0x00, [], length: 65535)),
    Bad(name: "half a record", bytes: Headers.v2(0x11, Headers.v4 + [4, 0])),
    Bad(name: "a record that goes beyond", bytes: Headers.v2(0x11, Headers.v4 + [4, 0, 2, 0])),
    Bad(name: "a record that goes far beyond", bytes: Headers.v2(0x11, Headers.v4 + [4, 255, 255, 0])),
    Bad(name: "a wrong checksum", bytes: Headers.withChecksum(xor: 1)),
    Bad(name: "a checksum of three bytes", bytes: Headers.v2(0x11, Headers.v4 + [3, 0, 3, 1, 2, 3])),
  ]

  @Test(arguments: badBinaries) func aBadBinaryHeaderIsAFault(bad: Bad) {
    let failure = #expect(throws: Rejection.self) { try header(bad.bytes) }
    #expect(failure?.kind == .malformed)
  }

  @Test(arguments: badBinaries) func aFaultIsFoundHoweverTheBytesAreCut(bad: Bad) {
    var parser = ProxyProtocolParser()
    #expect(throws: Rejection.self) {
      for end in 1...bad.bytes.count { _ = try parser.parse(bad.bytes.span.extracting(0..<end)) }
    }
  }

  @Test func otherProtocolsAreAFaultAtTheirFirstByteThatDiffers() throws {
    for text in ["GET ", "\u{16}\u{3}", "SSH-", "POST / HTTP/1.1", "PRI ", "\r\n\r\nX"] {
      let bytes = Array(text.utf8)
      #expect(throws: Rejection.self) { try header(bytes) }
    }
    for text in ["", "P", "PROXY", "\r", "\r\n\r\n"] { #expect(try header(Array(text.utf8)) == nil) }
  }

  @Test func theChecksumIsCRC32C() {
    var sum = CRC32C()
    for byte in Array("123456789".utf8) { sum.add(byte) }
    #expect(sum.value == 0xe306_9283)
  }
}
