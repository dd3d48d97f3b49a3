public import Pipeline

/// Sets, adds, removes and picks out header fields, of the request for everything below and of the response for the client.
///
/// ```swift
/// Headers(
///   request: .remove("cookie"), .set("x-user", .identity), .set("x-client", "ip=\(.clientIP)"),
///   response: .remove("server"), .set("x-frame-options", "DENY"), .setIfMissing("cache-control", "no-store"))
/// Headers(request: .keepOnly("accept", "accept-encoding", "user-agent"))
/// ```
/// The edits of a side run in the order in which they stand; values are taken from the request as it came to this element.
/// A value that is not known (an identity where nobody has authenticated) sets nothing, and what the client sent under that
/// name is removed all the same, so that nobody can send it himself; nor with `_` for `-`, which is one to many
/// applications. Answers of our own (a 401, a cached page) are edited like an upstream's. Refuses nobody.
///
/// Costs a scan of the fields an edit; a request side costs a copy of the head besides. Fixed texts cost no allocation,
/// values from the exchange one or two.
public struct Headers: HTTPMiddleware {
  @inlinable public static var throwsLate: Bool { false }

  private let request: [HeaderEdit]
  private let response: [HeaderEdit]

  /// - Parameters:
  ///   - request: what upstreams and the elements below see.
  ///   - response: what the client and the elements above see.
  public init(request: HeaderEdit..., response: HeaderEdit...) { self.init(request: request, response: response) }

  /// The same, for edits that come from settings.
  public init(request: [HeaderEdit], response: [HeaderEdit]) {
    self.request = request
    self.response = response
  }

  public func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
    if request.isEmpty { return try await next() }
    return try await exchange.withEditedRequest({ head in
      for edit in request { edit.applyToRequest(&head.fields, always: Self.kept, exchange) }
    }) { try await next() }
  }

  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    for edit in response { edit.apply(to: &head.fields, always: Self.framing, exchange) }
  }

  public var parameters: [Parameter] {
    request.map { Parameter("request", $0.description) } + response.map { Parameter("response", $0.description) }
  }

  public func validate(into problems: inout Problems) {
    if request.isEmpty, response.isEmpty { problems.refuse("it edits nothing: name an edit or remove it") }
    for edit in request + response {
      for name in edit.touched where Self.framing.contains(where: { $0.isSame(as: name) }) {
        problems.refuse("\(name) is written by the transport, which alone knows how the message is framed")
      }
    }
    for edit in request where edit.removesHost {
      problems.refuse(
        "a request without host is refused by every origin (RFC 9112, 3.2): set it to another value instead")
    }
  }

  /// What says where a message ends, and which connection it is on (RFC 9110, 7.6.1; RFC 9112, 6).
  private static let framing: [HeaderName] = [
    "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade",
  ]
  /// What an allow-list of the request does not have to name.
  private static let kept: [HeaderName] = ["host"] + framing
}

extension HeaderName {
  func isSame(as other: HeaderName) -> Bool { matches(Array(other.description.utf8).span) }
}
