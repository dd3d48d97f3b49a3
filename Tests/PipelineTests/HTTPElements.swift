import Pipeline
import Synchronization

// HTTP elements that the tests of the response phase are made of.

struct SetHeader: HTTPMiddleware {
  let name: HeaderName
  let value: String
  init(_ name: HeaderName, _ value: String) {
    self.name = name
    self.value = value
  }
  func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws { head.fields.set(name, value) }
}

/// Adds, so that a test sees how often it ran.
struct AddHeader: HTTPMiddleware {
  let name: HeaderName
  let value: String
  init(_ name: HeaderName, _ value: String) {
    self.name = name
    self.value = value
  }
  func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws { head.fields.add(name, value) }
}

struct AllowOrigin: HTTPMiddleware {
  var answersPreflight = false

  func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
    guard answersPreflight, exchange.request.method == .options else { return try await next() }
    return try await exchange.respond(204) { $0.fields.add("access-control-allow-origin", "preflight") }
  }

  func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    head.fields.add("access-control-allow-origin", "*")
  }
}

struct ErrorPage: HTTPMiddleware {
  func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    if head.status >= 400 { head.replaceBody(Array("page \(head.status)".utf8)) }
  }
}

struct ThrowInRespond: HTTPMiddleware {
  func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws { throw Broken() }
}

struct TinyCache: HTTPMiddleware {
  final class Store: Sendable { let pages = Mutex<[String: [UInt8]]>([:]) }

  final class Filling: BodyTap {
    let store: Store
    let key: String
    var bytes: [UInt8] = []

    init(_ store: Store, _ key: String) {
      self.store = store
      self.key = key
    }

    func receive(_ new: RawSpan) { new.withUnsafeBytes { bytes.append(contentsOf: $0) } }

    func finish(complete: Bool) {
      let page = bytes
      if complete { store.pages.withLock { $0[key] = page } }
    }
  }

  let store = Store()

  func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
    if let page = store.pages.withLock({ $0[exchange.request.path] }) {
      return try await exchange.respond(200, body: page)
    }
    return try await next()
  }

  func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    guard head.status == 200, head.origin == .upstream, head.fields.contains("cache-control") else { return }
    exchange.tapResponseBody(Filling(store, exchange.request.path))
  }
}

/// Answers each call with the next status, the last one for ever, and with the body "hello".
struct Upstream: Destination {
  final class Script: Sendable {
    let state: Mutex<(statuses: [Int], calls: Int)>
    init(_ statuses: [Int]) { state = Mutex((statuses, 0)) }
  }

  let script: Script
  init(_ statuses: Int...) { script = Script(statuses) }

  var calls: Int { script.state.withLock { $0.calls } }

  func serve(_ exchange: HTTPExchange) async throws -> Summary {
    let status = script.state.withLock { state in
      state.calls += 1
      return state.statuses.count > 1 ? state.statuses.removeFirst() : state.statuses[0]
    }
    try await exchange.commit { head in
      head.status = status
      head.fields.set("cache-control", "max-age=1")
    }
    let body: [UInt8] = Array("hello".utf8)
    if let tap = exchange.tap {
      tap.receive(body.span.bytes)
      tap.finish(complete: true)
    }
    return Summary(traffic: Traffic(down: 5))
  }
}

struct SomePassword: Authenticator {
  var uses: Uses { .password }

  func authenticate(_ exchange: PasswordExchange) async throws -> Principal {
    guard let credentials = try await exchange.credentials() else { throw Rejection(.credentialsRequired) }
    return Principal(String(decoding: credentials.user, as: UTF8.self))
  }
}

struct Employee: Identity {
  var name = "ann"
  var department = "ops"
  var principal: Principal { Principal(name) }
}

struct BadgeAuth: Authenticator {
  func authenticate(_ exchange: Exchange) async throws -> Employee { Employee() }
}

struct DepartmentOnly: IdentityMiddleware {
  let department: String
  init(_ department: String) { self.department = department }
  func handle(_ exchange: Exchange, identity: Employee, next: Next) async throws -> Summary {
    guard identity.department == department else { throw Rejection(.forbidden) }
    return try await next()
  }
}

struct PerPrincipal: IdentityMiddleware {
  typealias Needs = SomeIdentity
  let seen: Seen
  init(_ seen: Seen = Seen()) { self.seen = seen }
  func handle(_ exchange: Exchange, identity: Principal, next: Next) async throws -> Summary {
    seen.add(identity.id)
    return try await next()
  }
}

final class Seen: Sendable {
  private let storage = Mutex<[String]>([])
  var all: [String] { storage.withLock { $0 } }
  func add(_ text: String) { storage.withLock { $0.append(text) } }
}

struct ToAccount: IdentityTransform {
  func transform(_ identity: Employee, on exchange: Exchange) async throws -> Account {
    Account(id: identity.name + "@ops")
  }
}

struct Account: Identity {
  var id: String
  var principal: Principal { Principal(id) }
}

struct Served: Destination {
  func serve(_ exchange: Exchange) async throws -> Summary { Summary() }
}
