import Pipeline

/// What keeps web pages out of an admin listener on TCP: a browser on this machine runs the scripts of strangers, and reaches
/// it.
///
/// - A request has to be for an address, for `localhost`, or for a name that was said. A page whose own name has been made to
///   point here (DNS rebinding) asks for that name, and gets 403.
/// - What changes something needs the field `x-sluice-admin`, whatever its value: a page may not send it to another origin
///   without asking first (Fetch Standard, CORS preflight), and no answer here allows it.
struct AdminGuard: HTTPMiddleware {
  /// In lower case.
  let names: Set<String>

  init(names: [String]) { self.names = Set(names.map { $0.lowercased() }) }

  var parameters: [Parameter] {
    [Parameter("hosts", (["addresses", "localhost"] + names.sorted()).joined(separator: ", "))]
  }

  func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
    guard isKnown(exchange.request.host) else {
      return try await exchange.refuse(
        "the host of the request is neither an address nor localhost; name others with --admin-http-host NAME", 403)
    }
    let isReading = exchange.request.method == .get || exchange.request.method == .head
    guard isReading || exchange.request.fields.contains("x-sluice-admin") else {
      return try await exchange.refuse("to change something send the field x-sluice-admin, with any value", 403)
    }
    return try await next()
  }

  func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    head.fields.set("cache-control", "no-store")
    head.fields.set("x-content-type-options", "nosniff")
  }

  func isKnown(_ host: String?) -> Bool {
    guard let host, let known = Host(host) else { return false }
    switch known {
    case .ip: return true
    case .name(let name): return name.text == "localhost" || names.contains(name.text)
    }
  }
}
