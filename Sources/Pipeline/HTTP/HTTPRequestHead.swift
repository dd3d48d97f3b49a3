/// The head of a request. Its target is kept as the bytes that the client sent.
public struct HTTPRequestHead: Sendable {
  public var method: HTTPMethod
  public var fields = HeaderFields()
  /// What follows the head. Set by the transport; `content-length` and `transfer-encoding` are not among the fields.
  public package(set) var body = HTTPBodyLength.none
  /// The version that the client speaks.
  public package(set) var version = HTTPVersion.http11
  @usableFromInline package var targetBytes: [UInt8]

  /// - Parameter target: as in the request line (RFC 9112, 3.2): `/path?query`, `http://host/path`, `host:port` or `*`.
  public init(method: HTTPMethod, target: String) {
    self.method = method
    targetBytes = Array(target.utf8)
  }

  /// The request target as it came, or as a middleware has rewritten it.
  public var target: String {
    get { String(decoding: targetBytes, as: UTF8.self) }
    set { targetBytes = Array(newValue.utf8.filter { $0 > 32 && $0 != 127 }) }
  }

  /// The path without the query, as it came: percent-encoding is left alone. Setting it keeps the query.
  public var path: String {
    get { String(decoding: targetBytes[pathRange], as: UTF8.self) }
    set { targetBytes.replaceSubrange(pathRange, with: newValue.utf8.filter { $0 > 32 && $0 != 127 }) }
  }

  /// Borrows the path without the query, as it came. Nothing is copied, and nothing can escape.
  public func withPath<Result: ~Copyable>(_ body: (Span<UInt8>) throws -> Result) rethrows -> Result {
    try body(targetBytes.span.extracting(pathRange))
  }

  /// What follows the first `?`; `nil` without one.
  public var query: String? {
    let end = pathRange.upperBound
    let hasQuery = end < targetBytes.count && targetBytes[end] == UInt8(ascii: "?")
    return hasQuery ? String(decoding: targetBytes[(end + 1)...], as: UTF8.self) : nil
  }

  /// The host that the request is for, without the port and in lower case: of the target where it has one, else of the
  /// `host` field (RFC 9112, 3.2.2).
  public var host: String? {
    if let authority = authorityRange { return Self.host(of: targetBytes.span.extracting(authority)) }
    return fields.withHost { value in
      guard let value else { return nil }
      return Self.host(of: value)
    }
  }

  /// Borrows the host and port that the request is for, as they were sent; `nil` without any.
  @inlinable package func withAuthority<Result: ~Copyable>(_ body: (Span<UInt8>?) throws -> Result) rethrows -> Result {
    if let authority = authorityRange { return try body(targetBytes.span.extracting(authority)) }
    return try fields.withHost(body)
  }

  /// Borrows the target without its query, for logs: a query may hold what is secret.
  @inlinable package func withTargetBeforeQuery<Result: ~Copyable>(_ body: (Span<UInt8>) throws -> Result) rethrows
    -> Result
  {
    let end = targetBytes.firstIndex(of: UInt8(ascii: "?")) ?? targetBytes.count
    return try body(targetBytes.span.extracting(0..<end))
  }

  private var isOriginForm: Bool { !targetBytes.isEmpty && targetBytes[0] == UInt8(ascii: "/") }

  /// Whether the client speaks to a forward proxy: CONNECT, or a target in absolute form (RFC 9112, 3.2.2 and 3.2.3).
  public var isForProxy: Bool { method == .connect || authorityRange != nil }

  /// Replaces the target in place, so that the next request on the connection allocates nothing.
  package mutating func setTarget(_ bytes: Span<UInt8>) {
    targetBytes.removeAll(keepingCapacity: true)
    targetBytes.append(copying: bytes)
  }

  /// Becomes a copy of `other`; the memory is kept.
  mutating func assign(_ other: HTTPRequestHead) {
    method = other.method
    fields.assign(other.fields)
    body = other.body
    version = other.version
    targetBytes.removeAll(keepingCapacity: true)
    targetBytes.append(contentsOf: other.targetBytes)
  }

  /// The path without the query within the target; empty where the target has none (`*`, a CONNECT).
  package var pathRange: Range<Int> {
    let start: Int
    if isOriginForm {
      start = 0
    } else if let authority = authorityRange, method != .connect {
      start = authority.upperBound
    } else {
      return 0..<0
    }
    let end = targetBytes[start...].firstIndex(of: UInt8(ascii: "?")) ?? targetBytes.count
    return start..<end
  }

  /// `host:port` in `http://host:port/path`, or the whole target of a CONNECT.
  @usableFromInline package var authorityRange: Range<Int>? {
    if method == .connect { return 0..<targetBytes.count }
    guard !isOriginForm, let colon = targetBytes.firstIndex(of: UInt8(ascii: ":")),
      colon + 2 < targetBytes.count, targetBytes[colon + 1] == UInt8(ascii: "/"),
      targetBytes[colon + 2] == UInt8(ascii: "/")
    else { return nil }
    let start = colon + 3
    let end =
      targetBytes[start...].firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? targetBytes.count
    return start..<end
  }

  /// Whether the request is for this host (in lower case), or for one below it; allocates nothing.
  func isFor(_ host: [UInt8], orBelow: Bool) -> Bool {
    if let authority = authorityRange {
      return Self.matches(targetBytes.span.extracting(authority), host, orBelow: orBelow)
    }
    return fields.withHost { value in
      guard let value else { return false }
      return Self.matches(value, host, orBelow: orBelow)
    }
  }

  private static func matches(_ authority: borrowing Span<UInt8>, _ host: [UInt8], orBelow: Bool) -> Bool {
    let range = hostRange(in: authority)
    guard orBelow ? range.count > host.count + 1 : range.count == host.count else { return false }
    let start = range.upperBound - host.count
    for i in 0..<host.count where lowercased(authority[start + i]) != host[i] { return false }
    return !orBelow || authority[start - 1] == UInt8(ascii: ".")
  }

  private static func host(of authority: borrowing Span<UInt8>) -> String {
    var text = ""
    for i in hostRange(in: authority) { text.unicodeScalars.append(Unicode.Scalar(lowercased(authority[i]))) }
    return text
  }

  /// The host without user information, port and the dot that ends a full name.
  private static func hostRange(in authority: borrowing Span<UInt8>) -> Range<Int> {
    var begin = 0
    for i in 0..<authority.count where authority[i] == UInt8(ascii: "@") { begin = i + 1 }
    var end = authority.count
    var i = authority.count - 1
    while i >= begin, authority[i] != UInt8(ascii: "]") {
      if authority[i] == UInt8(ascii: ":") { end = i }
      i -= 1
    }
    if end > begin + 1, authority[end - 1] == UInt8(ascii: ".") { end -= 1 }
    return begin..<max(begin, end)
  }
}
