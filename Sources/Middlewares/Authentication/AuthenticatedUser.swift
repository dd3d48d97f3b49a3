public import Pipeline

/// The identity that the built-in authenticators give: a name and the roles that ``Authorize`` asks for.
///
/// All of them give the same type, so that one may stand in each branch of an `if`/`else`.
public struct AuthenticatedUser: Identity, Hashable {
  public let principal: Principal
  public let roles: Set<String>

  public init(_ principal: Principal, roles: Set<String> = []) {
    self.principal = principal
    self.roles = roles
  }

  /// Whether the user has this role.
  public func has(role: String) -> Bool { roles.contains(role) }
}
