public import Pipeline

/// Lets pages of other origins use what stands below (the CORS protocol of the Fetch standard).
///
/// ```swift
/// CORS(allow: .any)                                                                // public, without credentials
/// CORS(allow: .origins("https://app.example.org", "https://*.example.net"), methods: [.get, .put], headers: .any,
///   exposing: ["etag"], credentials: true)
/// ```
/// Put it above the authenticator: a preflight carries no credentials and is answered here with 204. It sets the
/// `access-control-*` fields of every response, refusals included, in place of what an upstream says; where the answer
/// depends on the origin it says so in `vary`. An origin that is not allowed gets none of them, and its browser refuses;
/// nobody is refused here, for CORS guards browsers, not servers: who may do what is for an authenticator.
///
/// A request without `origin` costs one scan of its fields; another a few more, and an allocation where the origin is
/// allowed by a pattern or a closure.
public struct CORS: HTTPMiddleware {
  @inlinable public static var throwsLate: Bool { false }

  /// The request fields that a page may send besides those that are always allowed.
  public struct RequestHeaders: Sendable {
    /// `nil`: whatever the preflight asks for.
    fileprivate let names: [HeaderName]?
    /// Whatever the page wants to send.
    public static let any = RequestHeaders(names: nil)
    /// These.
    public static func only(_ names: HeaderName...) -> RequestHeaders { RequestHeaders(names: names) }
  }

  private let origins: CORSOrigins
  private let methods: String
  private let headers: RequestHeaders
  private let headerList: String
  private let exposed: String
  private let credentials: Bool
  private let maxAge: Duration
  private let privateNetwork: Bool

  /// - Parameters:
  ///   - origins: whose pages.
  ///   - methods: what they may do.
  ///   - headers: what they may send.
  ///   - exposed: the response fields that they may read besides those that they always may.
  ///   - credentials: whether they may send cookies and logins, and so act as the user. Not together with `.any`.
  ///   - maxAge: how long a browser may rely on a preflight: 0 seconds to 1 day.
  ///   - privateNetwork: whether pages from the public internet may reach this service in a private network.
  public init(
    allow origins: CORSOrigins, methods: Set<HTTPMethod> = [.get, .head, .post], headers: RequestHeaders = .any,
    exposing exposed: [HeaderName] = [], credentials: Bool = false, maxAge: Duration = .seconds(600),
    privateNetwork: Bool = false
  ) {
    self.origins = origins
    self.methods = methods.map(\.name).sorted().joined(separator: ", ")
    self.headers = headers
    headerList = (headers.names ?? []).map(\.description).joined(separator: ", ")
    self.exposed = exposed.map(\.description).joined(separator: ", ")
    self.credentials = credentials
    self.maxAge = maxAge
    self.privateNetwork = privateNetwork
  }

  public func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
    let verdict = exchange.request.fields.withValue(of: "origin") { origin in
      guard let origin else { return CORSVerdict.noOrigin }
      return origins.verdict(on: origin)
    }
    exchange[CORSKey.self] = verdict
    guard isPreflight(exchange.request, verdict) else { return try await next() }
    return try await exchange.respond(204) { head in
      allow(verdict, in: &head.fields)
      describePreflight(verdict, exchange.request.fields, in: &head.fields)
    }
  }

  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    let verdict = exchange[CORSKey.self]
    head.fields.removeAll { name in
      for field in Self.owned where field.matches(name) { return true }
      return false
    }
    allow(verdict, in: &head.fields)
    if verdict.isAllowed, !exposed.isEmpty { head.fields.add("access-control-expose-headers", exposed) }
  }

  public var parameters: [Parameter] {
    [
      Parameter("allow", origins.description), Parameter("methods", methods),
      Parameter("credentials", credentials ? "yes" : "no"),
    ]
  }

  public func validate(into problems: inout Problems) {
    if credentials, origins.isAny {
      problems.refuse("credentials for any origin would let every page act as its visitor: name the origins")
    }
    for problem in origins.problems { problems.refuse(problem) }
    if methods.isEmpty { problems.refuse("no method is allowed: name one or more") }
    if maxAge < .zero || maxAge > .seconds(86_400) {
      problems.refuse("a maxAge of \(maxAge): 0 seconds to 1 day are allowed")
    }
    if problems.nearest(CORS.self) != nil {
      problems.refuse("another CORS stands above it: only one may answer for a response")
    }
  }

  // MARK: -

  private static let owned: [HeaderName] = [
    "access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers",
    "access-control-allow-methods", "access-control-allow-headers", "access-control-max-age",
    "access-control-allow-private-network",
  ]

  /// Every other OPTIONS is a request like any other.
  private func isPreflight(_ request: HTTPRequestHead, _ verdict: CORSVerdict) -> Bool {
    if request.method != .options { return false }
    if case .noOrigin = verdict { return false }
    return request.fields.contains("access-control-request-method")
  }

  private func allow(_ verdict: CORSVerdict, in fields: inout HeaderFields) {
    // Also on the answer to a request without an origin: a cache may give it to a page.
    if !origins.isAny { vary(by: "origin", in: &fields) }
    switch verdict {
    case .noOrigin: if origins.isAny { fields.add("access-control-allow-origin", "*") }
    case .refused: return
    case .anyone: fields.add("access-control-allow-origin", "*")
    case .allowed(let origin):
      fields.add("access-control-allow-origin", origin)
      if credentials { fields.add("access-control-allow-credentials", "true") }
    }
  }

  private func describePreflight(_ verdict: CORSVerdict, _ asked: HeaderFields, in fields: inout HeaderFields) {
    vary(by: "access-control-request-headers", in: &fields)
    guard verdict.isAllowed else { return }
    fields.add("access-control-allow-methods", methods)
    if headers.names != nil {
      if !headerList.isEmpty { fields.add("access-control-allow-headers", headerList) }
    } else {
      // Named one by one: `*` does not cover `authorization`, and means nothing beside credentials.
      asked.withValue(of: "access-control-request-headers") { names in
        if let names { fields.add("access-control-allow-headers", bytes: names) }
      }
    }
    fields.set("access-control-max-age", Int(maxAge.components.seconds))
    guard privateNetwork, asked.contains("access-control-request-private-network") else { return }
    fields.add("access-control-allow-private-network", "true")
  }
}

/// Adds a name to `vary`, unless it stands there or `*` does.
func vary(by name: HeaderName, in fields: inout HeaderFields) {
  var isThere = false
  fields.forEach { field, value in
    if ("vary" as HeaderName).matches(field) {
      forEachListItem(value) { item in
        if name.matches(item) || (item.count == 1 && item[0] == UInt8(ascii: "*")) { isThere = true }
      }
    }
  }
  if !isThere { fields.add("vary", name.description) }
}

/// Shows the items of a comma-separated list (RFC 9110, 5.6.1), without the white space around them.
func forEachListItem(_ list: borrowing Span<UInt8>, _ body: (Span<UInt8>) -> Void) {
  var begin = 0
  while begin <= list.count {
    var end = begin
    while end < list.count, list[end] != UInt8(ascii: ",") { end += 1 }
    var first = begin
    var last = end
    while first < last, list[first] == 32 || list[first] == 9 { first += 1 }
    while last > first, list[last - 1] == 32 || list[last - 1] == 9 { last -= 1 }
    if last > first { body(list.extracting(first..<last)) }
    begin = end + 1
  }
}

enum CORSVerdict: Sendable {
  case noOrigin
  case refused
  /// `*`.
  case anyone
  case allowed(String)

  var isAllowed: Bool {
    switch self {
    case .noOrigin, .refused: false
    case .anyone, .allowed: true
    }
  }
}

// Kept from the way down: an element below may have taken the field out of the request by the time of the answer.
private enum CORSKey: ExchangeKey {
  static var defaultValue: CORSVerdict { .noOrigin }
}
