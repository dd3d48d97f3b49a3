/// Decides whether a route takes a request.
///
/// Segments are compared after percent-decoding, and empty ones (`//`) are skipped, so that a request which an upstream
/// takes for `/admin` is not taken for something else here. A path with `.` or `..` segments is refused.
struct RouteMatcher: Sendable {
  private enum Segment: Sendable {
    case literal([UInt8])
    case parameter(String)
    /// Everything that is left; the last one.
    case tail(String)
  }

  private let path: String
  private let segments: [Segment]
  private let host: [UInt8]?
  private let coversSubdomains: Bool
  private let methods: AllowedMethods?
  private let methodNames: String?
  private let matching: PathMatching

  init(_ path: String, host: String?, methods: Set<HTTPMethod>?, matching: PathMatching) {
    self.path = path
    self.methods = methods.map(AllowedMethods.init)
    methodNames = methods?.map(\.name).sorted().joined(separator: " ")
    self.matching = matching
    coversSubdomains = host?.hasPrefix("*.") ?? false
    self.host = host.map { Array(($0.hasPrefix("*.") ? String($0.dropFirst(2)) : $0).lowercased().utf8) }
    segments = path.split(separator: "/").map { text in
      switch text.first {
      case ":": .parameter(String(text.dropFirst()))
      case "*": .tail(String(text.dropFirst()))
      default: .literal(Array(text.utf8))
      }
    }
  }

  /// What is wrong with the route itself.
  var problems: [String] {
    var problems: [String] = []
    if path.first != "/" { problems.append("the path \"\(path)\" has to begin with /") }
    if path.contains("?") || path.contains("%") {
      problems.append("the path \"\(path)\" is compared after decoding and without the query: write it plainly")
    }
    var names: Set<String> = []
    for (index, segment) in segments.enumerated() {
      switch segment {
      case .literal: break
      case .parameter(let name):
        if name.isEmpty { problems.append("the path \"\(path)\" has a parameter without a name: write :name") }
        if !names.insert(name).inserted { problems.append("the path \"\(path)\" has two parameters :\(name)") }
      case .tail(let name):
        if name.isEmpty { problems.append("the path \"\(path)\" has a tail without a name: write *name") }
        if !names.insert(name).inserted { problems.append("the path \"\(path)\" has two parameters \(name)") }
        if index < segments.count - 1 {
          problems.append("the path \"\(path)\" goes on after *\(name), which takes all that is left")
        }
      }
    }
    if let host, host.isEmpty || host.contains(where: { $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: "*") }),
      host.first != UInt8(ascii: "[")
    {
      problems.append(
        "the host \"\(String(decoding: host, as: UTF8.self))\" is no name: write example.org or *.example.org, without a port"
      )
    }
    if let methods, methods.isEmpty { problems.append("the path \"\(path)\" accepts no method at all") }
    return problems
  }

  /// Methods, host and path, as far as they are given.
  var name: String {
    let host = host.map { (coversSubdomains ? "*." : "") + String(decoding: $0, as: UTF8.self) } ?? ""
    return (methodNames.map { $0 + " " } ?? "") + host + path + (matching.isExact ? " (exact)" : "")
  }

  var parameters: [Parameter] {
    var out = [Parameter("path", matching.isExact ? "\(path) (exact)" : path)]
    if let host {
      out.append(Parameter("host", (coversSubdomains ? "*." : "") + String(decoding: host, as: UTF8.self)))
    }
    if let methodNames { out.append(Parameter("methods", methodNames)) }
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
    if let methods, !methods.contains(exchange.request.method) {
      exchange.captures.truncate(to: captured)
      exchange.allowed.formUnion(methods)
      return false
    }
    return true
  }

  private func matchesHost(_ request: HTTPRequestHead) -> Bool {
    guard let host else { return true }
    return request.isFor(host, orBelow: coversSubdomains)
  }

  private func matchesPath(_ exchange: HTTPExchange) throws -> Bool {
    try exchange.request.withPath { path in
      try refuseDotSegments(path)
      var matched = 0
      var begin = 0
      while begin < path.count {
        var end = begin
        while end < path.count, path[end] != UInt8(ascii: "/") { end += 1 }
        if end > begin {
          let segment = path.extracting(begin..<end)
          if matched < segments.count {
            switch segments[matched] {
            case .literal(let expected):
              guard percentDecoded(segment, equals: expected) else { return false }
            case .parameter(let name):
              exchange.captures.append(name, segment)
            case .tail(let name):
              exchange.captures.append(name, path.extracting(begin..<path.count))
              return true
            }
          } else if matching.isExact {
            return false
          }
          matched += 1
        }
        begin = end + 1
      }
      if matched == segments.count - 1, case .tail(let name) = segments[matched] {
        exchange.captures.append(name, path.extracting(path.count..<path.count))
        return true
      }
      return matched >= segments.count
    }
  }
}

/// The path parameters of the routes that the request went into.
struct RouteCaptures {
  // Copied out of the target, which may be rewritten below and is overwritten by the next request.
  private var bytes: [UInt8] = []
  private var entries: [(name: String, range: Range<Int>)] = []

  var count: Int { entries.count }

  mutating func append(_ name: String, _ value: borrowing Span<UInt8>) {
    let start = bytes.count
    for i in 0..<value.count { bytes.append(value[i]) }
    entries.append((name, start..<bytes.count))
  }

  mutating func truncate(to count: Int) {
    entries.removeLast(entries.count - count)
    bytes.removeLast(bytes.count - (entries.last?.range.upperBound ?? 0))
  }

  mutating func removeAll() {
    if entries.isEmpty { return }
    entries.removeAll(keepingCapacity: true)
    bytes.removeAll(keepingCapacity: true)
  }

  /// As it came, percent-encoding and all; nothing where no route has such a parameter.
  func withRaw(_ name: String, _ body: (Span<UInt8>) -> Void) {
    if let entry = entries.last(where: { $0.name == name }) { body(bytes.span.extracting(entry.range)) }
  }

  subscript(_ name: String) -> String? {
    guard let entry = entries.last(where: { $0.name == name }) else { return nil }
    return percentDecodedText(bytes.span.extracting(entry.range))
  }
}

extension HTTPExchange {
  /// What `:name` or `*name` of a route's path took, percent-decoded; `nil` when no route that was taken has such a
  /// parameter. Of several the innermost. Somebody else chose it: it may hold any character, `/` included.
  public final func pathParameter(_ name: String) -> String? { captures[name] }
}

extension HTTPRequestHead {
  /// Whether there is a path at all: not in `*`, nor in a CONNECT.
  package var hasPath: Bool { pathRange.upperBound > 0 }

  /// How many bytes of the path these decoded segments take at its begin, compared like a route's; `nil`: they are not
  /// there.
  package func lengthOfPrefix(_ segments: [[UInt8]]) -> Int? {
    withPath { path in
      var matched = 0
      var begin = 0
      while begin < path.count, matched < segments.count {
        var end = begin
        while end < path.count, path[end] != UInt8(ascii: "/") { end += 1 }
        if end > begin {
          guard percentDecoded(path.extracting(begin..<end), equals: segments[matched]) else { return nil }
          matched += 1
        }
        begin = matched == segments.count ? end : end + 1
      }
      return matched == segments.count ? begin : nil
    }
  }

  /// Replaces a part of the path, counted from its begin.
  package mutating func replacePath(_ part: Range<Int>, with bytes: [UInt8]) {
    let start = pathRange.lowerBound
    targetBytes.replaceSubrange(start + part.lowerBound..<start + part.upperBound, with: bytes)
  }

  /// - Throws: `Rejection(.malformed)` for a path that an upstream could take for another one: that does not begin with one
  ///   `/`, has dot segments, a broken percent-encoding, or a byte that ends a path or a line.
  package func refuseAmbiguousPath() throws {
    try withPath { path in
      guard path.count > 0, path[0] == UInt8(ascii: "/") else {
        throw Rejection(.malformed, detail: "the path does not begin with /")
      }
      if path.count > 1, path[1] == UInt8(ascii: "/") {
        throw Rejection(.malformed, detail: "the path begins with //, which may be read as a host")
      }
      for i in 0..<path.count {
        let byte = path[i]
        if byte <= 32 || byte == 127 || byte == UInt8(ascii: "#") || byte == UInt8(ascii: "\\") {
          throw Rejection(.malformed, detail: "the path has the byte \(byte), which has to be percent-encoded")
        }
      }
      try refuseDotSegments(path)
    }
  }
}

/// Looks at the whole path, whatever a route matches of it: `/x/../admin` may be `/admin` to an upstream.
func refuseDotSegments(_ path: borrowing Span<UInt8>) throws {
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
