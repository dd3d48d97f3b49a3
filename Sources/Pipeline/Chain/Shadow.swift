/// An element that decides, records and lets pass. Made by `.shadow()`.
///
/// Swallows a rejection only if the element threw it before it called `next`; one from deeper passes as it is. Where it
/// swallowed, the exchange goes on as if the element had let it pass, and HTTP tells nothing of its limit. A rejection from its `respond` is recorded, too.
public struct Shadow<Element: TransparentElement>: TransparentElement, ComponentWrapper {
  public typealias Carrier = Element.Carrier
  public typealias Needs = Element.Needs
  public typealias Unmet = Element.Unmet
  public typealias Gives = Unchanged

  var wrapped: Element
  let record: @Sendable (Rejection) -> Void
  public static var label: String { Element.label + "-shadow" }
  public static var throwsLate: Bool { Element.throwsLate }
  public var name: String? { wrapped.name }
  public var parameters: [Parameter] { wrapped.parameters }
  public var uses: Uses { wrapped.uses }
  public var state: AnyObject? { wrapped.state }
  public func validate(into problems: inout Problems) { wrapped.validate(into: &problems) }
  public func run(_ services: any BackgroundServices) async throws { try await wrapped.run(services) }
  public mutating func adopt(from old: Self) { wrapped.adopt(from: old.wrapped) }

  public func through(
    _ exchange: Element.Carrier, _ needed: Element.Needs.Value, next: Next
  ) async throws -> Summary {
    var wentOn = false
    let told = exchange.annotations.rateLimit
    do {
      return try await wrapped.through(exchange, needed) {
        wentOn = true
        return try await next()
      }
    } catch let rejection as Rejection where !wentOn {
      // The client shall not read of a limit that does not hold.
      exchange.annotateNothing(since: told)
      record(rejection)
    }
    return try await next()
  }

  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    do { try wrapped.respond(&head, on: exchange) } catch let rejection as Rejection { record(rejection) }
  }

  public mutating func place(_ placement: inout Placement) { wrapped.place(&placement) }
}

extension Shadow: Middleware where Element: Middleware {
  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    try await through(exchange, Element.Needs.value, next: next)
  }
}

extension TransparentElement {
  /// Runs the element without consequence: its rejections are handed to `record`, and the exchange goes on.
  public func shadow(_ record: @escaping @Sendable (Rejection) -> Void = { _ in }) -> Shadow<Self> {
    Shadow(wrapped: self, record: record)
  }
}

extension Authenticator {
  @available(
    *, unavailable,
    message: "an authenticator cannot run in shadow: the elements below need the identity that it gives"
  )
  public func shadow(_ record: @escaping @Sendable (Rejection) -> Void = { _ in }) -> Self { self }
}
