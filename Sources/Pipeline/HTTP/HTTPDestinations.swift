/// Answers every request with the same response.
public struct Respond: Destination {
  private let status: Int
  private let body: [UInt8]
  private let contentType: String

  /// - Parameters:
  ///   - status: 200...599.
  ///   - body: sent as it is, in UTF-8.
  public init(_ status: Int, _ body: String = "", contentType: String = "text/plain; charset=utf-8") {
    precondition((200...599).contains(status), "Respond(\(status)): the status is one of 200...599")
    self.status = status
    self.body = Array(body.utf8)
    self.contentType = contentType
  }

  public var parameters: [Parameter] { [Parameter("status", String(status))] }

  public func serve(_ exchange: HTTPExchange) async throws -> Summary {
    try await exchange.respond(status, body: body) { head in
      if !body.isEmpty { head.fields.set("content-type", contentType) }
    }
  }
}

/// Sends the client elsewhere (RFC 9110, 15.4).
public struct Redirect: Destination {
  private let location: @Sendable (HTTPRequestHead) -> String
  private let status: Int

  /// - Parameter permanent: 308 instead of 307. Both keep the method and the body.
  public init(permanent: Bool = false, to location: @escaping @Sendable (HTTPRequestHead) -> String) {
    self.location = location
    status = permanent ? 308 : 307
  }

  public var parameters: [Parameter] { [Parameter("status", String(status))] }

  public func serve(_ exchange: HTTPExchange) async throws -> Summary {
    let target = location(exchange.request)
    return try await exchange.respond(status) { $0.fields.set("location", target) }
  }
}

/// Answers with a closure: `Handle { exchange in try await exchange.respond(200) }`.
public struct Handle: Destination {
  private let body: @Sendable (HTTPExchange) async throws -> Summary

  public init(_ body: @escaping @Sendable (HTTPExchange) async throws -> Summary) { self.body = body }

  public func serve(_ exchange: HTTPExchange) async throws -> Summary { try await body(exchange) }
}
