public import Pipeline

/// Changes the path that the elements below, the routes and the upstream see. The query stays.
///
/// ```swift
/// Route("/api") { RewritePath(.strip("/api")) } to: { Upstream("backend:8080") }   // /api/x → /x
/// RewritePath(.add("/v2"))                                                         // /x → /v2/x
/// RewritePath(.replace("/old", with: "/new"))                                      // /old/x → /new/x
/// RewritePath { path in path.hasSuffix(".htm") ? path + "l" : nil }                // nil: leave it
/// ```
/// Prefixes are compared like those of a ``Route``: whole segments, after percent-decoding. A path that does not begin with
/// the prefix stays as it is, as do `*` and the target of a CONNECT. What would come out ambiguous (`//host/x`, dot segments,
/// a broken percent-encoding, a control character) is refused as `malformed`: HTTP 400.
///
/// What stands above sees the old path again when the exchange is over; so a retry above does not strip twice. Costs a copy
/// of the head, and no allocation, but for a closure's own.
public struct RewritePath: HTTPMiddleware {
  @inlinable public static var throwsLate: Bool { false }

  /// What is done to the path.
  public struct Change: Sendable {
    fileprivate enum Kind: Sendable {
      case replace(prefix: [[UInt8]], with: [UInt8])
      case add([UInt8])
      case closure(@Sendable (String) -> String?)
    }

    fileprivate let kind: Kind
    fileprivate let text: String
    fileprivate let prefixes: [String]

    /// Takes the prefix away: `/api/x` becomes `/x`, `/api` becomes `/`.
    public static func strip(_ prefix: String) -> Change {
      Change(kind: .replace(prefix: segments(prefix), with: []), text: "strip \(prefix)", prefixes: [prefix])
    }

    /// Puts a prefix in front.
    public static func add(_ prefix: String) -> Change {
      Change(kind: .add(bytes(prefix)), text: "add \(prefix)", prefixes: [prefix])
    }

    /// Puts one prefix in the place of another.
    public static func replace(_ prefix: String, with other: String) -> Change {
      Change(
        kind: .replace(prefix: segments(prefix), with: bytes(other)), text: "replace \(prefix) with \(other)",
        prefixes: [prefix, other])
    }

    private static func segments(_ prefix: String) -> [[UInt8]] { prefix.split(separator: "/").map { Array($0.utf8) } }

    /// Without the `/` at its end, for the rest of the path begins with one.
    private static func bytes(_ prefix: String) -> [UInt8] {
      prefix.hasSuffix("/") ? Array(prefix.utf8.dropLast()) : Array(prefix.utf8)
    }
  }

  private let change: Change

  public init(_ change: Change) { self.change = change }

  /// - Parameter change: the new path, percent-encoded where it has to be; `nil` leaves it. Gets the path as it came, for
  ///   each request, on the loop: compile a pattern once, outside.
  public init(_ change: @escaping @Sendable (_ path: String) -> String?) {
    self.change = Change(kind: .closure(change), text: "by a closure", prefixes: [])
  }

  public func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
    guard exchange.request.hasPath else { return try await next() }
    return try await exchange.withEditedRequest({ try rewrite(&$0) }) { try await next() }
  }

  public var parameters: [Parameter] { [Parameter("change", change.text)] }

  public func validate(into problems: inout Problems) {
    for prefix in change.prefixes {
      if prefix.first != "/" { problems.refuse("the prefix \"\(prefix)\" has to begin with /") }
      let isPlain = prefix.utf8.allSatisfy { $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "%") }
      if !isPlain { problems.refuse("the prefix \"\(prefix)\" has a character that a path cannot hold as it is") }
      if prefix.split(separator: "/").contains(where: { $0 == "." || $0 == ".." }) {
        problems.refuse("the prefix \"\(prefix)\" has dot segments")
      }
    }
  }

  private func rewrite(_ head: inout HTTPRequestHead) throws {
    switch change.kind {
    case .replace(let prefix, let other):
      guard let length = head.lengthOfPrefix(prefix) else { return }
      head.replacePath(0..<length, with: other)
      let isEmpty = head.withPath { $0.isEmpty }
      if isEmpty { head.replacePath(0..<0, with: [UInt8(ascii: "/")]) }
    case .add(let prefix): head.replacePath(0..<0, with: prefix)
    case .closure(let change):
      guard let path = change(head.path) else { return }
      let length = head.withPath { $0.count }
      // A `?` would move the border between path and query.
      if path.utf8.contains(UInt8(ascii: "?")) { throw Rejection(.internalError, detail: "the new path has a ?") }
      head.replacePath(0..<length, with: Array(path.utf8))
    }
    try head.refuseAmbiguousPath()
  }
}
