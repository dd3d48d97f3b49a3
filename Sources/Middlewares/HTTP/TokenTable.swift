public import Pipeline
internal import Synchronization

/// The tokens that may be used: a live table, shared by all loops. It keeps their digests only.
///
/// A change takes effect with the next request, also on connections that used a token before. Everything may be called from
/// any thread.
public final class TokenTable: Sendable {
  /// One token and whose it is.
  public struct Token: Sendable, Hashable {
    public let digest: TokenDigest
    public let user: String
    public let roles: Set<String>
    public let expires: UnixTime?

    /// A token by its digest: what a file should hold.
    public init(_ digest: TokenDigest, user: String, roles: Set<String> = [], expires: UnixTime? = nil) {
      self.digest = digest
      self.user = user
      self.roles = roles
      self.expires = expires
    }

    /// A token in clear, which is digested at once.
    ///
    /// - Throws: ``TokenError`` for one that is short enough to be guessed, or that no client could send.
    public init(_ token: String, user: String, roles: Set<String> = [], expires: UnixTime? = nil) throws {
      guard token.utf8.count >= 16 else {
        throw TokenError("the token of \(user) has \(token.utf8.count) characters: 16 or more, at random, are needed")
      }
      guard case .token = BearerField.read(Array("Bearer \(token)".utf8).span) else {
        throw TokenError(
          "the token of \(user) has to be up to \(BearerField.longest) letters, digits and -._~+/, with = at its end only"
        )
      }
      self.init(TokenDigest(of: token), user: user, roles: roles, expires: expires)
    }
  }

  private let grants = Mutex<[TokenDigest: TokenGrant]>([:])
  private let changes = Atomic<UInt64>(0)

  /// Creates a table.
  ///
  /// - Throws: ``TokenError`` for a token that stands twice, or without a user.
  public init(_ tokens: [Token] = []) throws { try replaceAll(with: tokens) }

  /// Grows with every change.
  public var version: UInt64 { changes.load(ordering: .acquiring) }

  public var count: Int { grants.withLock { $0.count } }

  /// Adds a token, or replaces what it is worth.
  ///
  /// - Throws: ``TokenError``; the table is then as it was.
  public func set(_ token: Token) throws {
    try Self.check(token)
    grants.withLock { $0[token.digest] = Self.grant(token) }
    changes.add(1, ordering: .releasing)
  }

  /// Revokes one token; false when it is not there.
  @discardableResult public func revoke(_ digest: TokenDigest) -> Bool {
    let removed = grants.withLock { $0.removeValue(forKey: digest) }
    if removed != nil { changes.add(1, ordering: .releasing) }
    return removed != nil
  }

  /// Revokes every token of a user, and says how many they were.
  @discardableResult public func revokeAll(of user: String) -> Int {
    let count = grants.withLock { grants in
      let before = grants.count
      grants = grants.filter { $0.value.user.principal.id != user }
      return before - grants.count
    }
    if count > 0 { changes.add(1, ordering: .releasing) }
    return count
  }

  /// Makes the table hold exactly these: the reload of a file.
  ///
  /// - Throws: ``TokenError``; the table is then as it was.
  public func replaceAll(with tokens: [Token]) throws {
    var new: [TokenDigest: TokenGrant] = [:]
    for token in tokens {
      try Self.check(token)
      guard new.updateValue(Self.grant(token), forKey: token.digest) == nil else {
        throw TokenError("a token of \(token.user) stands there twice: a token belongs to one user")
      }
    }
    grants.withLock { $0 = new }
    changes.add(1, ordering: .releasing)
  }

  func grant(for digest: TokenDigest) -> TokenGrant? { grants.withLock { $0[digest] } }

  private static func check(_ token: Token) throws {
    if token.user.isEmpty { throw TokenError("a token has no user: name one") }
  }

  private static func grant(_ token: Token) -> TokenGrant {
    TokenGrant(AuthenticatedUser(Principal(token.user), roles: token.roles), expires: token.expires)
  }
}

extension TokenTable: CustomReflectable {
  /// Shows nothing: a dump of a chain must not show digests.
  public var customMirror: Mirror { Mirror(self, children: []) }
}

/// What is wrong with a token's record. Never holds the token.
public struct TokenError: Error, Hashable, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }
}
