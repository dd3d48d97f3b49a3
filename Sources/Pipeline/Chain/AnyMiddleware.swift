/// A chain that is assembled at run time, for example from a configuration file.
///
/// Its parts are placed, counted and validated like any other element, and their response phase runs, too.
public struct AnyMiddleware: Middleware {
  public static var label: String { "chain" }
  @inlinable public static var throwsLate: Bool { false }
  private var steps: [any Middleware]

  /// One middleware whose type is known at run time only.
  public init(_ middleware: any Middleware) { self.init([middleware]) }

  /// Several, the first one outermost.
  public init(_ middlewares: [any Middleware]) {
    func site(_ middleware: some Middleware) -> any Middleware { Site<Exchange, _>(middleware) }
    steps = middlewares.map { site($0) }
  }

  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await run(from: 0, exchange, next)
  }

  private func run(from i: Int, _ exchange: Exchange, _ next: Next) async throws -> Summary {
    if i == steps.count { return try await next() }
    return try await steps[i].handle(exchange) { try await run(from: i + 1, exchange, next) }
  }

  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    for step in steps.reversed() { try step.respond(&head, on: exchange) }
  }

  public mutating func place(_ placement: inout Placement) {
    for i in steps.indices { steps[i].place(&placement) }
  }
}
