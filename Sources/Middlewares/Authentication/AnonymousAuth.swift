public import Pipeline

/// Lets everybody in, and accounts all of them to one name.
///
/// For listeners that only trusted clients reach, and for the branch of an `if` that asks for no password: the elements below
/// need an identity, and this gives them one. The client sees nothing of it (SOCKS5: method 0x00). Costs nothing.
public struct AnonymousAuth: Authenticator {
  private let user: AuthenticatedUser

  /// Creates an authenticator that gives this name and these roles. The name may not be empty.
  public init(as name: String = "anonymous", roles: Set<String> = []) {
    precondition(!name.isEmpty, "the name of an AnonymousAuth is empty: use 1 or more characters")
    user = AuthenticatedUser(Principal(name), roles: roles)
  }

  public func authenticate(_ exchange: Exchange) async throws -> AuthenticatedUser { user }

  public var parameters: [Parameter] { [Parameter("as", user.principal.id)] }
}
