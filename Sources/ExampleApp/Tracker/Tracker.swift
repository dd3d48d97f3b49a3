import Middlewares
import Pipeline
import Transports

/// The token tracker: gives tokens, and counts for each of them how often each path was asked for.
///
///   GET /auth                                            {"token":"<uuid>"}
///   GET any other path, authorization: [Bearer ]<uuid>   {"count":n}, with this request
///   without a token, or with one that was never given    401, www-authenticate
///   the store does not answer                            503 within 2 seconds, retry-after
///   another method                                       405, allow: GET
///
/// What is decided here:
/// - HEAD is another method. Each GET counts, so an answer without its body would either count unseen or tell a wrong count.
/// - A path is what remains after percent-decoding, without the query: `/a%20b` and `/%61%20b?x` are one, `/a/b` and `/a%2Fb`
///   are one, `/a` and `/a/` are two. A broken encoding, bytes that are no UTF-8 and dot segments are a 400; nothing is counted.
/// - `/auth` gives a new token whatever else is sent, a token included, and never counts; `//auth/` is the same place.
/// - A known token and its count are one atomic step in the store, so no answer can be lost between two.
@ProxyBuilder func tracker(
  on address: String, counts: any TokenCounts, log: LogWriter, settings: ServiceSettings, http: HTTPSettings
) -> some Proxy {
  Listener(.http, on: address, name: "tracker") {
    if let format = settings.log.format { AccessLog(format, to: log) }
    OnlyMethod(.get)
  } to: {
    Route("/auth", matching: .exact, to: { GiveToken(counts) })
    Route("/", to: { CountRequest(counts) })
  }.options {
    settings.apply(to: &$0)
    http.apply(to: &$0)
  }
}

/// Half of the tracker as a service of its own: what front ends with `--counter` ask (``CounterCounts``). Whoever reaches it
/// may give tokens and count: it belongs where only front ends do.
@ProxyBuilder func counter(
  on address: String, counts: any TokenCounts, log: LogWriter, settings: ServiceSettings, http: HTTPSettings
) -> some Proxy {
  Listener(.http, on: address, name: "counter") {
    if let format = settings.log.format { AccessLog(format, to: log) }
  } to: {
    Route("/token", methods: [.put], matching: .exact) {
    } to: {
      Handle { exchange in
        try await counts.admit(try exchange.presentedToken(), on: exchange)
        return try await exchange.respond(204)
      }
    }
    Route("/count", methods: [.post], matching: .exact, to: { CountForFrontEnd(counts) })
  }.options {
    settings.apply(to: &$0)
    http.apply(to: &$0)
    // A path that a front end takes, each byte of it percent-encoded.
    $0.http.maxRequestLine = 32 * 1024
    $0.http.maxHead = 64 * 1024
  }
}

/// Lets one method pass; every other is a 405 that says so. Above all routes, because a route for GET takes HEAD, too.
struct OnlyMethod: HTTPMiddleware {
  private let method: HTTPMethod

  init(_ method: HTTPMethod) { self.method = method }

  func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
    guard exchange.request.method == method else {
      exchange.annotate(.allowedMethods([method.name]))
      throw Rejection(.methodNotAllowed)
    }
    return try await next()
  }

  var parameters: [Parameter] { [Parameter("method", method.name)] }
}

/// Answers with a new token.
struct GiveToken: Destination {
  private let counts: any TokenCounts

  init(_ counts: any TokenCounts) { self.counts = counts }

  func serve(_ exchange: HTTPExchange) async throws -> Summary {
    let token = Token.random()
    try await counts.admit(token, on: exchange)
    return try await exchange.respond(json: "{\"token\":\"\(token.text)\"}")
  }

  var state: AnyObject? { counts }
  var parameters: [Parameter] { [Parameter("counts", counts.description)] }
  func run(_ services: any BackgroundServices) async throws { try await counts.run(services) }
}

/// Counts the request for its token and path, and answers with the count.
struct CountRequest: Destination {
  private let counts: any TokenCounts

  init(_ counts: any TokenCounts) { self.counts = counts }

  func serve(_ exchange: HTTPExchange) async throws -> Summary {
    let token = try exchange.presentedToken()
    guard let path = exchange.request.decodedPath else {
      throw Rejection(.malformed, detail: "the path is no percent-encoded UTF-8")
    }
    guard let count = try await counts.count(token, at: path, on: exchange) else { throw exchange.unknownToken() }
    return try await exchange.respond(json: "{\"count\":\(count)}")
  }

  var state: AnyObject? { counts }
  var parameters: [Parameter] { [Parameter("counts", counts.description)] }
  func run(_ services: any BackgroundServices) async throws { try await counts.run(services) }
}

/// Counts for a front end: the path is in the query, the answer is the number alone.
struct CountForFrontEnd: Destination {
  private let counts: any TokenCounts

  init(_ counts: any TokenCounts) { self.counts = counts }

  func serve(_ exchange: HTTPExchange) async throws -> Summary {
    let token = try exchange.presentedToken()
    guard let path = exchange.queryItem("path"), path.hasPrefix("/") else {
      throw Rejection(.malformed, detail: "no path is named")
    }
    guard let count = try await counts.count(token, at: path, on: exchange) else { throw exchange.unknownToken() }
    return try await exchange.respond(text: "\(count)")
  }

  var state: AnyObject? { counts }
  var parameters: [Parameter] { [Parameter("counts", counts.description)] }
  func run(_ services: any BackgroundServices) async throws { try await counts.run(services) }
}
