/// Decides whether a route takes a request.
///
/// Segments are compared after percent-decoding, and empty ones (`//`) are skipped, so that a request which an upstream
/// takes for `/admin` is not taken for something else here. A path with `.` or `..` segments is refused.
struct RouteMatcher: Sendable {
  private enum Segment: Sendable {
    case literal([UInt8])
    case parameter(String)
  }

  private let path: String
  private let segments: [Segment]
  private let host: [UInt8]?
  private let coversSubdomains: Bool
  private let methods: Set<HTTPMethod>?
  private let matching: PathMatching

  init(_ path: String, host: String?, methods: Set<HTTPMethod>?, matching: PathMatching) {
    self.path = path
    self.methods = methods
    self.matching = matching
    coversSubdomains = host?.hasPrefix("*.") ?? false
    self.host = host.map { Array(($0.hasPrefix("*.") ? String($0.dropFirst(2)) : $0).lowercased().utf8) }
    segments = path.split(separator: "/").map { text in
      text.first == ":" ? .parameter(String(text.dropFirst())) : .literal(Array(text.utf8))
    }
  }

  /// What is wrong with the route itself.
  var problems: [String] {
    var problems: [String] = []
    if path.first != "/" { problems.append("the path \"\(path)\" has to begin with /") }
    var names: Set<String> = []
    for case .parameter(let name) in segments {
      if name.isEmpty { problems.append("the path \"\(path)\" has a parameter without a name: write :name") }
      if !names.insert(name).inserted { problems.append("the path \"\(path)\" has two parameters :\(name)") }
    }
    if let methods, methods.isEmpty { problems.append("the path \"\(path)\" accepts no method at all") }
    return problems
  }

  var parameters: [Parameter] {
    var out = [Parameter("path", matching.isExact ? "\(path) (exact)" : path)]
    if let host {
      out.append(Parameter("host", (coversSubdomains ? "*." : "") + String(decoding: host, as: UTF8.self)))
    }
    if let methods { out.append(Parameter("methods", methods.map(\.name).sorted().joined(separator: " "))) }
    return out
  }

  /// Notes the path parameters of a match. Where only the method does not fit, notes the methods that would.
  ///
  /// - Throws: `Rejection(.malformed)` for a path with dot segments or a broken percent-encoding.
  func matches(_ exchange: HTTPExchange) throws -> Bool {
    guard matchesHost(exchange.request) else { return false }
    let captured = exchange.captures.count
    guard try matchesPath(exchange) else {
      exchange.captures.truncate(to: captured)
      return false
    }
    if let methods, !accepts(exchange.request.method, methods) {
      exchange.captures.truncate(to: captured)
      var allowed = Set(methods.map(\.name))
      if methods.contains(.get) { allowed.insert(HTTPMethod.head.name) }
      exchange.annotate(.allowedMethods(allowed.sorted()))
      return false
    }
    return true
  }

  // A server that answers GET answers HEAD (RFC 9110, 9.3.2).
  private func accepts(_ method: HTTPMethod, _ methods: Set<HTTPMethod>) -> Bool {
    methods.contains(method) || (method == .head && methods.contains(.get))
  }

  private func matchesHost(_ request: HTTPRequestHead) -> Bool {
    guard let host else { return true }
    return request.isFor(host, orBelow: coversSubdomains)
  }

  private func matchesPath(_ exchange: HTTPExchange) throws -> Bool {
    let range = exchange.request.pathRange
    let target = exchange.request.targetBytes
    try refuseDotSegments(target.span.extracting(range))
    var matched = 0
    var begin = range.lowerBound
    while begin < range.upperBound {
      var end = begin
      while end < range.upperBound, target[end] != UInt8(ascii: "/") { end += 1 }
      if end > begin {
        let segment = target.span.extracting(begin..<end)
        if matched < segments.count {
          switch segments[matched] {
          case .literal(let expected):
            guard percentDecoded(segment, equals: expected) else { return false }
          case .parameter(let name):
            exchange.captures.append(name, begin..<end, of: target)
          }
        } else if matching.isExact {
          return false
        }
        matched += 1
      }
      begin = end + 1
    }
    return matched >= segments.count
  }
}

/// The path parameters of the routes that the request went into.
struct RouteCaptures {
  // Of the target as it was when the route matched: a middleware below may rewrite it.
  private var target: [UInt8] = []
  private var entries: [(name: String, range: Range<Int>)] = []

  var count: Int { entries.count }

  mutating func append(_ name: String, _ range: Range<Int>, of target: [UInt8]) {
    // Both share one buffer until somebody rewrites the target.
    if entries.isEmpty { self.target = target }
    if self.target == target { entries.append((name, range)) }
  }

  mutating func truncate(to count: Int) {
    entries.removeLast(entries.count - count)
    if entries.isEmpty { target = [] }
  }

  mutating func removeAll() {
    entries.removeAll(keepingCapacity: true)
    target = []
  }

  subscript(_ name: String) -> String? {
    guard let entry = entries.last(where: { $0.name == name }) else { return nil }
    var bytes: [UInt8] = []
    forEachDecoded(target.span.extracting(entry.range)) { byte in
      bytes.append(byte)
      return true
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension HTTPExchange {
  /// The segment that `:name` of a route's path took, percent-decoded; `nil` when no route has such a parameter.
  public final func pathParameter(_ name: String) -> String? { captures[name] }
}

/// Looks at the whole path, whatever a route matches of it: `/x/../admin` may be `/admin` to an upstream.
private func refuseDotSegments(_ path: borrowing Span<UInt8>) throws {
  var needsCheck = false
  for i in 0..<path.count
  where path[i] == UInt8(ascii: "%") || (path[i] == UInt8(ascii: ".") && i > 0 && path[i - 1] == UInt8(ascii: "/")) {
    needsCheck = true
  }
  guard needsCheck else { return }
  var begin = 0
  while begin < path.count {
    var end = begin
    while end < path.count, path[end] != UInt8(ascii: "/") { end += 1 }
    if end > begin, try isDotSegment(path.extracting(begin..<end)) {
      throw Rejection(.malformed, detail: "the path has dot segments")
    }
    begin = end + 1
  }
}

private func isDotSegment(_ segment: borrowing Span<UInt8>) throws -> Bool {
  var length = 0
  var onlyDots = true
  guard
    forEachDecoded(
      segment,
      { byte in
        length += 1
        if byte != UInt8(ascii: ".") { onlyDots = false }
        return true
      })
  else { throw Rejection(.malformed, detail: "the path has a broken percent-encoding") }
  return onlyDots && length <= 2
}

private func percentDecoded(_ segment: borrowing Span<UInt8>, equals expected: [UInt8]) -> Bool {
  var i = 0
  var equal = true
  forEachDecoded(segment) { byte in
    equal = i < expected.count && expected[i] == byte
    i += 1
    return equal
  }
  return equal && i == expected.count
}

/// Calls `body` with every byte after percent-decoding (RFC 3986, 2.1), until it returns false.
///
/// - Returns: false when the encoding is broken.
@discardableResult
private func forEachDecoded(_ text: borrowing Span<UInt8>, _ body: (UInt8) -> Bool) -> Bool {
  func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }
  var i = 0
  while i < text.count {
    var byte = text[i]
    if byte == UInt8(ascii: "%") {
      guard i + 2 < text.count, let high = digit(text[i + 1]), let low = digit(text[i + 2]) else { return false }
      byte = high << 4 | low
      i += 2
    }
    if !body(byte) { return true }
    i += 1
  }
  return true
}
