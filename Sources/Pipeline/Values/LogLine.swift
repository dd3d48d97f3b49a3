/// The bytes of one log line, built without a `String` and, once warm, without an allocation.
///
/// Values that somebody else chose (a user name, a path, an error's detail) go in through ``append(value:style:)`` alone: it
/// leaves no way to end a line, to forge a field or to steer a terminal.
@usableFromInline package struct LogLine: ~Copyable, Sendable {
  package enum Style: Sendable, Hashable {
    /// A bare word where the value is one, else a quoted string.
    case text
    /// A quoted string (RFC 8259, 7).
    case json
  }

  @usableFromInline var storage = ByteBuilder()
  private var calendar = CalendarSecond()

  package init() {}

  package var count: Int { storage.count }

  /// What has been written.
  @inlinable package func withBytes<Result>(_ body: (Span<UInt8>) throws -> Result) rethrows -> Result {
    try storage.withBytes { try body($0.bindMemory(to: UInt8.self).span) }
  }

  /// What has been written since the line had `start` bytes.
  package func copy(from start: Int) -> [UInt8] { Array(storage.bytes[start...]) }

  /// Empties the line; the memory is kept.
  package mutating func clear() { storage.clear() }

  @inlinable @inline(__always)
  package mutating func append(_ byte: UInt8) { storage.append(byte) }

  /// Appends text of our own, as it is. In place: a name of a field is a store or two.
  @inlinable @inline(__always)
  package mutating func append(_ literal: StaticString) { storage.append(literal) }

  /// Appends text that is known to hold nothing but printable ASCII without a special meaning.
  private mutating func append(plain text: String) {
    text.utf8.span.withUnsafeBufferPointer { storage.append($0) }
  }

  /// Appends bytes of another line.
  package mutating func append(_ other: [UInt8]) { storage.append(contentsOf: other) }

  package mutating func append(_ number: UInt64) { storage.append(decimal: number) }

  /// Numbers below 0 count as 0.
  package mutating func append(_ number: Int) { storage.append(decimal: UInt64(max(0, number))) }

  @inline(__always)
  private mutating func append(magnitude: UInt64, digits: Int) { storage.append(decimal: magnitude, digits: digits) }

  /// Milliseconds with three decimals.
  package mutating func append(milliseconds duration: Duration) {
    let microseconds = UInt64(max(0, duration.nanosecondsClamped)) / 1000
    append(magnitude: microseconds / 1000, digits: 1)
    append(UInt8(ascii: "."))
    append(magnitude: microseconds % 1000, digits: 3)
  }

  /// `2026-11-21T13:27:28.123Z` (RFC 3339). The calendar is worked out once a second.
  package mutating func append(_ time: UnixTime) {
    if calendar.second != time.seconds || calendar.text.isEmpty {
      let start = count
      let date = CivilDate(daysSince1970: CivilDate.floorDivide(time.seconds, 86_400))
      let second = time.seconds - CivilDate.floorDivide(time.seconds, 86_400) * 86_400
      append(magnitude: UInt64(clamping: date.year), digits: 4)
      append(UInt8(ascii: "-"))
      append(magnitude: UInt64(date.month), digits: 2)
      append(UInt8(ascii: "-"))
      append(magnitude: UInt64(date.day), digits: 2)
      append(UInt8(ascii: "T"))
      append(magnitude: UInt64(second / 3600), digits: 2)
      append(UInt8(ascii: ":"))
      append(magnitude: UInt64(second / 60 % 60), digits: 2)
      append(UInt8(ascii: ":"))
      append(magnitude: UInt64(second % 60), digits: 2)
      calendar.second = time.seconds
      calendar.text.clear()
      calendar.text.append(UnsafeBufferPointer(rebasing: storage.bytes.bindMemory(to: UInt8.self)[start...]))
    } else {
      storage.append(calendar.text.bytes.bindMemory(to: UInt8.self))
    }
    append(UInt8(ascii: "."))
    append(magnitude: UInt64(time.nanoseconds / 1_000_000), digits: 3)
    append(UInt8(ascii: "Z"))
  }
}

// MARK: - Addresses

extension LogLine {
  /// Dotted quad, or RFC 5952.
  package mutating func append(_ address: IPAddress) {
    if let bits = address.v4Bits { return storage.append(dottedQuad: bits) }
    func group(_ i: Int) -> UInt16 { UInt16(address.byte(at: 2 * i)) << 8 | UInt16(address.byte(at: 2 * i + 1)) }
    var gap = 0..<0
    var start = 0
    for i in 0...8 where i == 8 || group(i) != 0 {
      if i - start > gap.count, i - start > 1 { gap = start..<i }
      start = i + 1
    }
    var i = 0
    while i < 8 {
      if i == gap.lowerBound, !gap.isEmpty {
        append("::")
        i = gap.upperBound
        continue
      }
      if i > 0, i != gap.upperBound || gap.isEmpty { append(UInt8(ascii: ":")) }
      append(hex: group(i))
      i += 1
    }
  }

  private mutating func append(hex value: UInt16) {
    var shift: UInt16 = 12
    while shift > 0, value >> shift == 0 { shift -= 4 }
    while true {
      append(Self.hexDigit(UInt8(value >> shift & 15)))
      if shift == 0 { return }
      shift -= 4
    }
  }

  fileprivate static func hexDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
  }

  private mutating func append(_ address: IPAddress, port: UInt16) {
    if address.isIPv6 {
      append(UInt8(ascii: "["))
      append(address)
      append(UInt8(ascii: "]"))
    } else {
      append(address)
    }
    append(UInt8(ascii: ":"))
    append(UInt64(port))
  }

  /// `192.0.2.1:80`, `[::1]:80`, `unix:/path`; in quotes where the style or the path asks for them.
  package mutating func append(_ address: SocketAddress, style: Style) {
    switch address {
    case .ip(let address, let port): quoted(if: style == .json) { $0.append(address, port: port) }
    case .unix(let path):
      // A path may hold any byte.
      quoted(if: true) {
        $0.append("unix:")
        var path = path
        path.makeContiguousUTF8()
        $0.append(escaping: path.utf8.span)
      }
    }
  }

  package mutating func append(_ client: ClientAddress, style: Style) {
    quoted(if: style == .json) { line in
      switch client.kind {
      case .ip(let address, let port): line.append(address, port: port)
      case .unix(let uid):
        line.append("unix:uid/")
        line.append(UInt64(uid))
      }
    }
  }

  package mutating func append(_ endpoint: Endpoint, style: Style) {
    quoted(if: style == .json) { line in
      switch endpoint.host {
      case .ip(let address): line.append(address, port: endpoint.port)
      case .name(let name):
        // A domain name holds letters, digits, '-', '_' and '.' only.
        line.append(plain: name.text)
        line.append(UInt8(ascii: ":"))
        line.append(UInt64(endpoint.port))
      }
    }
  }

  private mutating func quoted(if needed: Bool, _ body: (inout LogLine) -> Void) {
    if needed { append(UInt8(ascii: "\"")) }
    body(&self)
    if needed { append(UInt8(ascii: "\"")) }
  }
}

// MARK: - Values that somebody else chose

extension LogLine {
  /// Appends a value of any content.
  package mutating func append(value: String, style: Style) {
    var value = value
    // Bridged or sliced strings have no contiguous bytes until they are made native.
    value.makeContiguousUTF8()
    append(value: value.utf8.span, style: style)
  }

  /// Appends any bytes, valid UTF-8 or not.
  package mutating func append(value: Span<UInt8>, style: Style) {
    if style == .text, value.withUnsafeBufferPointer({ appendBare($0) }) { return }
    quoted(if: true) { $0.append(escaping: value) }
  }

  /// One character for each byte: `1` for printable ASCII that means nothing in a line of `name=value` fields, which is all but
  /// `"`, `\`, `=` and the space.
  private static let bareTable: StaticString = """
    0000000000000000000000000000000001011111111111111111111111111011\
    1111111111111111111111111111011111111111111111111111111111111110\
    0000000000000000000000000000000000000000000000000000000000000000\
    0000000000000000000000000000000000000000000000000000000000000000
    """

  /// False, and nothing is written, where the value is no word: it has to be quoted. A `-` alone means that there is none.
  private mutating func appendBare(_ value: UnsafeBufferPointer<UInt8>) -> Bool {
    guard let base = value.baseAddress, value.count > 0 else { return false }
    if value.count == 1, base[0] == UInt8(ascii: "-") { return false }
    let table = Self.bareTable.utf8Start
    var i = 0
    while i &+ 8 <= value.count {
      let word = UnsafeRawPointer(base).loadUnaligned(fromByteOffset: i, as: UInt64.self)
      if Self.hasOtherThanBare(UInt64(littleEndian: word)) { return false }
      i &+= 8
    }
    while i < value.count {
      if table[Int(base[i])] != UInt8(ascii: "1") { return false }
      i &+= 1
    }
    storage.append(base, value.count)
    return true
  }

  /// The same of eight bytes. Seven bits of each are looked at, so that no sum reaches the next one; the eighth by itself.
  @inline(__always)
  private static func hasOtherThanBare(_ word: UInt64) -> Bool {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let seven = ones &* 0x7f
    let low = word & seven
    // The high bit of each byte: set where it is `!` or more, where it is no DEL, and where it is none of the three.
    let isPrintable = low &+ (ones &* (0x80 - 0x21))
    let isNoDelete = (low ^ seven) &+ seven
    let isNoQuote = (low ^ (ones &* UInt64(UInt8(ascii: "\"")))) &+ seven
    let isNoBackslash = (low ^ (ones &* UInt64(UInt8(ascii: "\\")))) &+ seven
    let isNoEqualsSign = (low ^ (ones &* UInt64(UInt8(ascii: "=")))) &+ seven
    let isBare = isPrintable & isNoDelete & isNoQuote & isNoBackslash & isNoEqualsSign & ~word
    return isBare & (ones &* 0x80) != ones &* 0x80
  }

  private mutating func append(escaping value: Span<UInt8>) {
    var i = 0
    while i < value.count {
      let byte = value[i]
      if byte < 0x80 {
        appendEscaped(ascii: byte)
        i += 1
      } else if let (scalar, length) = scalar(in: value, at: i) {
        if Self.isUnprintable(scalar) {
          append(escape: UInt16(scalar))
        } else {
          for offset in 0..<length { append(value[i + offset]) }
        }
        i += length
      } else {
        append(escape: 0xfffd)
        i += 1
      }
    }
  }

  private mutating func appendEscaped(ascii byte: UInt8) {
    switch byte {
    case UInt8(ascii: "\""): append("\\\"")
    case UInt8(ascii: "\\"): append("\\\\")
    case UInt8(ascii: "\n"): append("\\n")
    case UInt8(ascii: "\r"): append("\\r")
    case UInt8(ascii: "\t"): append("\\t")
    case 0..<0x20, 0x7f: append(escape: UInt16(byte))
    default: append(byte)
    }
  }

  private mutating func append(escape unit: UInt16) {
    append("\\u")
    for shift in stride(from: 12, through: 0, by: -4) { append(Self.hexDigit(UInt8(unit >> shift & 15))) }
  }

  /// C1 controls, line and paragraph separators, marks that turn the direction of text, the byte order mark: what makes a
  /// terminal show another line than the one that is there. All in the basic plane.
  private static func isUnprintable(_ scalar: UInt32) -> Bool {
    switch scalar {
    case 0x80...0x9f, 0x61c, 0x200b...0x200f, 0x2028...0x202e, 0x2060...0x2069, 0xfeff, 0xfff9...0xfffb: true
    default: false
    }
  }

  /// The scalar that begins at `start`, by the table of RFC 3629, 4: no overlong form, no surrogate, nothing beyond 10FFFF.
  private func scalar(in value: Span<UInt8>, at start: Int) -> (UInt32, Int)? {
    let first = value[start]
    let length: Int
    var second: ClosedRange<UInt8> = 0x80...0xbf
    switch first {
    case 0xc2...0xdf: length = 2
    case 0xe0:
      length = 3
      second = 0xa0...0xbf
    case 0xed:
      length = 3
      second = 0x80...0x9f
    case 0xe1...0xef: length = 3
    case 0xf0:
      length = 4
      second = 0x90...0xbf
    case 0xf4:
      length = 4
      second = 0x80...0x8f
    case 0xf1...0xf3: length = 4
    default: return nil
    }
    guard start + length <= value.count, second.contains(value[start + 1]) else { return nil }
    var scalar = UInt32(first) & (0x7f >> UInt32(length))
    for i in start + 1..<start + length {
      guard (0x80...0xbf).contains(value[i]) else { return nil }
      scalar = scalar << 6 | UInt32(value[i] & 0x3f)
    }
    return (scalar, length)
  }
}

/// A second, written out.
private struct CalendarSecond: ~Copyable, Sendable {
  var second: Int64 = 0
  var text = ByteBuilder(capacity: 32)
}

/// A day of the Gregorian calendar.
private struct CivilDate {
  let year: Int64
  let month: Int
  let day: Int

  /// Days are counted in eras of 400 years that begin on a 1 March, so that a leap day ends its year.
  init(daysSince1970 days: Int64) {
    let shifted = days + 719_468
    let era = Self.floorDivide(shifted, 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    day = Int(dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
    month = Int(monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9)
    year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  }

  static func floorDivide(_ a: Int64, _ b: Int64) -> Int64 { a >= 0 ? a / b : (a - b + 1) / b }
}
