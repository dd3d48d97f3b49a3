public import Pipeline

/// What a limit is kept per: a type-level switch, because some keys need an authenticator above.
///
/// Closed; use ``Per/custom(_:_:)`` for a key of your own.
public protocol BucketKey: Sendable {
  associatedtype Needs: MetByAnyIdentity
  /// In the plan.
  static var label: String { get }
  /// Whose bucket it is, where an identity is needed.
  static func principal(_ needed: Needs.Value) -> Principal?
}

/// Keys that need nothing above.
public protocol AnonymousBucketKey: BucketKey where Needs == Anyone {}

extension AnonymousBucketKey {
  public static func principal(_ needed: Void) -> Principal? { nil }
}

/// One bucket per IPv4 address, IPv6 /64 network or Unix user.
public enum ClientAddressKey: AnonymousBucketKey {
  public static var label: String { "client-address" }
}

/// One bucket per destination (host and port).
public enum DestinationKey: AnonymousBucketKey {
  public static var label: String { "destination" }
}

/// One bucket for all.
public enum GlobalKey: AnonymousBucketKey {
  public static var label: String { "global" }
}

/// One bucket per value of a closure.
public enum CustomKey: AnonymousBucketKey {
  public static var label: String { "custom" }
}

/// One bucket per identity.
public enum IdentityKey: BucketKey {
  public typealias Needs = SomeIdentity
  public static var label: String { "identity" }
  public static func principal(_ needed: Principal) -> Principal? { needed }
}

/// What a limit is kept per: `.clientAddress`, `.identity`, `.destination`, `.global`, `.custom { … }`.
public struct Per<Key: BucketKey>: Sendable {
  enum Kind: Sendable {
    case clientAddress, identity, destination, global
    case custom(@Sendable (Exchange) -> LimitKey?)
  }

  let kind: Kind
  /// In the plan.
  let label: String
}

extension Per where Key == ClientAddressKey {
  /// One bucket per IPv4 address, per IPv6 /64 network (what one customer usually has), or per Unix user id.
  public static var clientAddress: Self { Per(kind: .clientAddress, label: Key.label) }
}

extension Per where Key == IdentityKey {
  /// One bucket per identity. Needs an authenticator above.
  public static var identity: Self { Per(kind: .identity, label: Key.label) }
}

extension Per where Key == DestinationKey {
  /// One bucket per host and port that clients ask for. Reads the destination, which ends a SOCKS5 authentication.
  public static var destination: Self { Per(kind: .destination, label: Key.label) }
}

extension Per where Key == GlobalKey {
  /// One bucket for all exchanges.
  public static var global: Self { Per(kind: .global, label: Key.label) }
}

extension Per where Key == CustomKey {
  /// One bucket per value of `key`; an exchange for which it returns `nil` is not limited.
  ///
  /// `.custom("listener") { $0.listener.name }`
  ///
  /// - Parameters:
  ///   - label: in the plan.
  ///   - key: runs on the hot path of every exchange. Values are told apart by a 128-bit keyed hash.
  public static func custom<Value: Hashable & Sendable>(
    _ label: String = Key.label, _ key: @escaping @Sendable (Exchange) -> Value?
  ) -> Self {
    Per(kind: .custom { exchange in key(exchange).map { LimitKey(hashing: $0) } }, label: label)
  }
}

extension Per {
  /// The key of one exchange; `nil`: not limited.
  func key(of exchange: Exchange, _ needed: Key.Needs.Value) async throws -> LimitKey? {
    switch kind {
    case .clientAddress: LimitKey(exchange.client)
    case .identity: Key.principal(needed).map { LimitKey(hashing: $0.id) }
    case .destination: LimitKey(hashing: try await exchange.destination())
    case .global: LimitKey.global
    case .custom(let key): key(exchange)
    }
  }

  /// What it reads of an exchange.
  var uses: Uses {
    if case .destination = kind { .destination } else { [] }
  }
}
