/// The head of a response, between the one who answers and the client. Elements edit it in their `respond`.
public struct HTTPResponseHead: Sendable {
  /// Who answered.
  public enum Origin: Sendable, Hashable {
    /// An upstream.
    case upstream
    /// This proxy: a rejection, a cached or an authored response.
    case local
  }

  /// What follows the head.
  public enum Body: Sendable, Hashable {
    /// What the upstream sends.
    case relayed
    case bytes([UInt8])
    /// What a destination writes with ``HTTPExchange/writeBody(_:)``; `nil`: it does not know how much.
    case streamed(length: UInt64?)
  }

  public var status = 200
  public var fields = HeaderFields()
  public var origin = Origin.upstream
  /// The version of HTTP in which an upstream sent it, at once or before it was stored; `nil` for what is made here. What
  /// comes from an upstream has a `via` field on its way out (RFC 9110, 7.6.3).
  public var receivedVersion: HTTPVersion?
  public private(set) var body = Body.relayed

  public init() {}

  /// Sends these bytes instead of what would have followed, and sets `content-length`.
  public mutating func replaceBody(_ bytes: [UInt8]) {
    body = .bytes(bytes)
    fields.remove("transfer-encoding")
    fields.set("content-length", bytes.count)
  }

  /// A destination of ours writes the body piece by piece.
  package mutating func streamBody(length: UInt64?) {
    body = .streamed(length: length)
    fields.remove("transfer-encoding")
    fields.remove("content-length")
  }

  package mutating func reset() {
    status = 200
    fields.removeAll()
    origin = .upstream
    receivedVersion = nil
    body = .relayed
  }
}

/// Sees the body of one response while it is relayed. Installing one moves this exchange to the path on which bytes pass
/// through the process.
public protocol BodyTap: AnyObject {
  /// What the client will get: called once, before the first byte, when all elements have seen the head. An element
  /// further out may have put another body in place of the one that was there when the tap was installed.
  func begin(_ body: HTTPResponseHead.Body)
  /// The next bytes; they are valid during the call only.
  func receive(_ bytes: RawSpan)
  /// Nothing more comes. `complete` is false when the response was cut.
  func finish(complete: Bool)
}

extension BodyTap {
  public func begin(_ body: HTTPResponseHead.Body) {}
}

/// Runs the response phase of a chain. A service is one; an exchange keeps it from the first element on.
public protocol ResponsePhase: AnyObject {
  func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws
}
