internal import Pipeline

/// Which of the error pages a client likes best (RFC 9110, 12.5.1).
enum AcceptedFormat {
  /// How well a range of `accept` names a type, the best first.
  private struct Match {
    /// Thousandths.
    var quality = -1
    /// 3: the type itself, 2: `type/*`, 1: `*/*`.
    var precision = 0
  }

  /// The format with the highest quality; of equals the one that is named most precisely; of those problem details, HTML,
  /// text, and where none is named by itself the fallback. The fallback where nothing fits: an error page that was not asked for beats none.
  static func best(for fields: HeaderFields, fallback: ErrorPages.Format) -> ErrorPages.Format {
    var text = Match()
    var html = Match()
    var problem = Match()
    fields.forEach { name, value in
      guard ("accept" as HeaderName).matches(name) else { return }
      forEachListItem(value) { item in
        let (end, quality) = parameters(of: item)
        let range = item.extracting(0..<end)
        note(precision(range, "text/plain", "text/*"), quality, in: &text)
        note(precision(range, "text/html", "text/*"), quality, in: &html)
        let json = max(
          precision(range, "application/problem+json", "application/*"),
          precision(range, "application/json", "application/*"))
        note(json, quality, in: &problem)
      }
    }
    var best: (format: ErrorPages.Format, rank: (Int, Int, Int)) = (fallback, (0, 0, 0))
    let order: [(ErrorPages.Format, Match)] = [(.problem, problem), (.html, html), (.text, text)]
    for (format, match) in order where match.quality > 0 {
      // Who names JSON beside text wants JSON; who says `*/*` has no wish.
      let rank = (match.quality, match.precision, match.precision < 3 && format == fallback ? 1 : 0)
      if rank > best.rank { best = (format, rank) }
    }
    return best.format
  }

  /// The more precise range decides, whatever its quality.
  private static func note(_ precision: Int, _ quality: Int, in match: inout Match) {
    if precision > match.precision { match = Match(quality: quality, precision: precision) }
  }

  private static func precision(
    _ range: borrowing Span<UInt8>, _ type: StaticString, _ group: StaticString
  ) -> Int {
    if isEqual(range, type) { return 3 }
    if isEqual(range, group) { return 2 }
    return isEqual(range, "*/*") ? 1 : 0
  }

  private static func isEqual(_ range: borrowing Span<UInt8>, _ text: StaticString) -> Bool {
    guard range.count == text.utf8CodeUnitCount else { return false }
    return text.withUTF8Buffer { expected in
      for i in 0..<expected.count {
        let byte = range[i]
        let lower = byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
        if lower != expected[i] { return false }
      }
      return true
    }
  }

  /// Where the media range ends, and its `q` in thousandths: 1000 without one, 0 for one that cannot be read.
  private static func parameters(of item: borrowing Span<UInt8>) -> (end: Int, quality: Int) {
    var end = 0
    while end < item.count, item[end] != UInt8(ascii: ";"), item[end] != 32, item[end] != 9 { end += 1 }
    var i = end
    while i < item.count {
      while i < item.count, item[i] == UInt8(ascii: ";") || item[i] == 32 || item[i] == 9 { i += 1 }
      let begin = i
      while i < item.count, item[i] != UInt8(ascii: ";") { i += 1 }
      if i - begin >= 2, item[begin] | 0x20 == UInt8(ascii: "q"), item[begin + 1] == UInt8(ascii: "=") {
        return (end, quality(item.extracting(begin + 2..<i)))
      }
    }
    return (end, 1000)
  }

  /// `0.75` → 750 (RFC 9110, 12.4.2).
  private static func quality(_ text: borrowing Span<UInt8>) -> Int {
    guard text.count > 0, text[0] == UInt8(ascii: "0") || text[0] == UInt8(ascii: "1") else { return 0 }
    var value = Int(text[0] - 48) * 1000
    var weight = 100
    var i = 2
    if text.count > 1, text[1] != UInt8(ascii: "."), text[1] != 32 { return 0 }
    while i < text.count, weight > 0, text[i] >= 48, text[i] <= 57 {
      value += Int(text[i] - 48) * weight
      weight /= 10
      i += 1
    }
    return min(value, 1000)
  }
}
