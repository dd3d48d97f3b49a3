import Pipeline
import Synchronization

/// What every measured body does: something that the optimiser cannot remove.
let counter = Atomic<Int>(0)

@inline(__always) func work() { counter.store(counter.load(ordering: .relaxed) &+ 1, ordering: .relaxed) }

/// A middleware whose body is out of line, as a real one's is.
struct Layer: Middleware {
  @inline(never) func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    work()
    return try await next()
  }
}

/// One that has a frame of its own: it does something after its `next`.
struct FramedLayer: Middleware {
  @inline(never) func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    let summary = try await next()
    work()
    return summary
  }
}

struct Leaf: Destination {
  @inline(never) func serve(_ exchange: Exchange) async throws -> Summary {
    work()
    return Summary()
  }
}

struct HTTPLeaf: Destination {
  @inline(never) func serve(_ exchange: HTTPExchange) async throws -> Summary {
    try await exchange.commit { head in
      head.status = 200
      head.fields.set("content-type", "text/plain")
    }
    return Summary()
  }
}

struct Responding: HTTPMiddleware {
  @inline(never) func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws { work() }
}

struct Someone: Authenticator {
  @inline(never) func authenticate(_ exchange: Exchange) async throws -> Principal { Principal("ann") }
}

struct PerIdentity: IdentityMiddleware {
  typealias Needs = SomeIdentity
  @inline(never) func handle(_ exchange: Exchange, identity: Principal, next: Next) async throws -> Summary {
    work()
    return try await next()
  }
}

/// The plain call that a layer is compared with.
@inline(never) func plainCall(_ exchange: Exchange) async throws -> Summary {
  work()
  return Summary()
}

/// A request whose response goes nowhere.
final class UnansweredExchange: HTTPExchange {}

/// An authenticator's state.
final class Authority {}

struct Number: ExchangeKey {
  static var defaultValue: Int { 0 }
}
