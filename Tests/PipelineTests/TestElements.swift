import Pipeline
import Synchronization

// Small elements that the tests of the chain are made of.

struct Pass: Middleware {
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }
}

struct Refuse: Middleware {
  let kind: Rejection.Kind
  init(_ kind: Rejection.Kind) { self.kind = kind }
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary { throw Rejection(kind) }
}

struct Broken: Error {}

struct Break: Middleware {
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary { throw Broken() }
}

/// Throws after its `next` has returned.
struct BreakLate: Middleware {
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    _ = try await next()
    throw Broken()
  }
}

struct Again: Middleware {
  let attempts: Int

  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    exchange.attempt = 1
    while true {
      do {
        return try await next()
      } catch  where exchange.attempt < attempts && !exchange.isCommitted {
        exchange.attempt += 1
      }
    }
  }

  func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    guard head.origin == .upstream, [502, 503].contains(head.status), exchange.attempt < attempts else { return }
    throw Rejection(.upstreamProtocol, detail: "status \(head.status)")
  }
}

struct Delay: Middleware {
  let duration: @Sendable (Exchange) -> Duration
  init(_ duration: Duration) { self.duration = { _ in duration } }
  init(_: Duration, by duration: @escaping @Sendable (Exchange) -> Duration) { self.duration = duration }

  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await exchange.sleep(for: duration(exchange))
    return try await next()
  }
}

struct Limit: Middleware {
  let limit: Duration
  init(_ limit: Duration) { self.limit = limit }
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await exchange.withDeadline(limit) { try await next() }
  }
}

final class Order: Sendable {
  private let storage = Mutex<[UInt64]>([])
  var ids: [UInt64] { storage.withLock { $0 } }
  func append(_ id: UInt64) { storage.withLock { $0.append(id) } }
}

struct Note: Middleware {
  let order: Order
  init(_ order: Order) { self.order = order }
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    order.append(exchange.id)
    return try await next()
  }
}

struct Metered: Middleware {
  private final class Meter: ByteMeter {
    let left: Mutex<Int>
    init(_ limit: Int) { left = Mutex(limit) }
    func account(_ moved: Traffic, on exchange: Exchange, isLast: Bool) throws -> Lease {
      let rest = left.withLock { left in
        left -= Int(moved.total)
        return left
      }
      if rest <= 0 { throw Rejection(.quotaExhausted) }
      return Lease(up: rest, down: rest)
    }
  }

  let limit: Int

  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    let meter = Meter(limit)
    exchange.attach(meter)
    defer { exchange.detach(meter) }
    return try await next()
  }
}

/// So many exchanges in a second, for all clients together.
struct FewPerSecond: Middleware {
  final class Window: Sendable {
    let state = Mutex((second: UInt64(0), count: 0))
  }

  let limit: Int
  var window = Window()
  init(_ limit: Int) { self.limit = limit }

  var state: AnyObject? { window }
  mutating func adopt(from old: Self) { window = old.window }

  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    let second = exchange.now.nanoseconds / 1_000_000_000
    let count = window.state.withLock { state in
      if state.second != second { state = (second, 0) }
      state.count += 1
      return state.count
    }
    exchange.annotate(.rateLimit(.init(limit: limit, remaining: max(0, limit - count), resetSeconds: 1)))
    if count > limit { throw Rejection(.rateLimited, retryAfter: .seconds(1)) }
    return try await next()
  }
}

struct OneAtATime: Middleware {
  private let busy = Flag()
  final class Flag: Sendable { let value = Mutex(false) }

  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    let isFirst = busy.value.withLock { value in
      defer { value = true }
      return !value
    }
    guard isFirst else { throw Rejection(.overloaded) }
    defer { busy.value.withLock { $0 = false } }
    return try await next()
  }
}
