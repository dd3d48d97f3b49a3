/// An IPv4 or IPv6 address, held inline.
///
/// An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`, RFC 4291, 2.5.5.2) becomes the IPv4 address when it is made, so that
/// a rule, a limit or a log never sees one client under two names.
@frozen public struct IPAddress: Hashable, Sendable {
  /// The 128 bits in host order; an IPv4 address stands in the lowest 32.
  @usableFromInline let high: UInt64
  @usableFromInline let low: UInt64
  /// Whether this is an IPv6 address.
  public let isIPv6: Bool

  @inlinable init(high: UInt64, low: UInt64, isIPv6: Bool) {
    self.high = high
    self.low = low
    self.isIPv6 = isIPv6
  }

  /// An IPv4 address from its 32 bits in host order (`0x7f000001` is 127.0.0.1).
  @inlinable public init(v4 bits: UInt32) { self.init(high: 0, low: UInt64(bits), isIPv6: false) }

  /// An IPv6 address from its 128 bits in host order. A mapped IPv4 address becomes IPv4.
  @inlinable public init(v6High high: UInt64, low: UInt64) {
    if high == 0, low >> 32 == 0xffff {
      self.init(v4: UInt32(truncatingIfNeeded: low))
    } else {
      self.init(high: high, low: low, isIPv6: true)
    }
  }

  /// Four or sixteen bytes in network order; `nil` for any other count.
  public init?(bytes: Span<UInt8>) {
    func word(_ range: Range<Int>) -> UInt64 {
      var value: UInt64 = 0
      for i in range { value = value << 8 | UInt64(bytes[i]) }
      return value
    }
    switch bytes.count {
    case 4: self.init(v4: UInt32(word(0..<4)))
    case 16: self.init(v6High: word(0..<8), low: word(8..<16))
    default: return nil
    }
  }

  /// The address in network order: 4 or 16 bytes.
  public var bytes: [UInt8] { (0..<(isIPv6 ? 16 : 4)).map { byte(at: $0) } }

  /// The byte at `index` in network order, without building an array.
  @inlinable public func byte(at index: Int) -> UInt8 {
    guard isIPv6 else { return UInt8(truncatingIfNeeded: low >> UInt64(8 * (3 - index))) }
    return index < 8
      ? UInt8(truncatingIfNeeded: high >> UInt64(8 * (7 - index)))
      : UInt8(truncatingIfNeeded: low >> UInt64(8 * (15 - index)))
  }

  /// The 32 bits of an IPv4 address in host order; `nil` for IPv6.
  @inlinable public var v4Bits: UInt32? { isIPv6 ? nil : UInt32(truncatingIfNeeded: low) }

  /// The 128 bits in host order; IPv4 in the lowest 32.
  @inlinable public var words: (high: UInt64, low: UInt64) { (high, low) }

  /// 127.0.0.1.
  public static let loopbackV4 = IPAddress(v4: 0x7f00_0001)
  /// ::1.
  public static let loopbackV6 = IPAddress(v6High: 0, low: 1)
  /// 0.0.0.0.
  public static let anyV4 = IPAddress(v4: 0)
  /// ::.
  public static let anyV6 = IPAddress(v6High: 0, low: 0)
}

extension IPAddress: LosslessStringConvertible {
  /// Reads dotted-quad IPv4 (four decimal parts without leading zeros) or RFC 4291 IPv6, with or without brackets.
  ///
  /// The old shorthands of `inet_aton` (`127.1`, `0x7f.1`) are not addresses here: they are a known way round rules.
  public init?(_ text: String) {
    var text = Substring(text)
    if text.first == "[", text.last == "]" { text = text.dropFirst().dropLast() }
    if text.utf8.contains(UInt8(ascii: ":")) {
      guard let words = Self.parseV6(text) else { return nil }
      self.init(v6High: words.0, low: words.1)
    } else {
      guard let bits = Self.parseV4(text) else { return nil }
      self.init(v4: bits)
    }
  }

  private static func parseV4(_ text: Substring) -> UInt32? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var bits: UInt32 = 0
    for part in parts {
      guard (1...3).contains(part.utf8.count), part.utf8.allSatisfy({ (48...57).contains($0) }),
        part.utf8.count == 1 || part.utf8.first != 48, let value = UInt8(part)
      else { return nil }
      bits = bits << 8 | UInt32(value)
    }
    return bits
  }

  private static func parseV6(_ text: Substring) -> (UInt64, UInt64)? {
    func groups(_ half: Substring, mayEndInV4: Bool) -> [UInt16]? {
      if half.isEmpty { return [] }
      var out: [UInt16] = []
      let parts = half.split(separator: ":", omittingEmptySubsequences: false)
      for (i, part) in parts.enumerated() {
        if i == parts.count - 1, mayEndInV4, part.utf8.contains(UInt8(ascii: ".")) {
          guard let bits = parseV4(part) else { return nil }
          out.append(UInt16(bits >> 16))
          out.append(UInt16(truncatingIfNeeded: bits))
        } else {
          guard (1...4).contains(part.utf8.count), part.utf8.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
            let value = UInt16(part, radix: 16)
          else { return nil }
          out.append(value)
        }
      }
      return out
    }
    let all: [UInt16]
    if let gap = text.firstRange(of: "::") {
      let tail = text[gap.upperBound...]
      guard tail.firstRange(of: "::") == nil, tail.first != ":",
        let front = groups(text[..<gap.lowerBound], mayEndInV4: false), let back = groups(tail, mayEndInV4: true),
        front.count + back.count <= 7
      else { return nil }
      all = front + Array(repeating: 0, count: 8 - front.count - back.count) + back
    } else {
      guard let only = groups(text, mayEndInV4: true), only.count == 8 else { return nil }
      all = only
    }
    func word(_ slice: ArraySlice<UInt16>) -> UInt64 { slice.reduce(0) { $0 << 16 | UInt64($1) } }
    return (word(all[0..<4]), word(all[4..<8]))
  }

  /// Dotted quad, or RFC 5952 (lower case, the longest run of zeros shortened).
  public var description: String {
    guard isIPv6 else { return (0..<4).map { String(byte(at: $0)) }.joined(separator: ".") }
    let groups = (0..<8).map { UInt16(byte(at: 2 * $0)) << 8 | UInt16(byte(at: 2 * $0 + 1)) }
    var best = 0..<0
    var start = 0
    for i in 0...8 where i == 8 || groups[i] != 0 {
      if i - start > best.count, i - start > 1 { best = start..<i }
      start = i + 1
    }
    func hex(_ range: Range<Int>) -> String { groups[range].map { String($0, radix: 16) }.joined(separator: ":") }
    return best.isEmpty ? hex(0..<8) : hex(0..<best.lowerBound) + "::" + hex(best.upperBound..<8)
  }
}

extension IPAddress {
  /// Reaches this machine only: 127.0.0.0/8, ::1, and the unspecified addresses, which connect to this machine.
  public var isLoopback: Bool { CIDR.loopback.contains { $0.contains(self) } }

  /// Private use: RFC 1918, RFC 6598 shared space, RFC 4193 unique local.
  public var isPrivate: Bool { CIDR.privateUse.contains { $0.contains(self) } }

  /// 169.254.0.0/16 and fe80::/10, where the metadata services of clouds live.
  public var isLinkLocal: Bool { CIDR.linkLocal.contains { $0.contains(self) } }

  /// Multicast, broadcast, documentation and reserved blocks, and IPv6 forms that embed an IPv4 address (RFC 6052, 3056,
  /// 4380), which would carry a private address past a rule.
  public var isSpecialPurpose: Bool { CIDR.specialPurpose.contains { $0.contains(self) } }

  /// Whether the address is an ordinary address of the public internet.
  public var isPublic: Bool { !isLoopback && !isPrivate && !isLinkLocal && !isSpecialPurpose }
}
