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
    let bytes = Array(text.utf8)
    self.init(text: bytes.span)
  }

  /// As `init(_:)`, from the bytes of a text, without an allocation.
  package init?(text: Span<UInt8>) {
    var begin = 0
    var end = text.count
    if end >= 2, text[0] == UInt8(ascii: "["), text[end - 1] == UInt8(ascii: "]") {
      begin = 1
      end -= 1
    }
    let inner = text.extracting(begin..<end)
    var isV6 = false
    for i in 0..<inner.count where inner[i] == UInt8(ascii: ":") { isV6 = true }
    if isV6 {
      guard let bits = Self.parseV6(inner) else { return nil }
      self.init(v6High: UInt64(truncatingIfNeeded: bits >> 64), low: UInt64(truncatingIfNeeded: bits))
    } else {
      guard let bits = Self.parseV4(inner) else { return nil }
      self.init(v4: bits)
    }
  }

  private static func parseV4(_ text: Span<UInt8>) -> UInt32? {
    var bits: UInt32 = 0
    var parts = 0
    var i = 0
    while true {
      let begin = i
      var value: UInt32 = 0
      while i < text.count, let digit = decimal(text[i]), i - begin < 3 {
        value = value * 10 + digit
        i += 1
      }
      guard i > begin, value <= 255, i - begin == 1 || text[begin] != UInt8(ascii: "0") else { return nil }
      bits = bits << 8 | value
      parts += 1
      if i == text.count { return parts == 4 ? bits : nil }
      guard parts < 4, text[i] == UInt8(ascii: ".") else { return nil }
      i += 1
    }
  }

  private static func parseV6(_ text: Span<UInt8>) -> UInt128? {
    // The groups before and after the gap (`::`), each as a number.
    var front: UInt128 = 0
    var frontCount = 0
    var back: UInt128 = 0
    var backCount = 0
    var hasGap = false
    var i = 0
    if text.count >= 2, text[0] == UInt8(ascii: ":"), text[1] == UInt8(ascii: ":") {
      hasGap = true
      i = 2
    }
    while i < text.count {
      let begin = i
      var group: UInt128 = 0
      while i < text.count, i - begin < 4, let digit = hexadecimal(text[i]) {
        group = group << 4 | UInt128(digit)
        i += 1
      }
      guard i > begin else { return nil }
      var width = 1
      if i < text.count, text[i] == UInt8(ascii: ".") {
        // The last 32 bits in dotted form.
        guard let bits = parseV4(text.extracting(begin..<text.count)) else { return nil }
        group = UInt128(bits)
        width = 2
        i = text.count
      }
      if hasGap {
        back = back << UInt128(16 * width) | group
        backCount += width
      } else {
        front = front << UInt128(16 * width) | group
        frontCount += width
      }
      guard frontCount + backCount <= 8 else { return nil }
      if i == text.count { break }
      guard text[i] == UInt8(ascii: ":") else { return nil }
      i += 1
      guard i < text.count else { return nil }
      if text[i] == UInt8(ascii: ":") {
        guard !hasGap else { return nil }
        hasGap = true
        i += 1
      }
    }
    guard hasGap else { return frontCount == 8 ? front : nil }
    guard frontCount + backCount <= 7 else { return nil }
    return frontCount == 0 ? back : front << UInt128(16 * (8 - frontCount)) | back
  }

  private static func decimal(_ byte: UInt8) -> UInt32? {
    UInt8(ascii: "0") <= byte && byte <= UInt8(ascii: "9") ? UInt32(byte - UInt8(ascii: "0")) : nil
  }

  private static func hexadecimal(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
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
