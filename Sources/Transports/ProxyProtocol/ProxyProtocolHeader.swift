package import Pipeline

/// What a PROXY protocol header says (HAProxy's `proxy-protocol.txt`, 2).
package struct ProxyProtocolHeader: Hashable, Sendable {
  /// Between whom the connection is that the sender took.
  package enum Addresses: Hashable, Sendable {
    /// Those of this connection itself: the sender opened it for its own sake (LOCAL, a health check), does not know, or has
    /// a client without an IP address.
    case ownOnes
    case ip(source: IPAddress, sourcePort: UInt16, destination: IPAddress, destinationPort: UInt16)
  }

  package var version: ProxyProtocolVersion
  package var addresses: Addresses

  package init(version: ProxyProtocolVersion, addresses: Addresses) {
    self.version = version
    self.addresses = addresses
  }

  /// `PROXY `, with which version 1 begins.
  static let v1Signature: [UInt8] = Array("PROXY ".utf8)
  /// With which version 2 begins. No other protocol does.
  static let v2Signature: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]
}

/// CRC-32C (Castagnoli; RFC 3720, B.4), which a version 2 header may carry about itself.
struct CRC32C {
  private static let table: [UInt32] = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0x82f6_3b78 : value >> 1 }
  }

  private var state = UInt32.max

  mutating func add(_ byte: UInt8) {
    state = state >> 8 ^ Self.table[Int(UInt8(truncatingIfNeeded: state) ^ byte)]
  }

  var value: UInt32 { ~state }
}
