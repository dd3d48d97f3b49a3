/// Asks another service over HTTP on behalf of an exchange: `ForwardAuth`, keys from a URL.
public protocol HTTPClient: Sendable {
  /// Sends a request with an empty body and collects the response. It waits as the exchange waits: under its deadline, and
  /// no longer than its client stays.
  ///
  /// - Parameters:
  ///   - target: in origin form, with its query.
  ///   - fields: besides `host`, which the client adds.
  ///   - limit: bytes of the body that are taken at most.
  /// - Throws: a ``Rejection``: what the dial ended in, `upstreamProtocol` for an answer that is no HTTP or is too long,
  ///   `deadlineExceeded`.
  func send(
    _ method: HTTPMethod, _ target: String, _ fields: HeaderFields, on exchange: Exchange, atMost limit: Int
  ) async throws -> HTTPClientResponse

  /// Where it sends to, for plans and logs.
  var description: String { get }
}

/// A whole response, as an ``HTTPClient`` collects it.
public struct HTTPClientResponse: Sendable {
  public var status: Int
  public var fields: HeaderFields
  public var body: [UInt8]

  public init(status: Int, fields: HeaderFields = HeaderFields(), body: [UInt8] = []) {
    self.status = status
    self.fields = fields
    self.body = body
  }
}
