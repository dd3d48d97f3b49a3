public import Pipeline

/// Asks an HTTP client for a user name and a password (RFC 7617) and gives an ``AuthenticatedUser``: ``PasswordAuth`` with a
/// realm of its own.
///
/// ```swift
/// BasicAuth(users, realm: "staff")
/// ```
/// What the client sees: 401 with `www-authenticate: Basic realm="staff", charset="UTF-8"` when it sends no credentials, or
/// wrong ones; 407 with `proxy-authenticate` where it speaks to a forward proxy; 429 with `retry-after` after too many
/// failures; 400 for a field that is no Basic credentials, and for two of them. The same field on the same connection costs
/// neither a digest nor an allocation while no user was changed. The field ends here unless `forwardsCredentials` says that
/// the upstream gets it.
public struct BasicAuth: Authenticator {
  public typealias Carrier = HTTPExchange

  private var passwords: PasswordAuth
  private let realm: String
  private let challenge: String

  /// - Parameters:
  ///   - users: who may log in; changes take effect with the next request.
  ///   - realm: what the browser shows, and what it keeps passwords apart by: printable ASCII.
  ///   - remembering: how long a password that was found right is not hashed again. 1 second to 1 day.
  ///   - limits: how many wrong passwords are listened to.
  ///   - forwardsCredentials: whether the upstream of a reverse proxy gets the field that was used here.
  public init(
    _ users: UserTable, realm: String = "proxy", remembering: Duration = .seconds(600),
    limits: LoginLimits = .standard, forwardsCredentials: Bool = false
  ) {
    passwords = PasswordAuth(
      users, remembering: remembering, limits: limits, forwardsCredentials: forwardsCredentials)
    self.realm = realm
    challenge = "Basic realm=\(quoted(realm)), charset=\"UTF-8\""
  }

  public func authenticate(_ exchange: HTTPExchange) async throws -> AuthenticatedUser {
    exchange.challenge = challenge
    return try await passwords.authenticate(exchange)
  }
}

extension BasicAuth {
  public var uses: Uses { passwords.uses }
  public var state: AnyObject? { passwords.state }
  public var parameters: [Parameter] { [Parameter("realm", realm)] + passwords.parameters }
  public func validate(into problems: inout Problems) { refuse(realm: realm, into: &problems) }
  public mutating func adopt(from old: BasicAuth) { passwords.adopt(from: old.passwords) }
  public func run(_ services: any BackgroundServices) async throws { try await passwords.run(services) }
}

/// A quoted string (RFC 9110, 5.6.4).
func quoted(_ text: String) -> String {
  var out = "\""
  for character in text {
    if character == "\"" || character == "\\" { out.append("\\") }
    out.append(character)
  }
  return out + "\""
}

func refuse(realm: String, into problems: inout Problems) {
  if !realm.utf8.allSatisfy({ (32...126).contains($0) }) || realm.utf8.count > 255 {
    problems.refuse("the realm \"\(realm)\" has to be up to 255 printable ASCII characters")
  }
}
