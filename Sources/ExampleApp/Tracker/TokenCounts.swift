import Middlewares
import Pipeline

/// Which tokens are known, and how often each was seen at each path.
protocol TokenCounts: AnyObject, Sendable {
  /// Makes a token known. Again for the same one changes nothing.
  ///
  /// - Throws: `Rejection(.overloaded)`, a 503, when the store cannot say; what ends a wait of the exchange.
  func admit(_ token: Token, on exchange: Exchange) async throws

  /// Counts one request, if the token is known: one atomic step.
  ///
  /// - Returns: how many there were, this one included; `nil`: the token is unknown.
  /// - Throws: as ``admit(_:on:)``.
  func count(_ token: Token, at path: String, on exchange: Exchange) async throws -> Int?

  func run(_ services: any BackgroundServices) async throws

  /// For the plan.
  var description: String { get }
}

/// Counts in a ``Cache``: a token is the group, itself its key without a name, each path a counter.
final class StoredCounts: TokenCounts {
  private let cache: any Cache
  let description: String

  init(_ cache: any Cache, description: String) {
    self.cache = cache
    self.description = description
  }

  func admit(_ token: Token, on exchange: Exchange) async throws {
    try await asking {
      _ = try await cache.compareAndSet(
        CacheKey(token.text), expected: nil, new: [UInt8(ascii: "1")], lifetime: .forever, on: exchange)
    }
  }

  func count(_ token: Token, at path: String, on exchange: Exchange) async throws -> Int? {
    try await asking {
      try await cache.add(
        1, to: CacheKey(token.text, path), requiring: CacheKey(token.text), lifetime: .forever, on: exchange)
    }
  }

  private func asking<Result>(_ body: () async throws -> Result) async throws -> Result {
    do {
      return try await body()
    } catch let error as CacheError {
      throw Rejection(
        .overloaded, source: .upstream, retry: .pointless, retryAfter: .seconds(1), detail: "\(error)", cause: error)
    }
  }

  func run(_ services: any BackgroundServices) async throws { try await cache.run(services) }
}
