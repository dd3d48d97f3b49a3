/// What a chain element needs to stand above it. A type-level value: it is never instantiated.
///
/// The chain's builder compares what an element needs with what the elements above it give, so that a per-user limit above
/// the authenticator does not compile.
public protocol Need {
  /// What the element is handed when the need is met.
  associatedtype Value: Sendable
}

/// A need that whatever identity stands above meets.
public protocol MetByAnyIdentity: Need {
  /// The part of `identity` that the element asked for.
  static func value(of identity: some Identity) -> Value
}

/// A need that is met even with no authenticator above.
public protocol MetByNothing: MetByAnyIdentity {
  /// What the element is handed.
  static var value: Value { get }
}

/// A need that one identity type alone meets.
public protocol MetByOneIdentity: Need {
  /// The identity type that has to stand above.
  associatedtype User: Identity
  /// The part of `identity` that the element asked for.
  static func value(of identity: User) -> Value
}

/// Needs nothing: the element works above and below an authenticator.
public enum Anyone: MetByNothing {
  public typealias Value = Void
  @inlinable public static var value: Void { () }
  @inlinable public static func value(of identity: some Identity) {}
}

/// Needs an identity, of whatever type: the element is handed its ``Principal``.
public enum SomeIdentity: MetByAnyIdentity {
  public typealias Value = Principal
  @inlinable public static func value(of identity: some Identity) -> Principal { identity.principal }
}

/// Needs exactly this identity type, and is handed it whole.
public enum Exactly<User: Identity>: MetByOneIdentity {
  public typealias Value = User
  @inlinable public static func value(of identity: User) -> User { identity }
}

/// What the two branches of an `if`/`else` need together.
public enum Both<A: Need, B: Need>: Need {
  public typealias Value = (A.Value, B.Value)
}

extension Both: MetByAnyIdentity where A: MetByAnyIdentity, B: MetByAnyIdentity {
  @inlinable public static func value(of identity: some Identity) -> (A.Value, B.Value) {
    (A.value(of: identity), B.value(of: identity))
  }
}

extension Both: MetByNothing where A: MetByNothing, B: MetByNothing {
  @inlinable public static var value: (A.Value, B.Value) { (A.value, B.value) }
}

extension Both: MetByOneIdentity where A: MetByOneIdentity, B: MetByOneIdentity, A.User == B.User {
  public typealias User = A.User
  @inlinable public static func value(of identity: A.User) -> (A.Value, B.Value) {
    (A.value(of: identity), B.value(of: identity))
  }
}

/// What an element hands to the elements below it. A type-level value: it is never instantiated.
public protocol Gift {
  associatedtype Value: Sendable
}

/// Hands on what stands above: every element but authenticators and identity transforms.
public enum Unchanged: Gift {
  public typealias Value = Void
}

/// Hands an identity to the elements below.
public enum Identified<User: Identity>: Gift {
  public typealias Value = User
}
