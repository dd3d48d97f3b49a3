public import Pipeline

/// Lets only those pass whom the authenticator above knows and a rule allows.
///
/// ```swift
/// Authorize(role: "admin")                                     // below PasswordAuth, ClientAddressAuth, AnonymousAuth
/// Authorize { (user: Employee) in user.department == "it" }    // below an authenticator that gives an Employee
/// Authorize(scopes: ["write"]) { (user: JWTUser) in user.scopes }    // and who lacks one is told which are needed
/// ```
/// It asks for one identity type and does not compile below an authenticator that gives another, or none. Who may not pass is
/// told `forbidden`. Costs one call of the rule.
public struct Authorize<User: Identity>: IdentityMiddleware {
  @inlinable public static var throwsLate: Bool { false }

  public typealias Carrier = Exchange

  private let rule: @Sendable (User) -> Bool
  private let wanted: String
  /// Every one is needed; in the order in which the client is told.
  private let scopes: [String]

  /// Lets those pass for whom `rule` says true. It runs on the loop and must not block.
  public init(_ rule: @escaping @Sendable (User) -> Bool) { self.init(wanted: "the rule", rule) }

  /// Lets those pass whose token is good for every one of these scopes.
  ///
  /// An HTTP client that came with a bearer token gets 403 with `error="insufficient_scope"` and the scopes that it needs
  /// (RFC 6750, 3.1), so that it can ask its issuer for another token; every other client a plain `forbidden`.
  ///
  /// - Parameters:
  ///   - scopes: one or more, of printable ASCII without spaces, quotation marks and backslashes.
  ///   - granted: the scopes of a user. It runs on the loop and must not block.
  public init(scopes: Set<String>, of granted: @escaping @Sendable (User) -> Set<String>) {
    precondition(!scopes.isEmpty, "Authorize(scopes:) has no scope, so everybody would pass: name one or more")
    self.init(wanted: "the scope \(scopes.sorted().joined(separator: " "))", scopes: scopes.sorted()) {
      scopes.isSubset(of: granted($0))
    }
  }

  private init(wanted: String, scopes: [String] = [], _ rule: @escaping @Sendable (User) -> Bool) {
    self.wanted = wanted
    self.scopes = scopes
    self.rule = rule
  }

  public func handle(_ exchange: Exchange, identity: User, next: Next) async throws -> Summary {
    guard rule(identity) else {
      if !scopes.isEmpty, let exchange = exchange as? HTTPExchange { askForScopes(on: exchange) }
      throw Rejection(.forbidden, detail: "\(identity.principal.id) does not meet \(wanted)")
    }
    return try await next()
  }

  /// Continues the challenge of the bearer authenticator above.
  private func askForScopes(on exchange: HTTPExchange) {
    guard exchange.challenge.hasPrefix("Bearer ") else { return }
    exchange.forbiddenChallenge =
      exchange.challenge + ", error=\"insufficient_scope\", scope=\"\(scopes.joined(separator: " "))\""
  }

  public var parameters: [Parameter] { [Parameter("needs", wanted)] }

  public func validate(into problems: inout Problems) {
    for scope in scopes where scope.isEmpty || !scope.utf8.allSatisfy(Self.mayStandInScope) {
      problems.refuse(
        "the scope \"\(scope)\" has to be printable ASCII without spaces, quotation marks and backslashes")
    }
  }

  /// RFC 6749, 3.3.
  private static func mayStandInScope(_ byte: UInt8) -> Bool {
    (33...126).contains(byte) && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
  }
}

extension Authorize where User == AuthenticatedUser {
  /// Lets those pass who have this role.
  public init(role: String) {
    self.init(wanted: "the role \(role)") { $0.has(role: role) }
  }

  /// Lets those pass who have every one of these roles, and tells who came with a bearer token which are needed: as
  /// ``init(scopes:of:)`` with the roles of the token.
  public init(scopes: Set<String>) { self.init(scopes: scopes) { $0.roles } }

  /// Lets those pass who have at least one of these roles.
  public init(anyRoleOf roles: Set<String>) {
    precondition(!roles.isEmpty, "Authorize(anyRoleOf:) has no role, so nobody could pass: name one or more")
    self.init(wanted: "one of the roles \(roles.sorted().joined(separator: ", "))") {
      !$0.roles.isDisjoint(with: roles)
    }
  }
}
