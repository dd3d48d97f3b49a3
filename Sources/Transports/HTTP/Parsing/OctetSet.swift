/// A set of ASCII octets in two words: one shift and one mask for each octet that is looked up.
struct OctetSet {
  let low: UInt64
  let high: UInt64

  @inline(__always) func contains(_ octet: UInt8) -> Bool {
    octet < 128 && (octet < 64 ? low : high) &>> UInt64(octet & 63) & 1 != 0
  }

  /// What a token is made of (RFC 9110, 5.6.2): letters, digits and ``!#$%&'*+-.^_`|~``.
  static let token = OctetSet(low: 0x03ff_6cfa_0000_0000, high: 0x57ff_ffff_c7ff_fffe)

  /// What a query is made of: the characters of RFC 3986, and of the others those that browsers leave as they are
  /// (``\^`{|}[]``). Not among them: white space, control characters, `"`, `<`, `>`, `#`, and all that is not ASCII.
  static let query = OctetSet(low: 0xafff_fff2_0000_0000, high: 0x7fff_ffff_ffff_ffff)

  /// The same without `\`, which some origins take for a `/`, and without `?` and `%`, where a path is looked at closely.
  static let plainPath = OctetSet(low: 0x2fff_ffd2_0000_0000, high: 0x7fff_ffff_efff_ffff)

  /// What a host name is made of: the unreserved characters of RFC 3986, 2.3.
  static let hostName = OctetSet(low: 0x03ff_6000_0000_0000, high: 0x47ff_fffe_87ff_fffe)
}

/// The octets of a line, by address. The parser works on pointers: with checked spans it costs twice as much, and it is the
/// one place where every byte of a head passes. What keeps it sound: every index is compared with an end that lies within
/// the buffer which the caller of `parse` holds for the length of the call, and no pointer is kept.
typealias Octets = UnsafePointer<UInt8>

extension Octets {
  /// One character for each octet, `1` where a token may hold it (RFC 9110, 5.6.2): every octet of every field name is looked up,
  /// and a table takes half the instructions of a set in two words.
  private static let tokenTable: StaticString = """
    0000000000000000000000000000000001011111001101101111111111000000\
    0111111111111111111111111110001111111111111111111111111111101010\
    0000000000000000000000000000000000000000000000000000000000000000\
    0000000000000000000000000000000000000000000000000000000000000000
    """

  /// The index of the first octet in `start..<end` that no token holds, or `end`.
  @inline(__always) func endOfToken(_ start: Int, _ end: Int) -> Int {
    let table = Self.tokenTable.utf8Start
    var i = start
    // Letters and hyphens, which is all that nearly every name is made of, eight octets at a time.
    while i &+ 8 <= end {
      let others = othersThanLettersAndHyphens(at: i)
      if others != 0 {
        i &+= others.trailingZeroBitCount / 8
        break
      }
      i &+= 8
    }
    while i < end, table[Int(self[i])] == UInt8(ascii: "1") { i &+= 1 }
    return i
  }

  /// A bit for each of the eight octets there that is neither an ASCII letter nor a hyphen.
  @inline(__always) private func othersThanLettersAndHyphens(at place: Int) -> UInt64 {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let word = UInt64(littleEndian: UnsafeRawPointer(self).loadUnaligned(fromByteOffset: place, as: UInt64.self))
    // Seven bits each, so that no sum reaches the next octet.
    let low = word & (ones &* 0x7f)
    let folded = low | (ones &* 0x20)
    let letters = (folded &+ (ones &* (0x80 - 0x61))) & ~(folded &+ (ones &* (0x80 - 0x7b)))
    let isNoHyphen = (low ^ (ones &* 0x2d)) &+ (ones &* 0x7f)
    return (~(letters | ~isNoHyphen) | word) & (ones &* 0x80)
  }

  /// The index of the first control character but a tab in `start..<end`, or `end`. Eight octets at a time.
  @inline(__always) func firstControl(_ start: Int, _ end: Int) -> Int {
    var i = start
    while i &+ 8 <= end {
      let hits = controls(at: i)
      if hits == 0 {
        i &+= 8
        continue
      }
      // A borrow can only flag octets behind a real hit, so the first one is real.
      let hit = i &+ hits.trailingZeroBitCount / 8
      if self[hit] != 9 { return hit }
      i = hit &+ 1
    }
    // The rest, with octets before it that have been looked at: what is longer than a word has no slow end.
    if i < end, end &- start >= 8, controls(at: end &- 8) == 0 { return end }
    while i < end {
      if (self[i] < 32 && self[i] != 9) || self[i] == 127 { return i }
      i &+= 1
    }
    return end
  }

  /// A bit for each of the eight octets there that is a control character, a tab included.
  @inline(__always) private func controls(at place: Int) -> UInt64 {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let word = UInt64(littleEndian: UnsafeRawPointer(self).loadUnaligned(fromByteOffset: place, as: UInt64.self))
    let belowSpace = (word &- (ones &* 32)) & ~word
    let delete = word ^ (ones &* 127)
    return (belowSpace | ((delete &- ones) & ~delete)) & (ones &* 0x80)
  }

  /// Whether the token at `start` with the length of `name`, which is in lower case, is this name.
  @inline(__always) func spells(_ name: StaticString, at start: Int) -> Bool {
    let expected = name.utf8Start
    for i in 0..<name.utf8CodeUnitCount where self[start &+ i] | 0x20 != expected[i] { return false }
    return true
  }

  /// The same, with `_` read as `-`, as origins do that hand fields over as environment variables.
  @inline(__always) func spellsFolded(_ name: StaticString, at start: Int) -> Bool {
    let expected = name.utf8Start
    for i in 0..<name.utf8CodeUnitCount {
      let octet = self[start &+ i] == UInt8(ascii: "_") ? UInt8(ascii: "-") : self[start &+ i] | 0x20
      if octet != expected[i] { return false }
    }
    return true
  }

  func part(_ range: Range<Int>) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(start: self + range.lowerBound, count: range.count)
  }
}
