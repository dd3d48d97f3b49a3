public import Pipeline

/// Lets only those pass whom the authenticator above knows and a rule allows.
///
/// ```swift
/// Authorize(role: "admin")                                     // below PasswordAuth, ClientAddressAuth, AnonymousAuth
/// Authorize { (user: Employee) in user.department == "it" }    // below an authenticator that gives an Employee
/// ```
/// It asks for one identity type and does not compile below an authenticator that gives another, or none. Who may not pass is
/// told `forbidden`. Costs one call of the rule.
public struct Authorize<User: Identity>: IdentityMiddleware {
  @inlinable public static var throwsLate: Bool { false }

  public typealias Carrier = Exchange

  private let rule: @Sendable (User) -> Bool
  private let wanted: String

  /// Lets those pass for whom `rule` says true. It runs on the loop and must not block.
  public init(_ rule: @escaping @Sendable (User) -> Bool) { self.init(wanted: "the rule", rule) }

  private init(wanted: String, _ rule: @escaping @Sendable (User) -> Bool) {
    self.wanted = wanted
    self.rule = rule
  }

  public func handle(_ exchange: Exchange, identity: User, next: Next) async throws -> Summary {
    guard rule(identity) else {
      throw Rejection(.forbidden, detail: "\(identity.principal.id) does not meet \(wanted)")
    }
    return try await next()
  }

  public var parameters: [Parameter] { [Parameter("needs", wanted)] }
}

extension Authorize where User == AuthenticatedUser {
  /// Lets those pass who have this role.
  public init(role: String) {
    self.init(wanted: "the role \(role)") { $0.has(role: role) }
  }

  /// Lets those pass who have at least one of these roles.
  public init(anyRoleOf roles: Set<String>) {
    precondition(!roles.isEmpty, "Authorize(anyRoleOf:) has no role, so nobody could pass: name one or more")
    self.init(wanted: "one of the roles \(roles.sorted().joined(separator: ", "))") {
      !$0.roles.isDisjoint(with: roles)
    }
  }
}
