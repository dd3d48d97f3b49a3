/// What an element of a chain or a destination may have besides its one method. Every member has a default.
public protocol Component: Sendable {
  /// The metric label and the name in the plan. Default: the type's name in kebab-case (`TokenBucket` → `token-bucket`).
  static var label: String { get }
  /// Tells two elements of one kind apart: in metrics, in the plan, and when a reload carries state over. Default: `nil`;
  /// `.named("…")` sets it from outside.
  var name: String? { get }
  /// What the plan shows of the configuration. Never put a secret here.
  var parameters: [Parameter] { get }
  /// What the element reads of the exchange. Checked against the transport, and against the elements above, when the app
  /// is built.
  var uses: Uses { get }
  /// The object that holds what changes (buckets, counters, caches). ``run(_:)`` is started once per state object, however
  /// many chains and listeners share it, and a reload hands it from the old chain to the new one.
  var state: AnyObject? { get }
  /// Who is asked for numbers at every scrape, each object once however many elements name it. Default: ``state`` where it is a
  /// source. An element that was given a store names it here, whether or not a reload hands it on.
  var metricSources: [any MetricSource] { get }
  /// Reports what cannot work, before anything listens: `problems.refuse("…")`. The chain above is in `problems.above`.
  func validate(into problems: inout Problems)
  /// A background task (expiry, refresh, health checks): started with the server, cancelled after the drain.
  ///
  /// Returning ends it for good. Throwing is logged, and it is started again after a backoff. Wait with
  /// `services.sleep(for:)`, so that a manual clock drives it in tests.
  func run(_ services: any BackgroundServices) async throws
  /// A reload: take over the old element's state object. Called before the new chain serves; the old one may still be
  /// draining and goes on using the same object.
  mutating func adopt(from old: Self)
}

extension Component {
  public static var label: String { kebabCase(String(describing: Self.self)) }
  public var name: String? { nil }
  public var parameters: [Parameter] { [] }
  public var uses: Uses { [] }
  public var state: AnyObject? { nil }
  public var metricSources: [any MetricSource] { (state as? any MetricSource).map { [$0] } ?? [] }
  public func validate(into problems: inout Problems) {}
  public func run(_ services: any BackgroundServices) async throws {}
  public mutating func adopt(from old: Self) {}
}

/// What an element reads of an exchange.
public struct Uses: OptionSet, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Where the client wants to go. A SOCKS5 client names it only after authentication.
  public static let destination = Uses(rawValue: 1 << 0)
  /// A user name and a password from the client.
  public static let password = Uses(rawValue: 1 << 1)
  /// The message body. Only HTTP has one.
  public static let body = Uses(rawValue: 1 << 2)
}

/// One setting of an element, as the plan shows it.
public struct Parameter: Sendable, Hashable {
  public var name: String
  public var value: String

  public init(_ name: String, _ value: String) {
    self.name = name
    self.value = value
  }
}

/// `TokenBucket<IdentityKey>` → `token-bucket`. A run of capitals stays together: `HTTPHeaders` → `http-headers`.
func kebabCase(_ typeName: String) -> String {
  var out = ""
  let characters = Array(typeName.prefix { $0 != "<" })
  for (i, c) in characters.enumerated() {
    if c.isUppercase, i > 0 {
      let startsWord = !characters[i - 1].isUppercase || (i + 1 < characters.count && characters[i + 1].isLowercase)
      if startsWord { out.append("-") }
    }
    out.append(c.lowercased())
  }
  return out
}
