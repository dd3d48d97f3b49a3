internal import Pipeline

/// The conditions and the ranges of a request (RFC 9110, 13 and 14). Pure: knows no file but what is said of one.
struct FileConditions: Sendable {
  enum Verdict: Equatable {
    case whole
    case part(Range<UInt64>)
    /// Two or more, which do not touch.
    case parts([Range<UInt64>])
    /// 304.
    case notModified
    /// 412.
    case failed
    /// 416.
    case unsatisfiable
  }

  private var ifMatch: [String]
  private var ifNoneMatch: [String]
  private var ifModifiedSince: String?
  private var ifUnmodifiedSince: String?
  private var ifRange: String?
  private var range: String?

  init(_ request: HTTPRequestHead) {
    let fields = request.fields
    ifMatch = fields.values(of: "if-match")
    ifNoneMatch = fields.values(of: "if-none-match")
    ifModifiedSince = fields["if-modified-since"]
    ifUnmodifiedSince = fields["if-unmodified-since"]
    ifRange = fields["if-range"]
    // The field is there once (14.2); a range means something to GET alone.
    range = request.method == .get && fields.count(of: "range") == 1 ? fields["range"] : nil
  }

  /// Whether the file is wanted whatever it is.
  var isEmpty: Bool {
    ifMatch.isEmpty && ifNoneMatch.isEmpty && ifModifiedSince == nil && ifUnmodifiedSince == nil && range == nil
  }

  /// In the order of RFC 9110, 13.2.2.
  func verdict(on file: OpenFile, method: HTTPMethod) -> Verdict {
    verdict(tag: file.tag, lastModified: file.lastModified, size: file.size)
  }

  func verdict(tag: String, lastModified: Int64, size: UInt64) -> Verdict {
    if !ifMatch.isEmpty {
      if !ifMatch.contains(where: { Self.list($0, has: tag, strongly: true) }) { return .failed }
    } else if let date = ifUnmodifiedSince.flatMap({ Self.date($0, lastModified) }), lastModified > date {
      return .failed
    }
    if !ifNoneMatch.isEmpty {
      if ifNoneMatch.contains(where: { Self.list($0, has: tag, strongly: false) }) { return .notModified }
    } else if let date = ifModifiedSince.flatMap({ Self.date($0, lastModified) }), lastModified <= date {
      return .notModified
    }
    guard let range, rangeIsMeant(tag, lastModified) else { return .whole }
    return ByteRanges.verdict(range, size: size)
  }

  /// Whether the part that the client has is of this very file; else it needs the whole one.
  private func rangeIsMeant(_ tag: String, _ lastModified: Int64) -> Bool {
    guard let ifRange else { return true }
    if ifRange.hasPrefix("\"") || ifRange.hasPrefix("W/") { return !tag.hasPrefix("W/") && ifRange == tag }
    // A date is as good as a strong tag only if the file had settled by then, which a strong tag says (13.1.5).
    return !tag.hasPrefix("W/") && Self.date(ifRange, lastModified) == lastModified
  }

  // MARK: - Reading fields

  private static func date(_ text: String, _ now: Int64) -> Int64? { HTTPDate.parse(Array(text.utf8).span, now: now) }

  /// Whether a list of entity tags has this one, or is `*` (8.8.3.2).
  static func list(_ list: String, has tag: String, strongly: Bool) -> Bool {
    if list == "*" { return true }
    func opaque(_ tag: Substring) -> Substring { tag.hasPrefix("W/") ? tag.dropFirst(2) : tag }
    if strongly, tag.hasPrefix("W/") { return false }
    var rest = Substring(list)
    while true {
      rest = rest.drop { $0 == " " || $0 == "," || $0 == "\t" }
      let isWeak = rest.hasPrefix("W/")
      let begin = isWeak ? rest.dropFirst(2) : rest
      guard begin.first == "\"", let end = begin.dropFirst().firstIndex(of: "\"") else { return false }
      if begin[...end] == opaque(Substring(tag)), !(strongly && isWeak) { return true }
      rest = begin[begin.index(after: end)...]
    }
  }

  /// Whether the client takes this encoding (12.5.3).
  static func accepts(_ encoding: Files.Encoding, _ fields: HeaderFields) -> Bool {
    var named: Bool?
    var any = false
    for list in fields.values(of: "accept-encoding") {
      for item in list.lowercased().split(separator: ",") {
        let parts = item.split(separator: ";").map { String($0.filter { $0 != " " && $0 != "\t" }) }
        guard let name = parts.first else { continue }
        let isWanted = !parts.dropFirst().contains { ["q=0", "q=0.", "q=0.0", "q=0.00", "q=0.000"].contains($0) }
        if name == encoding.rawValue || name == "x-" + encoding.rawValue { named = isWanted }
        if name == "*" { any = isWanted }
      }
    }
    return named ?? any
  }
}
