/// A request method (RFC 9110, 9). Case-sensitive.
public struct HTTPMethod: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
  /// Its place in ``known``; `unknown` for every other. A method is compared some times a request: a number, and no string.
  @usableFromInline let code: UInt8
  /// The name of one that has no code.
  private let other: String?

  @usableFromInline static var unknown: UInt8 { 9 }

  @usableFromInline init(code: UInt8) {
    self.code = code
    other = nil
  }

  private init(other name: String) {
    code = Self.unknown
    other = name
  }

  public static var get: HTTPMethod { HTTPMethod(code: 0) }
  public static var head: HTTPMethod { HTTPMethod(code: 1) }
  public static var post: HTTPMethod { HTTPMethod(code: 2) }
  public static var put: HTTPMethod { HTTPMethod(code: 3) }
  public static var delete: HTTPMethod { HTTPMethod(code: 4) }
  public static var connect: HTTPMethod { HTTPMethod(code: 5) }
  public static var options: HTTPMethod { HTTPMethod(code: 6) }
  public static var trace: HTTPMethod { HTTPMethod(code: 7) }
  public static var patch: HTTPMethod { HTTPMethod(code: 8) }

  /// The method of this name, known or not.
  public init(_ name: String) {
    self = Self.known.first { $0.name == name } ?? HTTPMethod(other: name)
  }

  /// The method that a request line names: bytes that a parser has found to be a token. Known ones allocate nothing.
  package init(_ bytes: Span<UInt8>) {
    func spells(_ name: StaticString) -> Bool {
      name.withUTF8Buffer { name in
        for i in 0..<name.count where bytes[i] != name[i] { return false }
        return true
      }
    }
    switch bytes.count {
    case 3 where spells("GET"): self = .get
    case 3 where spells("PUT"): self = .put
    case 4 where spells("POST"): self = .post
    case 4 where spells("HEAD"): self = .head
    case 5 where spells("PATCH"): self = .patch
    case 5 where spells("TRACE"): self = .trace
    case 6 where spells("DELETE"): self = .delete
    case 7 where spells("OPTIONS"): self = .options
    case 7 where spells("CONNECT"): self = .connect
    default: self.init(other: bytes.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) })
    }
  }

  public init(stringLiteral name: String) { self.init(name) }

  public var name: String { knownName?.description ?? other ?? "" }

  private var knownName: StaticString? {
    switch code {
    case 0: "GET"
    case 1: "HEAD"
    case 2: "POST"
    case 3: "PUT"
    case 4: "DELETE"
    case 5: "CONNECT"
    case 6: "OPTIONS"
    case 7: "TRACE"
    case 8: "PATCH"
    default: nil
    }
  }

  public var description: String { name }

  @inlinable public static func == (a: HTTPMethod, b: HTTPMethod) -> Bool {
    a.code == b.code && (a.code != unknown || a.name == b.name)
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(code)
    if let other { hasher.combine(other) }
  }

  static let known: [HTTPMethod] = [.get, .head, .post, .put, .delete, .connect, .options, .trace, .patch]

  /// One bit for each method that has a name of its own here.
  var bit: UInt16? { code < Self.unknown ? 1 << UInt16(code) : nil }

  /// Its place in ``labels``: bounded, whatever clients send.
  package var place: Int { Int(code) }

  /// The names of the known methods; then what every other is shown as, and what is shown where no method was read.
  package static let labels: [MetricLabel] =
    known.map { MetricLabel(configured: $0.name) } + ["other", "none"]

  /// Shows the name as it stands in a request line.
  package func withName(_ body: (Span<UInt8>) -> Void) {
    if let knownName { knownName.withUTF8Buffer { body($0.span) } } else { body(name.utf8.span) }
  }

  /// Whether repeating the request has the effect of one (RFC 9110, 9.2.2).
  public var isIdempotent: Bool {
    switch self {
    case .get, .head, .put, .delete, .options, .trace: true
    default: false
    }
  }
}
