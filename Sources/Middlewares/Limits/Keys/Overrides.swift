public import Pipeline

/// Names one key, or one part of a combined one, whose limit is its own.
public struct KeyName: Hashable, Sendable, CustomStringConvertible {
  enum Kind: Hashable, Sendable {
    case identity(String), address(String), unixUser(UInt32), destination(String), value(String), route(String), named(
      String)
  }

  let kind: Kind

  /// The principal with this id: `.identity` and `.optionalIdentity`.
  public static func identity(_ id: String) -> KeyName { KeyName(kind: .identity(id)) }
  /// The network that this address is in: `.clientAddress`. No range: as many bits as the key has.
  public static func address(_ address: String) -> KeyName { KeyName(kind: .address(address)) }
  /// The Unix user with this id: `.clientAddress`.
  public static func unixUser(_ uid: UInt32) -> KeyName { KeyName(kind: .unixUser(uid)) }
  /// `host:port`: `.destination`.
  public static func destination(_ endpoint: String) -> KeyName { KeyName(kind: .destination(endpoint)) }
  /// A method, the value of a field, or a text that a closure returns: `.method`, `.header`, `.custom`.
  public static func value(_ text: String) -> KeyName { KeyName(kind: .value(text)) }
  /// A route by its name in the plan's words, `GET example.org/api`: `.route`.
  public static func route(_ name: String) -> KeyName { KeyName(kind: .route(name)) }
  /// All who have nothing to be told apart by: `.optionalIdentity(anonymous:)`, `.header(_:absent: .named(…))`.
  public static func named(_ name: String) -> KeyName { KeyName(kind: .named(name)) }

  public var description: String {
    switch kind {
    case .identity(let id): "identity \"\(id)\""
    case .address(let address): "address \"\(address)\""
    case .unixUser(let uid): "unix user \(uid)"
    case .destination(let endpoint): "destination \"\(endpoint)\""
    // It may be an API key.
    case .value: "value"
    case .route(let name): "route \"\(name)\""
    case .named(let name): "the name \"\(name)\""
    }
  }
}

/// Other limits than the usual one, for some keys: a user's plan.
///
/// ```swift
/// overrides: [.identity("ann"): .perSecond(500), .identity("bot"): .perMinute(10)]
/// overrides: .by { principal in plans.rate(of: principal) }              // per: .identity
/// overrides: .by { employee in employee.plan.rate }                      // per: .identity(Employee.self)
/// overrides: .each { exchange in exchange.listener.name == "internal" ? .perSecond(1000) : nil }
/// ```
/// Closures run for every exchange and should only look something up. Where both are given, a name in the list comes first.
public struct Overrides<Limited: BucketKey, Value: Sendable>: Sendable, ExpressibleByDictionaryLiteral {
  var named: [(name: KeyName, value: Value)] = []
  var choose: (@Sendable (Limited.Carrier, Limited.Needs.Value) -> Value?)?

  /// Everybody has the usual limit.
  public static var none: Self { Self() }

  /// By a list. In a combined key each name stands for one part; of several that fit, the part written first decides.
  public init(dictionaryLiteral elements: (KeyName, Value)...) { named = elements.map { (name: $0.0, value: $0.1) } }

  /// By a list that was read from somewhere.
  public init(_ list: [KeyName: Value]) { named = list.map { (name: $0.key, value: $0.value) } }

  private init() {}

  /// By the identity that the key needs; `nil`: the usual limit.
  public static func by(_ choose: @escaping @Sendable (Limited.Needs.Value) -> Value?) -> Self {
    var overrides = Self()
    overrides.choose = { _, needed in choose(needed) }
    return overrides
  }

  /// By the exchange; `nil`: the usual limit.
  public static func each(_ choose: @escaping @Sendable (Limited.Carrier) -> Value?) -> Self {
    var overrides = Self()
    overrides.choose = { exchange, _ in choose(exchange) }
    return overrides
  }
}

/// Reads whose limit it is, and what limit that is.
struct KeyReader<Key: BucketKey, Value: Sendable>: Sendable {
  let per: Per<Key>
  let seed: KeySeed
  /// True where the key is all that there is: no destination, no combination, no override.
  private let isPlain: Bool
  private let readsDestination: Bool
  private let own: [LimitKey: Value]
  private let overrides: Overrides<Key, Value>

  init(_ per: Per<Key>, _ overrides: Overrides<Key, Value>, seed: KeySeed) {
    self.per = per
    self.seed = seed
    self.overrides = overrides
    var own: [LimitKey: Value] = [:]
    for (name, value) in overrides.named {
      for part in [per.first] + per.rest {
        if let key = part.key(named: name, seed) { own[key] = value }
      }
    }
    self.own = own
    readsDestination = per.uses.contains(.destination)
    isPlain = per.rest.isEmpty && !readsDestination && own.isEmpty && overrides.choose == nil
  }

  /// The key where nothing has to be awaited or looked up for it; `.some(nil)`: not limited; `nil`: ask ``read(_:_:)``.
  func plainKey(of exchange: Exchange, _ needed: Key.Needs.Value) -> LimitKey?? {
    guard isPlain else { return nil }
    return .some(per.first.key(of: exchange, Key.Needs.principal(of: needed), nil, seed))
  }

  /// `nil`: not limited.
  func read(_ exchange: Key.Carrier, _ needed: Key.Needs.Value) async throws -> (key: LimitKey, own: Value?)? {
    read(exchange, needed, readsDestination ? try await exchange.destination() : nil)
  }

  /// The same of a key that does not have to be waited for.
  func readNow(_ exchange: Key.Carrier, _ needed: Key.Needs.Value) -> (key: LimitKey, own: Value?)? {
    read(exchange, needed, nil)
  }

  private func read(
    _ exchange: Key.Carrier, _ needed: Key.Needs.Value, _ destination: Endpoint?
  ) -> (key: LimitKey, own: Value?)? {
    let principal = Key.Needs.principal(of: needed)
    guard let first = per.first.key(of: exchange, principal, destination, seed) else { return nil }
    var value = own.isEmpty ? nil : own[first]
    var key = first
    if !per.rest.isEmpty {
      var hash = KeyHash(.combined, seed)
      hash.add(first)
      for part in per.rest {
        guard let next = part.key(of: exchange, principal, destination, seed) else { return nil }
        hash.add(next)
        if value == nil, !own.isEmpty { value = own[next] }
      }
      key = hash.key()
    }
    if value == nil { value = overrides.choose?(exchange, needed) }
    return (key, value)
  }

  /// - Parameter problem: what is wrong with one value.
  func validate(into problems: inout Problems, _ problem: (Value) -> String?) {
    for part in [per.first] + per.rest { part.validate(into: &problems) }
    for (name, value) in overrides.named {
      if ([per.first] + per.rest).allSatisfy({ $0.key(named: name, seed) == nil }) {
        problems.refuse("an override for \(name), which is no key of a limit per \(per.label)")
      }
      if let problem = problem(value) { problems.refuse("the override for \(name): \(problem)") }
    }
  }
}

extension Per {
  /// What it reads of an exchange.
  var uses: Uses { first.readsDestination || rest.contains { $0.readsDestination } ? .destination : [] }

  /// Whether its keys depend on the seed.
  var isHashed: Bool { first.isHashed || !rest.isEmpty }

  /// The key of one exchange; `nil`: not limited.
  func key(of exchange: Key.Carrier, _ needed: Key.Needs.Value) async throws -> LimitKey? {
    try await KeyReader<Key, Never>(self, .none, seed: .process).read(exchange, needed)?.key
  }
}
