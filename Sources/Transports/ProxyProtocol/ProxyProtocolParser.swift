internal import Pipeline

/// Reads a PROXY protocol header, version 1 or 2, from the first bytes of a connection. Knows bytes, never a socket.
///
/// It is given all bytes from the connection's first on, as often as there are more, and faults at the first byte that cannot
/// belong to a header. It looks at each byte of a version 1 line once, however the bytes are cut.
package struct ProxyProtocolParser: Sendable {
  package enum Progress: Hashable, Sendable {
    case incomplete
    /// The header is the first `length` bytes; what follows is the client's.
    case complete(ProxyProtocolHeader, length: Int)
  }

  /// The longest header that is taken, with everything that version 2 may carry. A longer one is a fault.
  package static let maxLength = 4096
  /// Of a version 1 line, with its end (2.1).
  static let maxLineLength = 107

  /// The bytes of a version 1 line that are known to hold no line end.
  private var scanned = 0

  package init() {}

  /// - Throws: `Rejection(.malformed)`.
  package mutating func parse(_ bytes: Span<UInt8>) throws -> Progress {
    guard bytes.count > 0 else { return .incomplete }
    switch bytes[0] {
    case ProxyProtocolHeader.v1Signature[0]: return try parseLine(bytes)
    case ProxyProtocolHeader.v2Signature[0]: return try Self.parseBinary(bytes)
    default: throw Self.fault("the connection does not begin with a header")
    }
  }

  static func fault(_ reason: String) -> Rejection { Rejection(.malformed, detail: "PROXY protocol: \(reason)") }

  private static func checkSignature(_ bytes: Span<UInt8>, _ signature: [UInt8]) throws {
    for i in 0..<min(bytes.count, signature.count) where bytes[i] != signature[i] {
      throw fault("the connection does not begin with a header")
    }
  }

  // MARK: Version 1

  private mutating func parseLine(_ bytes: Span<UInt8>) throws -> Progress {
    try Self.checkSignature(bytes, ProxyProtocolHeader.v1Signature)
    var i = scanned
    while i < min(bytes.count, Self.maxLineLength) {
      switch bytes[i] {
      case 13:
        guard i + 1 < Self.maxLineLength else { throw Self.fault("the line is longer than 107 bytes") }
        guard i + 1 < bytes.count else {
          scanned = i
          return .incomplete
        }
        guard bytes[i + 1] == 10 else { throw Self.fault("the line holds a CR without LF") }
        let addresses = try Self.addresses(of: bytes.extracting(ProxyProtocolHeader.v1Signature.count..<i))
        return .complete(ProxyProtocolHeader(version: .v1, addresses: addresses), length: i + 2)
      case 32...126: i += 1
      default: throw Self.fault("the line holds the byte \(bytes[i])")
      }
    }
    scanned = i
    if i == Self.maxLineLength { throw Self.fault("the line is longer than 107 bytes") }
    return .incomplete
  }

  /// What follows `PROXY `: `TCP4 192.0.2.1 198.51.100.2 4711 443`, or `UNKNOWN` and whatever stands behind it.
  private static func addresses(of line: Span<UInt8>) throws -> ProxyProtocolHeader.Addresses {
    var words = Words(position: 0)
    let family = words.next(in: line)
    let protocolName = line.extracting(family)
    if protocolName.isText("UNKNOWN") { return .ownOnes }
    let isV6 = protocolName.isText("TCP6")
    guard isV6 || protocolName.isText("TCP4") else { throw fault("the line is neither TCP4, TCP6 nor UNKNOWN") }
    let sourceWord = words.next(in: line)
    let destinationWord = words.next(in: line)
    let sourcePortWord = words.next(in: line)
    let destinationPortWord = words.next(in: line)
    guard words.isAtEnd(of: line), let source = address(line.extracting(sourceWord), isV6: isV6),
      let destination = address(line.extracting(destinationWord), isV6: isV6)
    else { throw fault("the line does not hold two \(isV6 ? "IPv6" : "IPv4") addresses and two ports") }
    guard let sourcePort = port(line.extracting(sourcePortWord)),
      let destinationPort = port(line.extracting(destinationPortWord))
    else { throw fault("a port of the line is not one of 0...65535, or has leading zeros") }
    return .ip(source: source, sourcePort: sourcePort, destination: destination, destinationPort: destinationPort)
  }

  /// Words with exactly one space between them.
  private struct Words {
    var position: Int

    mutating func next(in line: Span<UInt8>) -> Range<Int> {
      guard position <= line.count else { return line.count..<line.count }
      let begin = position
      var end = begin
      while end < line.count, line[end] != 32 { end += 1 }
      position = end + 1
      return begin..<end
    }

    func isAtEnd(of line: Span<UInt8>) -> Bool { position == line.count + 1 }
  }

  private static func address(_ text: Span<UInt8>, isV6: Bool) -> IPAddress? {
    var hasColon = false
    for i in 0..<text.count {
      if text[i] == UInt8(ascii: "[") { return nil }
      if text[i] == UInt8(ascii: ":") { hasColon = true }
    }
    return hasColon == isV6 ? IPAddress(text: text) : nil
  }

  private static func port(_ text: Span<UInt8>) -> UInt16? {
    guard (1...5).contains(text.count), text.count == 1 || text[0] != UInt8(ascii: "0") else { return nil }
    var value: UInt32 = 0
    for i in 0..<text.count {
      guard UInt8(ascii: "0")...UInt8(ascii: "9") ~= text[i] else { return nil }
      value = value * 10 + UInt32(text[i] - UInt8(ascii: "0"))
    }
    return UInt16(exactly: value)
  }
}

extension Span<UInt8> {
  /// Whether these are the very bytes of the literal.
  fileprivate func isText(_ literal: StaticString) -> Bool {
    guard count == literal.utf8CodeUnitCount else { return false }
    return literal.withUTF8Buffer { own in
      for i in 0..<own.count where self[i] != own[i] { return false }
      return true
    }
  }
}

// MARK: - Version 2

extension ProxyProtocolParser {
  /// Signature, version and command, family and protocol, length (2.2).
  private static let prefixLength = 16

  /// What the 13th byte says.
  private enum Command { case local, proxy }

  /// What the 14th byte says, as far as it means a stream.
  private enum Family {
    case unspecified, v4, v6, unix

    var addressLength: Int {
      switch self {
      case .unspecified: 0
      case .v4: 12
      case .v6: 36
      case .unix: 216
      }
    }
  }

  private static func parseBinary(_ bytes: Span<UInt8>) throws -> Progress {
    try checkSignature(bytes, ProxyProtocolHeader.v2Signature)
    guard bytes.count > 12 else { return .incomplete }
    let command = try command(bytes[12])
    guard bytes.count > 13 else { return .incomplete }
    // A receiver must not look at the family of a LOCAL connection.
    let family = command == .local ? .unspecified : try family(bytes[13])
    guard bytes.count >= prefixLength else { return .incomplete }
    let length = prefixLength + Int(bytes[14]) << 8 + Int(bytes[15])
    guard length <= maxLength else { throw fault("the header has \(length) bytes; at most \(maxLength) are taken") }
    guard length >= prefixLength + family.addressLength else {
      throw fault("the header has \(length) bytes, too few for its addresses")
    }
    guard bytes.count >= length else { return .incomplete }
    let header = bytes.extracting(0..<length)
    var addresses = ProxyProtocolHeader.Addresses.ownOnes
    switch family {
    case .v4: addresses = try self.addresses(of: header, size: 4)
    case .v6: addresses = try self.addresses(of: header, size: 16)
    case .unspecified, .unix: break
    }
    if command == .proxy { try checkRecords(header, from: prefixLength + family.addressLength) }
    return .complete(ProxyProtocolHeader(version: .v2, addresses: addresses), length: length)
  }

  private static func command(_ byte: UInt8) throws -> Command {
    guard byte >> 4 == 2 else { throw fault("version \(byte >> 4) is not known") }
    switch byte & 15 {
    case 0: return .local
    case 1: return .proxy
    case let other: throw fault("command \(other) is not known")
    }
  }

  private static func family(_ byte: UInt8) throws -> Family {
    switch byte {
    case 0x00: return .unspecified
    case 0x11: return .v4
    case 0x21: return .v6
    case 0x31: return .unix
    case 0x12, 0x22, 0x32: throw fault("the header is for datagrams, and this is a stream")
    default: throw fault("family and protocol \(byte) are not known")
    }
  }

  private static func addresses(of header: Span<UInt8>, size: Int) throws -> ProxyProtocolHeader.Addresses {
    let ports = prefixLength + 2 * size
    guard let source = IPAddress(bytes: header.extracting(prefixLength..<(prefixLength + size))),
      let destination = IPAddress(bytes: header.extracting((prefixLength + size)..<ports))
    else { throw fault("the addresses cannot be read") }
    return .ip(
      source: source, sourcePort: UInt16(header[ports]) << 8 | UInt16(header[ports + 1]), destination: destination,
      destinationPort: UInt16(header[ports + 2]) << 8 | UInt16(header[ports + 3]))
  }

  /// What follows the addresses: type, length, value, again and again (2.2). Only the checksum means something here.
  private static func checkRecords(_ header: Span<UInt8>, from begin: Int) throws {
    var position = begin
    while position < header.count {
      guard position + 3 <= header.count else { throw fault("a record is cut off") }
      let length = Int(header[position + 1]) << 8 + Int(header[position + 2])
      let value = position + 3
      guard value + length <= header.count else { throw fault("a record is longer than the header") }
      // PP2_TYPE_CRC32C
      if header[position] == 0x03 {
        guard length == 4 else { throw fault("the checksum has \(length) bytes instead of 4") }
        try checkSum(header, at: value)
      }
      position = value + length
    }
  }

  /// The checksum is that of the header with zeros in its own place (2.2.3).
  private static func checkSum(_ header: Span<UInt8>, at position: Int) throws {
    var stated: UInt32 = 0
    var sum = CRC32C()
    for i in 0..<header.count {
      if position..<(position + 4) ~= i {
        stated = stated << 8 | UInt32(header[i])
        sum.add(0)
      } else {
        sum.add(header[i])
      }
    }
    guard sum.value == stated else { throw fault("the checksum is wrong") }
  }
}
