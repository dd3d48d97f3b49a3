import Pipeline

/// Lets everything through that has a number.
struct Gate: Middleware {
  let number: Int

  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    guard number >= 0 else { throw Rejection(.forbidden) }
    return try await next()
  }
}

/// Does its work after the rest of the chain.
struct After<Value: Sendable>: Middleware {
  let value: Value

  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    let summary = try await next()
    guard summary.traffic.up < .max else { throw Rejection(.internalError, detail: "\(value)") }
    return summary
  }
}

/// Calls the rest again when it fails.
struct Again: Middleware {
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    do { return try await next() } catch { return try await next() }
  }
}

/// An identity of this package.
struct Guest: Identity {
  let number: Int
  var principal: Principal { Principal("guest\(number)") }
}

struct Welcome: Authenticator {
  func authenticate(_ exchange: PasswordExchange) async throws -> Guest {
    guard try await exchange.credentials() != nil else { throw Rejection(.credentialsRequired) }
    return Guest(number: 1)
  }
}

struct GuestOnly: IdentityMiddleware {
  let limit: Int

  func handle(_ exchange: Exchange, identity: Guest, next: Next) async throws -> Summary {
    guard identity.number < limit else { throw Rejection(.forbidden) }
    return try await next()
  }
}

struct Anybody: IdentityMiddleware {
  typealias Needs = SomeIdentity

  func handle(_ exchange: Exchange, identity: Principal, next: Next) async throws -> Summary { try await next() }
}

struct Stamp: HTTPMiddleware {
  func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    head.fields.set("x-stamp", "1")
  }
}

struct Nowhere: Destination {
  func serve(_ exchange: Exchange) async throws -> Summary { throw Rejection(.hostUnreachable) }
}
