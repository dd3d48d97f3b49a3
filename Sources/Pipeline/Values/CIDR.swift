/// A block of addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address.
public struct CIDR: Hashable, Sendable {
  /// The first address of the block; the bits after the prefix are zero.
  public let base: IPAddress
  /// The number of leading bits that an address must share with `base`.
  public let prefixLength: Int

  /// The block of `prefixLength` bits that holds `address`; `nil` unless the length is 0...32 (IPv4) or 0...128 (IPv6).
  public init?(_ address: IPAddress, prefixLength: Int) {
    let width = address.isIPv6 ? 128 : 32
    guard (0...width).contains(prefixLength) else { return nil }
    self.prefixLength = prefixLength
    let (high, low) = address.words
    let mask = Self.mask(prefixLength, isIPv6: address.isIPv6)
    base = IPAddress(high: high & mask.high, low: low & mask.low, isIPv6: address.isIPv6)
  }

  /// Whether `address` lies in the block. An IPv4 address is never in an IPv6 block, nor the other way round.
  public func contains(_ address: IPAddress) -> Bool {
    guard address.isIPv6 == base.isIPv6 else { return false }
    let mask = Self.mask(prefixLength, isIPv6: base.isIPv6)
    let (high, low) = address.words
    return high & mask.high == base.words.high && low & mask.low == base.words.low
  }

  private static func mask(_ length: Int, isIPv6: Bool) -> (high: UInt64, low: UInt64) {
    func leading(_ bits: Int) -> UInt64 { bits <= 0 ? 0 : bits >= 64 ? .max : .max << UInt64(64 - bits) }
    guard isIPv6 else { return (0, leading(length) >> 32) }
    return (leading(length), leading(length - 64))
  }
}

extension CIDR: LosslessStringConvertible {
  /// Reads `address/length`, or one address, which is a block of its own.
  public init?(_ text: String) {
    guard let slash = text.lastIndex(of: "/") else {
      guard let address = IPAddress(text) else { return nil }
      self.init(address, prefixLength: address.isIPv6 ? 128 : 32)
      return
    }
    let digits = text[text.index(after: slash)...]
    guard let address = IPAddress(String(text[..<slash])), (1...3).contains(digits.utf8.count),
      digits.utf8.allSatisfy({ (48...57).contains($0) }), let length = Int(digits)
    else { return nil }
    self.init(address, prefixLength: length)
  }

  public var description: String { "\(base)/\(prefixLength)" }
}

extension CIDR: ExpressibleByStringLiteral {
  /// A literal in source: a wrong one stops the program where it stands.
  public init(stringLiteral text: String) {
    guard let block = CIDR(text) else {
      preconditionFailure("\"\(text)\" is no address block: write 10.0.0.0/8, 2001:db8::/32 or one address")
    }
    self = block
  }
}

extension CIDR {
  static let loopback: [CIDR] = ["127.0.0.0/8", "0.0.0.0/8", "::1", "::"]
  static let privateUse: [CIDR] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"]
  static let linkLocal: [CIDR] = ["169.254.0.0/16", "fe80::/10"]
  static let specialPurpose: [CIDR] = [
    "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
    "240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32", "2002::/16", "::/96",
    "fec0::/10", "ff00::/8",
  ]
}
