public import Pipeline

/// A token as a client sent it, for a ``TokenStore``. Has no description.
public struct BearerToken: Sendable {
  /// What a store may keep and compare instead of the token: SHA-256.
  public let digest: TokenDigest
  /// The token itself, for a service that has to be asked with it (RFC 7662).
  public let text: Secret<String>

  init(_ bytes: borrowing Span<UInt8>) {
    digest = TokenDigest(of: bytes)
    var text: [UInt8] = []
    text.reserveCapacity(bytes.count)
    for i in 0..<bytes.count { text.append(bytes[i]) }
    self.text = Secret(String(decoding: text, as: UTF8.self))
  }
}

/// SHA-256 of a token. Tokens are long and random, so nobody finds one that fits a digest; compared in constant time.
public struct TokenDigest: Hashable, Sendable {
  let words: PasswordDigest

  /// The digest of a token.
  public init(of token: String) { self.init(of: Array(token.utf8).span) }

  /// Reads 64 hexadecimal digits, as `printf %s TOKEN | sha256sum` writes them; `nil` when the text is none.
  public init?(hex: String) {
    let digits = Array(hex.utf8)
    guard digits.count == 64 else { return nil }
    var words: [UInt64] = [0, 0, 0, 0]
    for (i, digit) in digits.enumerated() {
      guard let value = Character(Unicode.Scalar(digit)).hexDigitValue else { return nil }
      words[i / 16] = words[i / 16] << 4 | UInt64(value)
    }
    self.words = PasswordDigest((words[0], words[1], words[2], words[3]))
  }

  init(of token: borrowing Span<UInt8>) {
    var hash = SHA256()
    hash.update(token)
    words = PasswordDigest(hash.finish())
  }
}

/// What a token is worth.
public struct TokenGrant: Sendable, Hashable {
  public let user: AuthenticatedUser
  /// From then on it is worth nothing; `nil`: until it is revoked.
  public let expires: UnixTime?

  public init(_ user: AuthenticatedUser, expires: UnixTime? = nil) {
    self.user = user
    self.expires = expires
  }
}

/// Knows which tokens are worth what: a database, an introspection endpoint.
public protocol TokenStore: AnyObject, Sendable {
  /// Grows with every change that must be felt at once (a revocation): nothing that was remembered from before is used.
  /// Read for every request.
  var version: UInt64 { get }

  /// What a token is worth; `nil`: nothing. Runs apart from the connection, which waits no longer than its deadline.
  ///
  /// - Throws: when it cannot be found out: the client gets a 503. The error is logged, so it must hold no token.
  func grant(for token: BearerToken) async throws -> TokenGrant?
}

extension TokenStore {
  public var version: UInt64 { 0 }
}

/// The token of a `Bearer` field (RFC 6750, 2.1): what remains after the scheme.
enum BearerField {
  /// No other is listened to.
  static let longest = 4096

  enum Content {
    /// Another scheme.
    case none
    /// No `b64token`, or one that is too long.
    case invalid
    case token(BearerToken)
  }

  static func read(_ value: borrowing Span<UInt8>) -> Content {
    let scheme: StaticString = "bearer"
    let length = scheme.utf8CodeUnitCount
    let isBearer =
      value.count >= length
      && scheme.withUTF8Buffer { expected in
        for i in 0..<expected.count where value[i] | 0x20 != expected[i] { return false }
        return true
      }
    guard isBearer else { return .none }
    guard value.count > length, value[length] == 32 else { return value.count == length ? .invalid : .none }
    var begin = length
    while begin < value.count, value[begin] == 32 { begin += 1 }
    let token = value.extracting(begin..<value.count)
    return isToken(token) ? .token(BearerToken(token)) : .invalid
  }

  private static func isToken(_ text: borrowing Span<UInt8>) -> Bool {
    var end = text.count
    while end > 0, text[end - 1] == UInt8(ascii: "=") { end -= 1 }
    guard end > 0, text.count <= longest else { return false }
    for i in 0..<end {
      switch text[i] {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "~"), UInt8(ascii: "+"), UInt8(ascii: "/"):
        continue
      default: return false
      }
    }
    return true
  }
}
