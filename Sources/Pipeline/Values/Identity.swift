/// Who an exchange is accounted to, whatever the authenticator's own identity type is.
public struct Principal: Hashable, Sendable, Identity {
  /// A name that is unique among the authenticator's users; it may appear in logs and metrics.
  public let id: String

  @inlinable public init(_ id: String) { self.id = id }

  @inlinable public var principal: Principal { self }
}

/// What an authenticator knows about a client. An own type may carry roles, a plan, a department.
public protocol Identity: Sendable {
  var principal: Principal { get }
}

/// A value that must reach no log: it has no description and no mirror.
public struct Secret<Value: Sendable>: Sendable, CustomStringConvertible, CustomDebugStringConvertible,
  CustomReflectable
{
  private let value: Value

  public init(_ value: Value) { self.value = value }

  /// The value itself. Named so that a reviewer sees each place where it is taken out.
  public func reveal() -> Value { value }

  public var description: String { "<secret>" }
  public var debugDescription: String { "<secret>" }
  public var customMirror: Mirror { Mirror(self, children: []) }
}

/// A user name and a password as the client sent them (RFC 1929: 1 to 255 bytes each, any bytes).
public struct PasswordCredentials: Sendable {
  public let user: [UInt8]
  public let password: Secret<[UInt8]>

  public init(user: [UInt8], password: [UInt8]) {
    self.user = user
    self.password = Secret(password)
  }

  public init(user: String, password: String) {
    self.init(user: Array(user.utf8), password: Array(password.utf8))
  }
}
