public import Pipeline

/// What a limit is kept per, as a type: which exchanges have such a key, and what has to stand above it.
///
/// Closed. Nobody makes one: it is the `Key` of ``Per``, so that a limit whose key an exchange cannot have does not compile.
public protocol BucketKey: Sendable {
  /// The class of exchange that has this key: `Exchange`, or `HTTPExchange` for what only a request has.
  associatedtype Carrier: Exchange = Exchange
  /// What has to stand above.
  associatedtype Needs: KeyNeed = Anyone
  /// Whether reading it may have to wait, as for what a SOCKS5 client asks for.
  static var mayWait: Bool { get }
}

extension BucketKey {
  @inlinable public static var mayWait: Bool { false }
}

/// A need from which a limit can tell who it is.
public protocol KeyNeed: Need {
  /// Whose limit it is, where an identity is needed.
  static func principal(of needed: Value) -> Principal?
}

extension Anyone: KeyNeed {
  @inlinable public static func principal(of needed: Void) -> Principal? { nil }
}

extension SomeIdentity: KeyNeed {
  @inlinable public static func principal(of needed: Principal) -> Principal? { needed }
}

extension Exactly: KeyNeed {
  @inlinable public static func principal(of needed: User) -> Principal? { needed.principal }
}

/// One limit per network address or Unix user.
public enum ClientAddressKey: BucketKey {}

/// One limit per destination (host and port).
public enum DestinationKey: BucketKey {
  @inlinable public static var mayWait: Bool { true }
}

/// One limit for all.
public enum GlobalKey: BucketKey {}

/// One limit per principal, and one for all who have none.
public enum OptionalIdentityKey: BucketKey {}

/// One limit per value of a closure.
public enum CustomKey: BucketKey {}

/// One limit per value of a closure over a request.
public enum RequestKey: BucketKey {
  public typealias Carrier = HTTPExchange
}

/// One limit per identity.
public enum IdentityKey: BucketKey {
  public typealias Needs = SomeIdentity
}

/// One limit per identity of one type, whose fields may decide about the rate.
public enum TypedIdentityKey<User: Identity>: BucketKey {
  public typealias Needs = Exactly<User>
}

/// One limit per request method.
public enum MethodKey: BucketKey {
  public typealias Carrier = HTTPExchange
}

/// One limit per route.
public enum RouteKey: BucketKey {
  public typealias Carrier = HTTPExchange
}

/// One limit per value of a request field.
public enum HeaderKey: BucketKey {
  public typealias Carrier = HTTPExchange
}

/// One limit per combination of keys: it needs what its parts need.
public enum CombinedKey<Carrier: Exchange, Needs: KeyNeed>: BucketKey {
  // A destination may be among its parts.
  @inlinable public static var mayWait: Bool { true }
}
