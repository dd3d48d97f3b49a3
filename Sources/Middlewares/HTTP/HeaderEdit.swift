public import Pipeline

/// One change of a head's fields, for ``Headers``.
public struct HeaderEdit: Sendable, CustomStringConvertible {
  private enum Change: Sendable {
    case set(HeaderName, HeaderValue)
    case setIfMissing(HeaderName, HeaderValue)
    case add(HeaderName, HeaderValue)
    case remove([HeaderName])
    case keepOnly([HeaderName])
  }

  private let change: Change
  private init(_ change: Change) { self.change = change }

  /// Replaces every field of this name; only removes them where the value is not known.
  public static func set(_ name: HeaderName, _ value: HeaderValue) -> HeaderEdit { HeaderEdit(.set(name, value)) }

  /// Adds a field where there is none of this name.
  public static func setIfMissing(_ name: HeaderName, _ value: HeaderValue) -> HeaderEdit {
    HeaderEdit(.setIfMissing(name, value))
  }

  /// Adds a field beside those of the same name (`set-cookie`, `vary`).
  public static func add(_ name: HeaderName, _ value: HeaderValue) -> HeaderEdit { HeaderEdit(.add(name, value)) }

  /// Removes every field of these names.
  public static func remove(_ names: HeaderName...) -> HeaderEdit { HeaderEdit(.remove(names)) }

  /// Removes every field but those of these names. `host` and what frames the message stay in any case.
  public static func keepOnly(_ names: HeaderName...) -> HeaderEdit { HeaderEdit(.keepOnly(names)) }

  /// The names that it sets, adds or removes.
  var touched: [HeaderName] {
    switch change {
    case .set(let name, _), .setIfMissing(let name, _), .add(let name, _): [name]
    case .remove(let names): names
    case .keepOnly: []
    }
  }

  var removesHost: Bool {
    if case .remove(let names) = change { names.contains { $0.isSame(as: "host") } } else { false }
  }

  /// - Parameter always: what an allow-list keeps besides.
  func applyToRequest(_ fields: inout HeaderFields, always: [HeaderName], _ exchange: HTTPExchange) {
    switch change {
    // `x_user` is `x-user` to some applications: who may not say one may not say the other.
    case .set(let name, _): fields.removeAll { name.resembles($0) }
    case .remove(let names): fields.removeAll { field in names.contains { $0.resembles(field) } }
    case .setIfMissing, .add, .keepOnly: break
    }
    apply(to: &fields, always: always, exchange)
  }

  func apply(to fields: inout HeaderFields, always: [HeaderName], _ exchange: HTTPExchange) {
    switch change {
    case .set(let name, let value):
      fields.remove(name)
      value.add(to: &fields, name, exchange)
    case .setIfMissing(let name, let value):
      if !fields.contains(name) { value.add(to: &fields, name, exchange) }
    case .add(let name, let value): value.add(to: &fields, name, exchange)
    case .remove(let names):
      for name in names { fields.remove(name) }
    case .keepOnly(let names):
      fields.removeAll { name in
        for kept in names where kept.matches(name) { return false }
        for kept in always where kept.matches(name) { return false }
        return true
      }
    }
  }

  /// For plans: names only, for a value may be a secret.
  public var description: String {
    func list(_ names: [HeaderName]) -> String { names.map(\.description).joined(separator: " ") }
    return switch change {
    case .set(let name, _): "set \(name)"
    case .setIfMissing(let name, _): "set-if-missing \(name)"
    case .add(let name, _): "add \(name)"
    case .remove(let names): "remove \(list(names))"
    case .keepOnly(let names): "keep-only \(list(names))"
    }
  }
}

/// The value of a field: a text, something of the exchange, or both: `"user=\(.identity)"`.
public struct HeaderValue: Sendable, ExpressibleByStringInterpolation {
  fileprivate enum Part: Sendable {
    case literal(String)
    case computed(@Sendable (HTTPExchange) -> String?)
  }

  public struct StringInterpolation: StringInterpolationProtocol {
    fileprivate var parts: [Part] = []
    public init(literalCapacity: Int, interpolationCount: Int) {}
    public mutating func appendLiteral(_ literal: String) {
      if !literal.isEmpty { parts.append(.literal(literal)) }
    }
    public mutating func appendInterpolation(_ value: HeaderValue) { parts += value.parts }
    public mutating func appendInterpolation(_ text: String) { parts.append(.literal(text)) }
  }

  private let parts: [Part]

  public init(stringLiteral text: String) { parts = [.literal(text)] }
  public init(stringInterpolation: StringInterpolation) { parts = stringInterpolation.parts }

  /// A text that is known when the app is built. CR, LF and NUL are dropped.
  public init(_ text: String) { parts = [.literal(text)] }

  /// A text of each exchange; `nil`: not known. It runs on the loop and must not block.
  public init(_ text: @escaping @Sendable (HTTPExchange) -> String?) { parts = [.computed(text)] }

  /// The client's address without its port: `192.0.2.1`, `2001:db8::1`, `unix`.
  public static let clientIP = HeaderValue { exchange in
    switch exchange.client.kind {
    case .ip(let address, _): address.description
    case .unix: "unix"
    }
  }

  /// The name that the exchange is accounted to.
  public static let identity = HeaderValue { $0.principal?.id }

  /// What ``RequestID`` gave; not known without one above.
  public static let requestID = HeaderValue { $0.requestID }

  /// The host of the request, without the port.
  public static let host = HeaderValue { $0.request.host }

  /// The path of the request, without the query.
  public static let path = HeaderValue { $0.request.path }

  /// The first field of this name in the request.
  public static func field(_ name: HeaderName) -> HeaderValue { HeaderValue { $0.request.fields[name] } }

  /// Adds the field, unless a part of the value is not known.
  fileprivate func add(to fields: inout HeaderFields, _ name: HeaderName, _ exchange: HTTPExchange) {
    if parts.count == 1, case .literal(let text) = parts[0] { return fields.add(name, text) }
    var text = ""
    for part in parts {
      switch part {
      case .literal(let literal): text += literal
      case .computed(let value):
        guard let value = value(exchange) else { return }
        text += value
      }
    }
    fields.add(name, text)
  }
}
