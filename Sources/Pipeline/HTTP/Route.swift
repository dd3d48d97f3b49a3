/// A chain and a destination for some requests; every other request goes on to the next route.
///
/// ```swift
/// Route("/api", methods: [.get]) { ResponseCache() } to: { Upstreams("a", "b") }
/// Route("/users/:id", matching: .exact) { } to: { Handle { … $0.pathParameter("id") … } }
/// Route("/", host: "*.example.org") { } to: { Direct() }
/// ```
///
/// The two are joined where the route stands, because only there it is known what stands above. Falling out of the last
/// route is a 404, or a 405 with `Allow` when only the methods did not match.
public struct Route<C: ChainElement, D: TransparentElement>: Sendable {
  let matcher: RouteMatcher
  let chain: C
  let destination: D

  /// - Parameters:
  ///   - path: begins with `/`. Segments are compared after percent-decoding; `:name` takes any one segment.
  ///   - host: a name, or `*.name` for everything below it; `nil`: any.
  ///   - methods: `nil`: any. `.get` accepts HEAD, too.
  ///   - matching: `.prefix` (the default) accepts what lies below the path, at a segment boundary: `/api` takes `/api`
  ///     and `/api/x`, not `/apix`.
  public init(
    _ path: String, host: String? = nil, methods: Set<HTTPMethod>? = nil, matching: PathMatching = .prefix,
    @ChainBuilder<HTTPExchange> chain: () -> C, @DestinationBuilder<HTTPExchange> to destination: () -> D
  ) {
    matcher = RouteMatcher(path, host: host, methods: methods, matching: matching)
    self.chain = chain()
    self.destination = destination()
  }

  /// A route without a chain of its own.
  public init(
    _ path: String, host: String? = nil, methods: Set<HTTPMethod>? = nil, matching: PathMatching = .prefix,
    @DestinationBuilder<HTTPExchange> to destination: () -> D
  ) where C == Empty<HTTPExchange> {
    matcher = RouteMatcher(path, host: host, methods: methods, matching: matching)
    chain = Empty()
    self.destination = destination()
  }
}

/// How much of the request's path a route's path stands for.
public struct PathMatching: Sendable, Hashable {
  let isExact: Bool
  /// The path and everything below it.
  public static let prefix = PathMatching(isExact: false)
  /// The path alone.
  public static let exact = PathMatching(isExact: true)
}

/// A route in its place: runs its content for the requests that match and calls `next`, the next route, for the others.
public struct Routed<Content: ChainElement>: TransparentElement where Content.Carrier == HTTPExchange {
  public typealias Carrier = HTTPExchange
  public typealias Needs = Content.Needs
  public typealias Unmet = Content.Unmet
  public typealias Gives = Unchanged

  public static var label: String { "route" }
  public static var throwsLate: Bool { false }
  public var parameters: [Parameter] { matcher.parameters }

  private let matcher: RouteMatcher
  private let taken: TakenRoute
  private var content: Content
  private var end = Int.max

  init(_ matcher: RouteMatcher, _ content: Content) {
    self.matcher = matcher
    taken = TakenRoute(matcher.name)
    self.content = content
  }

  public func through(
    _ exchange: HTTPExchange, _ needed: Content.Needs.Value, next: Next
  ) async throws -> Summary {
    guard try matcher.matches(exchange) else { return try await next() }
    exchange.route = taken
    return try await content.pass(exchange, needed) { _ in throw exchange.nothingMatched() }
  }

  // Inside the route `depth` is at most its destination's index, which is below `end`; past it, `depth` is `end` or more.
  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    if exchange.depth < end { try content.respond(&head, on: exchange) }
  }

  public func validate(into problems: inout Problems) {
    for problem in matcher.problems { problems.refuse(problem) }
  }

  public mutating func place(_ placement: inout Placement) {
    placement.route { content.place(&$0) }
    end = placement.count
  }
}

/// A route that a request went into.
public final class TakenRoute: Sendable {
  /// What the route was written with: `/api`, `GET POST example.org/users/:id (exact)`. The same in every process.
  public let name: String

  init(_ name: String) { self.name = name }
}

extension Routed: RouteElement {}

/// What ``Problems/isInRoute`` looks for.
protocol RouteElement {}
