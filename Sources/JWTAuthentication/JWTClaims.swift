public import Pipeline

/// What a verified token says. Never made from a token that was not verified.
public final class JWTClaims: Sendable {
  /// Every claim, the registered ones included.
  public let all: [String: JSONValue]
  /// Who the token is about: `sub`.
  public let subject: String
  /// Who made it: `iss`.
  public let issuer: String?
  /// Whom it is for: `aud`; one or several.
  public let audiences: [String]
  /// Until when it is good, leeway not counted: `exp`, in seconds since 1970.
  public let expiresAt: Double?
  /// `iat`, in seconds since 1970.
  public let issuedAt: Double?

  init(
    all: [String: JSONValue], subject: String, issuer: String?, audiences: [String], expiresAt: Double?,
    issuedAt: Double?
  ) {
    self.all = all
    self.subject = subject
    self.issuer = issuer
    self.audiences = audiences
    self.expiresAt = expiresAt
    self.issuedAt = issuedAt
  }

  public subscript(_ name: String) -> JSONValue? { all[name] }

  /// The words of a claim that is an array of strings, or one string with blanks between them (`scope`, RFC 8693, 4.2).
  public func words(_ name: String) -> Set<String> {
    switch all[name] {
    case .string(let text): Set(text.split(separator: " ").map(String.init))
    case .array: Set(all[name]?.strings ?? [])
    case .null, .bool, .number, .object, nil: []
    }
  }
}

/// Who a verified token is about.
public struct JWTUser: Identity {
  public let principal: Principal
  /// What the token says.
  public let claims: JWTClaims

  /// What the token is good for: the words of `scope` (RFC 8693, 4.2; RFC 9068, 2.2.3).
  public var scopes: Set<String> { claims.words("scope") }

  init(_ claims: JWTClaims) {
    principal = Principal(claims.subject)
    self.claims = claims
  }
}

/// What a token has to be besides rightly signed (RFC 7519, 4.1; RFC 8725).
public struct JWTRequirements: Sendable {
  /// Who may have made it (`iss`). Empty: anybody who has a key.
  public var issuers: Set<String>
  /// Whom it must be for (`aud`): one of these. Empty: a token that names an audience is refused, because it is for
  /// somebody else (RFC 7519, 4.1.3).
  public var audiences: Set<String>
  /// Which algorithms are taken. Whatever a token says, a key verifies its own algorithm only.
  public var algorithms: Set<JWTAlgorithm>
  /// How far the clocks of issuer and proxy may differ: 0 to 300 seconds.
  public var leeway: Duration
  /// Whether a token without `exp` is refused.
  public var expires: Bool
  /// The `typ` that it must have, such as `at+jwt` (RFC 9068), so that a token for another purpose is none here (RFC
  /// 8725, 3.11). `nil`: any, or none.
  public var type: String?
  /// Other claims that must be there.
  public var claims: Set<String>
  /// Bytes of a token that are looked at; a longer one is refused.
  public var maxBytes: Int

  public init(
    issuers: Set<String> = [], audiences: Set<String> = [], algorithms: Set<JWTAlgorithm> = Set(JWTAlgorithm.allCases),
    leeway: Duration = .seconds(30), expires: Bool = true, type: String? = nil, claims: Set<String> = [],
    maxBytes: Int = 8192
  ) {
    self.issuers = issuers
    self.audiences = audiences
    self.algorithms = algorithms
    self.leeway = leeway
    self.expires = expires
    self.type = type
    self.claims = claims
    self.maxBytes = maxBytes
  }

  /// Reads the claims of a token whose signature is right.
  func check(_ all: [String: JSONValue], now: UnixTime) throws(JWTProblem) -> JWTClaims {
    let now = Double(now.seconds) + Double(now.nanoseconds) / 1e9
    let leeway = leeway.inSeconds
    let expiresAt = try Self.time("exp", all)
    if let expiresAt {
      // On or after it the token must not be accepted (RFC 7519, 4.1.4).
      if now >= expiresAt + leeway { throw .expired }
    } else if expires {
      throw .claim("exp is missing")
    }
    if let notBefore = try Self.time("nbf", all), now < notBefore - leeway { throw .claim("nbf is in the future") }
    let issuedAt = try Self.time("iat", all)
    if let issuedAt, now < issuedAt - leeway { throw .claim("iat is in the future") }
    let issuer = try Self.text("iss", all)
    if !issuers.isEmpty {
      guard let issuer, issuers.contains(issuer) else { throw .claim("iss is none of those that are accepted") }
    }
    let audiences = try Self.audiences(all)
    if let audiences {
      guard audiences.contains(where: self.audiences.contains) else {
        throw .claim(
          self.audiences.isEmpty ? "aud is there, and none is accepted" : "aud is none of those that are accepted")
      }
    } else if !self.audiences.isEmpty {
      throw .claim("aud is missing")
    }
    guard let subject = try Self.text("sub", all), !subject.isEmpty, subject.utf8.count <= 255,
      // It goes to logs, and may go into fields of requests.
      !subject.unicodeScalars.contains(where: { $0.value < 32 || $0.value == 127 })
    else { throw .claim("sub is missing, or is no text of 1 to 255 bytes without control characters") }
    for name in claims.sorted() where all[name] == nil || all[name] == .null { throw .claim("\(name) is missing") }
    return JWTClaims(
      all: all, subject: subject, issuer: issuer, audiences: audiences ?? [], expiresAt: expiresAt, issuedAt: issuedAt)
  }

  private static func time(_ name: String, _ all: [String: JSONValue]) throws(JWTProblem) -> Double? {
    guard let value = all[name] else { return nil }
    guard let seconds = value.number, (0...1e12).contains(seconds) else { throw .claim("\(name) is no time") }
    return seconds
  }

  private static func text(_ name: String, _ all: [String: JSONValue]) throws(JWTProblem) -> String? {
    guard let value = all[name] else { return nil }
    guard let text = value.string else { throw .claim("\(name) is no string") }
    return text
  }

  private static func audiences(_ all: [String: JSONValue]) throws(JWTProblem) -> [String]? {
    guard let value = all["aud"] else { return nil }
    if let one = value.string { return [one] }
    guard let several = value.strings else { throw .claim("aud is neither a string nor an array of strings") }
    return several
  }
}
