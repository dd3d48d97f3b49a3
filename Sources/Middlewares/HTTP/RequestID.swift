public import Pipeline

/// Gives every request an id, which upstream, client, error page and access log get to see.
///
/// ```swift
/// AccessLog(to: log)      // writes request=…
/// RequestID()
/// RequestID("x-correlation-id", trusting: .everybody)     // behind a proxy of ours that gives ids
/// ```
/// An id of ours is 32 hexadecimal digits of 128 random bits. It is no secret and nothing may rest on its being unguessable.
/// One that the client sends is taken only on request, and only if there is one, of 1 to 128 letters, digits and `-_.:+/@`;
/// any other is replaced. Refuses nobody. Costs two scans of the fields and no allocation; an id that is taken over, one.
public struct RequestID: HTTPMiddleware {
  @inlinable public static var throwsLate: Bool { false }
  public static var label: String { "request-id" }

  /// Whose ids are taken over.
  public struct Trust: Sendable {
    fileprivate let text: String
    fileprivate let trusts: @Sendable (HTTPExchange) -> Bool

    /// Every request gets an id of ours.
    public static let nobody = Trust(text: "nobody") { _ in false }
    /// Every client's: right where only proxies of ours can connect.
    public static let everybody = Trust(text: "everybody") { _ in true }
    /// Of those exchanges for which `rule` says true. It runs on the loop and must not block.
    public static func when(_ rule: @escaping @Sendable (HTTPExchange) -> Bool) -> Trust {
      Trust(text: "by a rule", trusts: rule)
    }

    private init(text: String, trusts: @escaping @Sendable (HTTPExchange) -> Bool) {
      self.text = text
      self.trusts = trusts
    }
  }

  private let field: HeaderName
  private let trust: Trust

  /// - Parameters:
  ///   - field: where the id stands, in requests and responses.
  ///   - trust: whose ids are taken over.
  public init(_ field: HeaderName = "x-request-id", trusting trust: Trust = .nobody) {
    self.field = field
    self.trust = trust
  }

  public func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
    let id: RequestIdentifier
    // A retry above comes here again: the request keeps its id.
    if let known = exchange[RequestIDKey.self] {
      id = known
    } else {
      id = given(by: exchange) ?? .made(exchange.runtime.randomBits(), exchange.runtime.randomBits())
      exchange[RequestIDKey.self] = id
    }
    exchange.request.fields.remove(field)
    exchange.request.fields.add(field, writing: { id.append(to: &$0) })
    return try await next()
  }

  public func respond(_ head: inout HTTPResponseHead, on exchange: HTTPExchange) throws {
    guard let id = exchange[RequestIDKey.self] else { return }
    head.fields.remove(field)
    head.fields.add(field, writing: { id.append(to: &$0) })
  }

  public var parameters: [Parameter] { [Parameter("field", "\(field)"), Parameter("trusting", trust.text)] }

  private func given(by exchange: HTTPExchange) -> RequestIdentifier? {
    guard trust.trusts(exchange), exchange.request.fields.count(of: field) == 1 else { return nil }
    return exchange.request.fields.withValue(of: field) { value in
      guard let value, (1...128).contains(value.count) else { return nil }
      var bytes: [UInt8] = []
      bytes.reserveCapacity(value.count)
      for i in 0..<value.count {
        guard Self.isAllowed(value[i]) else { return nil }
        bytes.append(value[i])
      }
      return .given(bytes)
    }
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
      UInt8(ascii: ":"), UInt8(ascii: "+"), UInt8(ascii: "/"), UInt8(ascii: "@"):
      true
    default: false
    }
  }
}

/// The id of a request, without a `String`.
enum RequestIdentifier: Sendable {
  case made(UInt64, UInt64)
  case given([UInt8])

  func append(to line: inout LogLine) {
    switch self {
    // None of its characters has a meaning in a line.
    case .given(let bytes): for byte in bytes { line.append(byte) }
    case .made(let high, let low):
      Self.forEachDigit(high) { line.append($0) }
      Self.forEachDigit(low) { line.append($0) }
    }
  }

  func append(to out: inout [UInt8]) {
    switch self {
    case .given(let bytes): out.append(contentsOf: bytes)
    case .made(let high, let low):
      Self.forEachDigit(high) { out.append($0) }
      Self.forEachDigit(low) { out.append($0) }
    }
  }

  private static func forEachDigit(_ word: UInt64, _ body: (UInt8) -> Void) {
    for shift in stride(from: 60, through: 0, by: -4) {
      let digit = UInt8(truncatingIfNeeded: word >> UInt64(shift)) & 15
      body(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
    }
  }
}

enum RequestIDKey: ExchangeKey {
  static var defaultValue: RequestIdentifier? { nil }
}

extension HTTPExchange {
  /// The id that ``RequestID`` gave; `nil` without one above.
  public var requestID: String? {
    guard let id = self[RequestIDKey.self] else { return nil }
    var bytes: [UInt8] = []
    id.append(to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }
}
