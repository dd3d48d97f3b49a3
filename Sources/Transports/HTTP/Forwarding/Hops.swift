internal import Pipeline

/// Counts the proxies that a request has passed by its `via` fields (RFC 9110, 7.6.3).
struct Hops {
  /// More than any way that makes sense; fewer than a head holds. It ends loops that change our name on the way.
  static let most = 64

  private var count = 0

  /// One line of `via`.
  ///
  /// Comments are not told from the rest: an open parenthesis of the client's would hide what follows.
  ///
  /// - Throws: `Rejection(.loopDetected)` when `own` is among the names, or when there are too many.
  mutating func count(_ value: borrowing Span<UInt8>, own: [UInt8]) throws {
    var begin = 0
    while begin < value.count {
      var end = begin
      while end < value.count, value[end] != UInt8(ascii: ",") { end += 1 }
      if Self.receivedBy(value.extracting(begin..<end), is: own) {
        throw Rejection(.loopDetected, detail: "via names this proxy: \(String(decoding: own, as: UTF8.self))")
      }
      count += 1
      begin = end + 1
    }
    if count > Self.most {
      throw Rejection(.loopDetected, detail: "via names \(count) proxies; at most \(Self.most) may")
    }
  }

  /// Whether the second word of `1.1 name (comment)` is `own`; hosts and pseudonyms are compared without regard to case.
  private static func receivedBy(_ entry: Span<UInt8>, is own: [UInt8]) -> Bool {
    var i = 0
    func skip(_ isWanted: (UInt8) -> Bool) { while i < entry.count, isWanted(entry[i]) { i += 1 } }
    skip { $0 == 32 || $0 == 9 }
    skip { $0 != 32 && $0 != 9 }
    skip { $0 == 32 || $0 == 9 }
    guard entry.count - i >= own.count else { return false }
    for k in own.indices where asciiLowercased(entry[i + k]) != asciiLowercased(own[k]) { return false }
    i += own.count
    return i == entry.count || entry[i] == 32 || entry[i] == 9
  }
}
