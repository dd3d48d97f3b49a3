public import Pipeline

/// Asks another service whether a request may pass, and who it is from.
///
/// ```swift
/// ForwardAuth(HTTPOrigin("auth:9091"), path: "/verify", user: "remote-user", copying: ["remote-user", "remote-groups"])
/// ```
/// The service gets a GET without a body, the fields of the request that `sending` names, and `x-forwarded-method`, `-proto`,
/// `-host`, `-uri` and `-for`, which are ours alone: what a client sends under these names goes nowhere. By its answer:
/// - 2xx: the request passes. The fields in `copying` are taken out of the request and replaced by those of the answer, so
///   that no client can send them itself.
/// - 401, 403, a redirect: the client gets this answer, with the fields in `relaying` and the body.
/// - anything else, no answer, or a 2xx that does not name its user: 503. Nobody passes while the service is down.
///
/// A question costs a round trip to the service, within `timeout` and the deadlines above. With `remembering` a request that
/// would ask the very same question (the same fields, method, host, target and client) is answered from memory.
public struct ForwardAuth: Authenticator {
  public typealias Carrier = HTTPExchange
  public static var throwsLate: Bool { true }

  private let client: any HTTPClient
  private let path: String
  private let user: HeaderName?
  private let roles: HeaderName?
  private let sending: [HeaderName]
  private let copying: [HeaderName]
  private let relaying: [HeaderName]
  private let timeout: Duration
  private let remembering: Duration
  private let maxBody: Int
  private var memory: PassMemory

  /// - Parameters:
  ///   - client: the service.
  ///   - path: where it is asked, in origin form.
  ///   - user: the field of its answer that names the user; `nil`: everybody who passes is "forward-auth".
  ///   - roles: the field that lists the user's roles, separated by commas.
  ///   - sending: request fields that the service gets to see.
  ///   - copying: fields of its answer that the request carries on.
  ///   - relaying: fields of a refusal that the client gets, besides `content-type`.
  ///   - timeout: for a question: more than zero, up to 1 minute.
  ///   - remembering: how long a yes holds: 0 (never) to 5 minutes.
  ///   - maxBody: bytes of a refusal's body: 0...1,048,576; a longer one is a 503.
  public init(
    _ client: any HTTPClient, path: String = "/", user: HeaderName? = nil, roles: HeaderName? = nil,
    sending: [HeaderName] = ["authorization", "cookie"], copying: [HeaderName] = [],
    relaying: [HeaderName] = ["www-authenticate", "location", "set-cookie", "retry-after"],
    timeout: Duration = .seconds(5), remembering: Duration = .zero, maxBody: Int = 65_536
  ) {
    self.client = client
    self.path = path
    self.user = user
    self.roles = roles
    self.sending = sending
    self.copying = copying
    self.relaying = relaying
    self.timeout = timeout
    self.remembering = remembering
    self.maxBody = maxBody
    memory = PassMemory()
  }

  /// What the service said of a request.
  private enum Verdict {
    case passes(Pass)
    case refused(HTTPClientResponse)
  }

  public func authenticate(_ exchange: HTTPExchange) async throws -> AuthenticatedUser {
    switch try await verdict(on: exchange) {
    case .passes(let pass): return pass.user
    case .refused: throw Rejection(.forbidden, detail: "refused by \(client.description)")
    }
  }

  /// An authenticator that may answer itself, and that edits the request for those below.
  public func pass(
    _ exchange: HTTPExchange, _ needed: Void, then next: (AuthenticatedUser) async throws -> Summary
  ) async throws -> Summary {
    switch try await verdict(on: exchange) {
    case .refused(let response): return try await relay(response, to: exchange)
    case .passes(let pass):
      exchange.principal = pass.user.principal
      if copying.isEmpty { return try await next(pass.user) }
      return try await exchange.withEditedRequest({ head in
        for name in copying {
          head.fields.removeAll { name.resembles($0) }
          head.fields.add(name, from: pass.fields)
        }
      }) { try await next(pass.user) }
    }
  }

  // MARK: - The question

  private func verdict(on exchange: HTTPExchange) async throws -> Verdict {
    let question = question(for: exchange)
    let key = remembering > .zero ? PassMemory.key(question) : nil
    if let key, let pass = memory.pass(for: key, now: exchange.now) { return .passes(pass) }
    let response = try await ask(question, exchange)
    switch response.status {
    case 200...299:
      let pass = try pass(of: response)
      if let key { memory.remember(pass, for: key, until: exchange.now + remembering, now: exchange.now) }
      return .passes(pass)
    case 300...303, 307, 308, 401, 403: return .refused(response)
    default:
      throw Rejection(.overloaded, source: .upstream, detail: "\(client.description) answered \(response.status)")
    }
  }

  private func question(for exchange: HTTPExchange) -> HeaderFields {
    let request = exchange.request
    var fields = HeaderFields()
    for name in sending { fields.add(name, from: request.fields) }
    fields.set("x-forwarded-method", request.method.name)
    fields.set("x-forwarded-proto", exchange.scheme)
    fields.set("x-forwarded-host", request.host ?? "")
    fields.set("x-forwarded-uri", request.path + (request.query.map { "?" + $0 } ?? ""))
    switch exchange.client.kind {
    case .ip(let address, _): fields.set("x-forwarded-for", address.description)
    case .unix: fields.set("x-forwarded-for", "unknown")
    }
    fields.set("accept", "*/*")
    return fields
  }

  private func ask(_ question: HeaderFields, _ exchange: HTTPExchange) async throws -> HTTPClientResponse {
    let outer = exchange.deadline
    let mine = exchange.now + timeout
    exchange.deadline = min(outer, mine)
    defer { exchange.deadline = outer }
    do {
      return try await client.send(.get, path, question, on: exchange, atMost: maxBody)
    } catch let exceeded as DeadlineExceeded where mine < outer && exceeded.deadline == mine {
      throw Rejection(
        .overloaded, source: .upstream, detail: "\(client.description) did not answer in \(timeout)", cause: exceeded)
    } catch let rejection as Rejection {
      switch rejection.source {
      // The client went away, or we are shutting down: nothing is known about the service.
      case .client: throw rejection
      case .proxy where rejection.kind == .draining: throw rejection
      case .upstream, .proxy:
        throw Rejection(
          .overloaded, source: .upstream, detail: "\(client.description) could not be asked: \(rejection)",
          cause: rejection)
      }
    } catch let error as CancellationError {
      throw error
    } catch let exceeded as DeadlineExceeded {
      // One of those around it: it is not the service that is late.
      throw exceeded
    } catch {
      // A client of somebody else's may throw what it likes. To whom asks, it is a service that did not answer.
      throw Rejection(
        .overloaded, source: .upstream, detail: "\(client.description) could not be asked: \(error)", cause: error)
    }
  }

  private func pass(of response: HTTPClientResponse) throws -> Pass {
    var fields = HeaderFields()
    for name in copying { fields.add(name, from: response.fields) }
    var id = "forward-auth"
    if let user {
      guard let name = response.fields[user], !name.isEmpty else {
        throw Rejection(.overloaded, source: .upstream, detail: "\(client.description) let pass without \(user)")
      }
      id = name
    }
    var names: Set<String> = []
    if let roles {
      for list in response.fields.values(of: roles) {
        for role in list.split(separator: ",") {
          let name = role.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()
          if !name.isEmpty { names.insert(String(name)) }
        }
      }
    }
    return Pass(user: AuthenticatedUser(Principal(id), roles: names), fields: fields)
  }

  private func relay(_ response: HTTPClientResponse, to exchange: HTTPExchange) async throws -> Summary {
    try await exchange.respond(response.status, body: response.body) { head in
      // Not ours: an error page leaves it alone unless it was told to speak for others.
      head.origin = .upstream
      if !response.body.isEmpty { head.fields.add("content-type", from: response.fields) }
      for name in relaying { head.fields.add(name, from: response.fields) }
    }
  }
}

// MARK: - Component

extension ForwardAuth {
  public var state: AnyObject? { memory }

  public var parameters: [Parameter] {
    [Parameter("to", client.description), Parameter("path", path), Parameter("timeout", "\(timeout)")]
      + (remembering > .zero ? [Parameter("remembering", "\(remembering)")] : [])
  }

  public func validate(into problems: inout Problems) {
    if path.first != "/" || !path.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) {
      problems.refuse("the path \"\(path)\" has to begin with / and to be percent-encoded")
    }
    if timeout <= .zero || timeout > .seconds(60) {
      problems.refuse("a timeout of \(timeout): more than 0 seconds, up to 1 minute, is allowed")
    }
    if remembering < .zero || remembering > .seconds(300) {
      problems.refuse("remembering is \(remembering): 0 seconds to 5 minutes are allowed")
    }
    if !(0...1_048_576).contains(maxBody) { problems.refuse("a maxBody of \(maxBody): 0...1048576 are allowed") }
    for name in sending where name.description.lowercased().hasPrefix("x-forwarded-") {
      problems.refuse("\(name) is written here: what the client sent under this name must not reach the service")
    }
  }

  /// A reload: what was remembered may be another service's.
  public mutating func adopt(from old: ForwardAuth) {}

  /// Forgets what has expired.
  public func run(_ services: any BackgroundServices) async throws {
    guard remembering > .zero else { return }
    while true {
      try await services.sleep(for: remembering)
      memory.forgetExpired(now: services.now)
    }
  }
}
