internal import Pipeline

/// How far a head has come.
enum HeadProgress: Equatable {
  /// More bytes are needed.
  case incomplete
  /// The head has so many bytes, its empty line included.
  case complete(length: Int)
}

/// What a request's head says of the connection and of the body, besides what stands in the head itself. The fields that say
/// it are taken out of the head: whoever writes the request says it anew, so that nothing can be read in two ways.
struct RequestFraming: Equatable {
  /// Whether the client wants another request on this connection.
  var keepsAlive = true
  /// Whether the client waits for `100 (Continue)` before it sends the body.
  var expectsContinue = false
  /// Whether the client asks for another protocol (`connection: upgrade`); its `upgrade` field is still among the fields.
  var wantsUpgrade = false
  /// Whether the client takes trailers (`te: trailers`).
  var acceptsTrailers = false
  /// Whether there is a `host` field. HTTP/1.0 may do without.
  var hasHost = false
}

/// What a response's head says of the connection and of the body.
struct ResponseFraming: Equatable {
  enum Body: Equatable {
    case none
    case bytes(UInt64)
    case chunked
    /// Whatever comes until the origin closes.
    case untilClose
  }

  var body = Body.none
  /// The length that a response without a body declares: what a GET would have brought (HEAD, 304).
  var declaredLength: UInt64?
  /// Whether the connection may carry another request afterwards.
  var keepsAlive = true
  /// 1xx but 101: another head follows.
  var isInterim = false
  /// 101, or a CONNECT that succeeded: what follows is no HTTP. For 101 the `upgrade` field is still among the fields.
  var opensTunnel = false
  /// The version that the origin speaks.
  var version = HTTPVersion.http11
}
