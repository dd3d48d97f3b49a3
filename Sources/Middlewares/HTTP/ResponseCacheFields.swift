// Reading field lines in place. A cache looks at names that it learns from responses (Vary), which the accessors of
// `HeaderFields` do not take, and at a dozen fields of every request, which one pass finds.

/// Where the parts of one field line are.
struct FieldLineParts {
  let name: Range<Int>
  /// Without the white space around it.
  let value: Range<Int>
  /// One past its line end.
  let end: Int
}

extension Span where Element == UInt8 {
  /// The line that begins there; every line ends in CR LF.
  func fieldLine(at begin: Int) -> FieldLineParts {
    var colon = begin
    while self[colon] != UInt8(ascii: ":") { colon += 1 }
    var lineEnd = colon
    while self[lineEnd] != 10 { lineEnd += 1 }
    return FieldLineParts(name: begin..<colon, value: trimmed(colon + 1..<lineEnd - 1), end: lineEnd + 1)
  }

  /// Without the white space at both ends.
  func trimmed(_ range: Range<Int>) -> Range<Int> {
    var first = range.lowerBound
    var last = range.upperBound
    while first < last, isBlank(at: first) { first += 1 }
    while last > first, isBlank(at: last - 1) { last -= 1 }
    return first..<last
  }

  /// Whether the bytes there are this literal (in lower case), in whatever case.
  func reads(_ literal: StaticString, at range: Range<Int>) -> Bool {
    guard range.count == literal.utf8CodeUnitCount else { return false }
    return literal.withUTF8Buffer { own in
      for i in 0..<own.count where lowercase(at: range.lowerBound + i) != own[i] { return false }
      return true
    }
  }

  /// Whether the bytes there are these (in lower case), in whatever case.
  func reads(_ bytes: [UInt8], at range: Range<Int>) -> Bool {
    guard range.count == bytes.count else { return false }
    for i in 0..<bytes.count where lowercase(at: range.lowerBound + i) != bytes[i] { return false }
    return true
  }

  /// Whether the bytes there are these very ones.
  func isEqual(_ bytes: [UInt8], at range: Range<Int>) -> Bool {
    guard range.count == bytes.count else { return false }
    for i in 0..<bytes.count where self[range.lowerBound + i] != bytes[i] { return false }
    return true
  }

  func isBlank(at i: Int) -> Bool { self[i] == 32 || self[i] == 9 }

  func lowercase(at i: Int) -> UInt8 {
    UInt8(ascii: "A") <= self[i] && self[i] <= UInt8(ascii: "Z") ? self[i] | 0x20 : self[i]
  }

  func copy(_ range: Range<Int>) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(range.count)
    for i in range { bytes.append(self[i]) }
    return bytes
  }

  /// The decimal number there, no larger than `limit`; `nil` when it is none.
  func decimal(at range: Range<Int>, limit: Int64 = 1 << 31) -> Int64? {
    guard !range.isEmpty else { return nil }
    var value: Int64 = 0
    for i in range {
      guard UInt8(ascii: "0") <= self[i], self[i] <= UInt8(ascii: "9") else { return nil }
      // RFC 9111, 1.2.2: what is too large counts as the largest number that can be told.
      value = Swift.min(limit, value * 10 + Int64(self[i] - UInt8(ascii: "0")))
    }
    return value
  }
}
