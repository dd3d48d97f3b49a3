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

/// Answers with a closure.
///
/// ```swift
/// Route("/hello/:name") { } to: {
///   Handle { request in try await request.respond(text: "Hello \(request.pathParameter("name") ?? "")\n") }
/// }
/// Route("/sum", methods: [.post]) { } to: {
///   Handle { request in
///     let body = try await request.collectBody(upTo: 1024)
///     guard let radix = request.queryItem("radix").flatMap({ Int($0) }) else { return try await request.respond(400) }
///     return try await request.respond(text: sum(of: body, radix))
///   }
/// }
/// ```
/// What the closure throws becomes the answer: a ``Rejection`` its own status, anything else a 500. Nothing of the error
/// reaches the client.
public struct Handle: Destination {
  private let body: @Sendable (HTTPExchange) async throws -> Summary

  public init(_ body: @escaping @Sendable (HTTPExchange) async throws -> Summary) { self.body = body }

  public func serve(_ exchange: HTTPExchange) async throws -> Summary { try await body(exchange) }
}

extension HTTPExchange {
  /// Answers with a text.
  ///
  /// - Parameters:
  ///   - status: 200...599.
  ///   - text: sent in UTF-8. What a client chose must be escaped where `contentType` gives it a meaning (HTML).
  public final func respond(
    _ status: Int = 200, text: String, contentType: String = "text/plain; charset=utf-8"
  ) async throws -> Summary {
    try await respond(status, body: Array(text.utf8)) { $0.fields.set("content-type", contentType) }
  }

  /// The first value of this name in the query, decoded as a form's (`+` is a space); `nil` without one.
  public final func queryItem(_ name: String) -> String? { request.queryItem(name) }
}

extension HTTPRequestHead {
  /// The names and values of the query in order, decoded as a form's (`+` is a space, `%20`, too). Where the encoding is
  /// broken a text stands as it came. An item without `=` has the value "".
  public var queryItems: [(name: String, value: String)] {
    var items: [(name: String, value: String)] = []
    forEachQueryItem { name, value in
      items.append((Self.decoded(name), Self.decoded(value)))
      return true
    }
    return items
  }

  /// The first value of this name in the query, decoded; `nil` without one.
  public func queryItem(_ name: String) -> String? {
    var found: String?
    forEachQueryItem { itemName, value in
      if Self.decoded(itemName) == name { found = Self.decoded(value) }
      return found == nil
    }
    return found
  }

  private func forEachQueryItem(_ body: (_ name: Span<UInt8>, _ value: Span<UInt8>) -> Bool) {
    let all = targetBytes.span
    var begin = pathRange.upperBound + 1
    while begin < all.count {
      var end = begin
      var equals: Int?
      while end < all.count, all[end] != UInt8(ascii: "&") {
        if all[end] == UInt8(ascii: "="), equals == nil { equals = end }
        end += 1
      }
      let nameEnd = equals ?? end
      if end > begin, !body(all.extracting(begin..<nameEnd), all.extracting(min(nameEnd + 1, end)..<end)) { return }
      begin = end + 1
    }
  }

  private static func decoded(_ text: borrowing Span<UInt8>) -> String {
    guard forEachDecoded(text, { _ in true }) else {
      var raw: [UInt8] = []
      for i in 0..<text.count { raw.append(text[i]) }
      return String(decoding: raw, as: UTF8.self)
    }
    return percentDecodedText(text, plusIsSpace: true)
  }
}
