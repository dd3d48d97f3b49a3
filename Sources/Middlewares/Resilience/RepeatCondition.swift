public import Pipeline

/// Which requests may be sent again although their method is not idempotent (POST, PATCH): those of which the application says
/// that it recognises a repetition.
///
/// `Retry(attempts: 3).allowNonIdempotent(when: .field("idempotency-key"))`
public struct RepeatCondition: Sendable, CustomStringConvertible {
  private enum Condition: Sendable {
    case field(HeaderName)
    case method(HTTPMethod)
    case custom(@Sendable (HTTPExchange) -> Bool)
  }

  private let condition: Condition
  /// In the plan.
  public let description: String

  /// Requests with this field: a key by which the application recognises a request that it has had
  /// (`idempotency-key`, draft-ietf-httpapi-idempotency-key-header).
  public static func field(_ name: HeaderName) -> RepeatCondition {
    RepeatCondition(condition: .field(name), description: "field \(name)")
  }

  /// Requests of this method.
  public static func method(_ method: HTTPMethod) -> RepeatCondition {
    RepeatCondition(condition: .method(method), description: "method \(method.name)")
  }

  /// Requests for which `isSafe` says so. It runs on the loop, after a failure, and must not block.
  public static func custom(
    _ label: String = "custom", _ isSafe: @escaping @Sendable (HTTPExchange) -> Bool
  ) -> RepeatCondition {
    RepeatCondition(condition: .custom(isSafe), description: label)
  }

  func holds(for exchange: HTTPExchange) -> Bool {
    switch condition {
    case .field(let name): exchange.request.fields.contains(name)
    case .method(let method): exchange.request.method == method
    case .custom(let isSafe): isSafe(exchange)
    }
  }
}
