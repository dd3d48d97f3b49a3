package import Pipeline

/// Writes the header that tells an upstream who the client is.
package enum ProxyProtocolWriter {
  /// Appends a header. A client or a listener without an IP address is told as unknown: the upstream then sees us.
  ///
  /// Where one address is IPv4 and the other IPv6, the IPv4 one is written as a mapped address: a header has one family.
  package static func append(
    _ version: ProxyProtocolVersion, source: ClientAddress, destination: SocketAddress?, to out: inout [UInt8]
  ) {
    var addresses: (from: IPAddress, fromPort: UInt16, to: IPAddress, toPort: UInt16)?
    if case .ip(let from, let fromPort) = source.kind, case .ip(let to, let toPort)? = destination {
      addresses = (from, fromPort, to, toPort)
    }
    switch version {
    case .v1:
      guard let (from, fromPort, to, toPort) = addresses else { return out.append("PROXY UNKNOWN\r\n") }
      let isV6 = from.isIPv6 || to.isIPv6
      out.append(isV6 ? "PROXY TCP6 " : "PROXY TCP4 ")
      append(from, isV6, to: &out)
      out.append(32)
      append(to, isV6, to: &out)
      out.append(32)
      out.append(decimal: UInt64(fromPort))
      out.append(32)
      out.append(decimal: UInt64(toPort))
      out.append("\r\n")
    case .v2:
      out.append(contentsOf: ProxyProtocolHeader.v2Signature)
      // Version 2, PROXY.
      out.append(0x21)
      guard let (from, fromPort, to, toPort) = addresses else {
        out.append(contentsOf: [0x00, 0, 0])
        return
      }
      let isV6 = from.isIPv6 || to.isIPv6
      out.append(isV6 ? 0x21 : 0x11)
      out.append(0)
      out.append(isV6 ? 36 : 12)
      appendBinary(from, isV6, to: &out)
      appendBinary(to, isV6, to: &out)
      for port in [fromPort, toPort] {
        out.append(UInt8(port >> 8))
        out.append(UInt8(truncatingIfNeeded: port))
      }
    }
  }

  /// Appends a header of a connection that is about no client: a check of health. Version 2 says LOCAL; version 1 can only say
  /// that it knows nobody.
  package static func appendLocal(_ version: ProxyProtocolVersion, to out: inout [UInt8]) {
    switch version {
    case .v1: out.append("PROXY UNKNOWN\r\n")
    case .v2:
      out.append(contentsOf: ProxyProtocolHeader.v2Signature)
      out.append(contentsOf: [0x20, 0x00, 0, 0])
    }
  }

  private static func append(_ address: IPAddress, _ asV6: Bool, to out: inout [UInt8]) {
    if asV6, !address.isIPv6 { out.append("::ffff:") }
    out.append(contentsOf: address.description.utf8)
  }

  private static func appendBinary(_ address: IPAddress, _ asV6: Bool, to out: inout [UInt8]) {
    if asV6, !address.isIPv6 { out.append(contentsOf: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]) }
    for i in 0..<(address.isIPv6 ? 16 : 4) { out.append(address.byte(at: i)) }
  }
}
