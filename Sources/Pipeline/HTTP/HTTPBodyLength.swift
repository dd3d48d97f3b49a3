/// How long a body is, as its head says (RFC 9112, 6).
public enum HTTPBodyLength: Hashable, Sendable {
  case none
  /// So many bytes follow.
  case bytes(UInt64)
  /// It says itself where it ends: chunked, or, in a response, by the end of the connection.
  case unknown
}

/// A version of HTTP/1.
public enum HTTPVersion: String, Hashable, Sendable {
  case http10 = "1.0"
  case http11 = "1.1"
}
