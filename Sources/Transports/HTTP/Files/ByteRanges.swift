internal import Pipeline

/// Reads a `range` field (RFC 9110, 14.1.2 and 14.2). Pure.
///
/// What is no set of byte ranges counts as none, as does a set that asks for more than it is worth: many small pieces, or
/// pieces that overlap, cost a server more than the whole file (14.2; 17.15).
enum ByteRanges {
  /// Ranges in one field that are looked at; with more of them the whole is sent.
  static let most = 16
  /// What one part of several costs besides its bytes, near enough: a gap that is smaller is sent, too.
  static let partOverhead: UInt64 = 128

  /// What the field asks for of a representation of `size` bytes.
  static func verdict(_ field: String, size: UInt64) -> FileConditions.Verdict {
    guard let specs = specs(of: field) else { return .whole }
    var ranges: [Range<UInt64>] = []
    for spec in specs {
      switch range(spec, size) {
      case .none: return .whole
      case .some(let range): if !range.isEmpty { ranges.append(range) }
      }
    }
    guard let first = ranges.first else { return .unsatisfiable }
    if ranges.count == 1 { return .part(first) }
    ranges = joined(ranges)
    if ranges.count == 1 { return .part(ranges[0]) }
    let bytes = ranges.reduce(0) { $0 + UInt64($1.count) + partOverhead }
    return bytes < size ? .parts(ranges) : .whole
  }

  /// What stands between the commas; `nil` for another unit, and for none or too many.
  private static func specs(of field: String) -> [Substring]? {
    let unit = "bytes="
    guard field.utf8.count > unit.utf8.count, field.prefix(unit.count).lowercased() == unit else { return nil }
    var specs: [Substring] = []
    let elements = field.dropFirst(unit.count).split(
      separator: ",", maxSplits: 2 * most, omittingEmptySubsequences: false)
    if elements.count > 2 * most { return nil }
    for element in elements {
      var spec = element.drop(while: isBlank)
      while let last = spec.last, isBlank(last) { spec.removeLast() }
      // Empty elements of a list do not count (RFC 9110, 5.6.1.2).
      if !spec.isEmpty { specs.append(spec) }
    }
    return specs.isEmpty || specs.count > most ? nil : specs
  }

  private static func isBlank(_ character: Character) -> Bool { character == " " || character == "\t" }

  /// The bytes of one range; empty when there are none, `nil` when it is no range.
  private static func range(_ spec: Substring, _ size: UInt64) -> Range<UInt64>? {
    let parts = spec.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2 else { return nil }
    if parts[0].isEmpty {
      guard let count = number(parts[1]) else { return nil }
      return (size - min(count, size))..<size
    }
    guard let first = number(parts[0]), let last = parts[1].isEmpty ? UInt64.max : number(parts[1]), last >= first
    else { return nil }
    return first >= size ? 0..<0 : first..<(min(last, size - 1) + 1)
  }

  /// Digits only; what is too large counts as the largest.
  private static func number(_ text: Substring) -> UInt64? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
    return UInt64(text) ?? .max
  }

  /// Puts together what overlaps or nearly touches, in the order in which the first piece of each was asked for (15.3.7.2).
  private static func joined(_ ranges: [Range<UInt64>]) -> [Range<UInt64>] {
    var joined: [Range<UInt64>] = []
    for range in ranges {
      var range = range
      var place = joined.count
      // What was apart may come together through the new one. At most `most` are compared with each other.
      while let i = joined.firstIndex(where: { isNear($0, range) }) {
        let other = joined.remove(at: i)
        range = min(other.lowerBound, range.lowerBound)..<max(other.upperBound, range.upperBound)
        place = min(place, i)
      }
      joined.insert(range, at: min(place, joined.count))
    }
    return joined
  }

  private static func isNear(_ a: Range<UInt64>, _ b: Range<UInt64>) -> Bool {
    let (low, high) = a.lowerBound <= b.lowerBound ? (a, b) : (b, a)
    return high.lowerBound <= low.upperBound || high.lowerBound - low.upperBound < partOverhead
  }
}

/// The body of a 206 with several parts (RFC 9110, 14.6).
struct MultipartRanges: Sendable {
  let ranges: [Range<UInt64>]
  private let size: UInt64
  private let type: String
  private let boundary: String

  /// - Parameters:
  ///   - type: the media type of what the parts are of.
  ///   - random: makes the boundary: 128 bits that nobody can know when the file is written.
  init(_ ranges: [Range<UInt64>], of size: UInt64, type: String, random: () -> UInt64) {
    self.ranges = ranges
    self.size = size
    self.type = type
    boundary = [random(), random()].map { number in
      let digits = String(number, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }

  var contentType: String { "multipart/byteranges; boundary=\(boundary)" }

  /// What stands before the bytes of a part.
  func head(_ range: Range<UInt64>) -> [UInt8] {
    let opening = range == ranges.first ? "--" : "\r\n--"
    return Array(
      ("\(opening)\(boundary)\r\ncontent-type: \(type)\r\n"
        + "content-range: bytes \(range.lowerBound)-\(range.upperBound - 1)/\(size)\r\n\r\n").utf8)
  }

  /// What stands behind the last one.
  var end: [UInt8] { Array("\r\n--\(boundary)--\r\n".utf8) }

  var length: UInt64 {
    ranges.reduce(UInt64(end.count)) { $0 + UInt64(head($1).count) + ($1.upperBound - $1.lowerBound) }
  }
}
