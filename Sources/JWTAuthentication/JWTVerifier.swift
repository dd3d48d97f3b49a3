public import Pipeline

/// Why a token is refused. For the log: it holds nothing of the token but names that we know.
public enum JWTProblem: Error, Hashable, CustomStringConvertible {
  /// It is no compact JWS with a JSON object in it (RFC 7515, 7.1).
  case malformed(String)
  /// It says `none`, or another algorithm that is not taken.
  case algorithmNotAllowed
  /// No key of its algorithm with its `kid`.
  case unknownKey
  case signatureInvalid
  case expired
  /// A claim is missing or is not what is required.
  case claim(String)

  public var description: String {
    switch self {
    case .malformed(let why): "it is malformed: \(why)"
    case .algorithmNotAllowed: "its algorithm is none that is taken"
    case .unknownKey: "there is no key of its algorithm with its kid"
    case .signatureInvalid: "its signature is wrong"
    case .expired: "it has expired"
    case .claim(let what): what
    }
  }
}

/// Reads and verifies tokens (RFC 7519), without a network and without a clock of its own: any bytes in, claims or a
/// reason out.
public struct JWTVerifier: Sendable {
  public let requirements: JWTRequirements
  private let keys: JWKSet

  /// - Parameter keys: those that may have signed; one is enough.
  public init(keys: [JWTKey], requirements: JWTRequirements = JWTRequirements()) {
    self.init(JWKSet(keys: keys), requirements)
  }

  /// - Parameter jwks: a JWK Set (RFC 7517). Secrets in it are used.
  /// - Throws: ``JWTKeyError``.
  public init(jwks: [UInt8], requirements: JWTRequirements = JWTRequirements()) throws {
    self.init(try JWKSet(json: jwks, allowsSecrets: true), requirements)
  }

  init(_ keys: JWKSet, _ requirements: JWTRequirements) {
    self.keys = keys
    self.requirements = requirements
  }

  /// The claims of a token that is rightly signed, in time, and for us.
  ///
  /// - Throws: ``JWTProblem``. Nothing that the token says is acted upon before its signature is known to be right,
  ///   but for the choice of the key.
  public func verify(_ token: [UInt8], now: UnixTime) throws(JWTProblem) -> JWTClaims {
    guard token.count <= requirements.maxBytes else {
      throw .malformed("it has \(token.count) bytes, and \(requirements.maxBytes) are taken")
    }
    let token = try CompactJWS(token)
    try check(token)
    guard let algorithm = JWTAlgorithm(rawValue: token.algorithm), requirements.algorithms.contains(algorithm) else {
      throw .algorithmNotAllowed
    }
    let candidates = keys.candidates(algorithm, id: token.keyID)
    guard !candidates.isEmpty else { throw .unknownKey }
    guard candidates.contains(where: { $0.verifies(token.signature, of: token.signed) }) else {
      throw .signatureInvalid
    }
    return try requirements.check(try token.claims(), now: now)
  }

  private func check(_ token: CompactJWS) throws(JWTProblem) {
    guard let type = requirements.type else { return }
    guard let own = token.type else { throw .malformed("its typ is missing") }
    // RFC 7515, 4.1.9: `application/` may be left out, and case does not matter.
    func short(_ type: String) -> String {
      let type = type.lowercased()
      return type.hasPrefix("application/") ? String(type.dropFirst(12)) : type
    }
    guard short(own) == short(type) else { throw .malformed("its typ is not the one that is required") }
  }
}

/// A token in its three parts (RFC 7515, 7.1), of which the payload is not read before the signature is verified.
struct CompactJWS {
  let algorithm: String
  let keyID: String?
  let type: String?
  /// What is signed: header and payload, as they came.
  let signed: [UInt8]
  let signature: [UInt8]
  private let payload: ArraySlice<UInt8>

  private static let maxHeaderBytes = 2048
  private static let maxKeyID = 256

  init(_ token: [UInt8]) throws(JWTProblem) {
    let dots = token.indices.filter { token[$0] == UInt8(ascii: ".") }
    guard dots.count == 2 else { throw .malformed("it has \(dots.count + 1) parts, not 3") }
    let header = token[..<dots[0]]
    guard header.count <= Self.maxHeaderBytes else { throw .malformed("its header is too long") }
    let members = try Self.object(header, "header")
    guard let algorithm = members["alg"]?.string else { throw .malformed("its alg is missing or no string") }
    // RFC 7515, 4.1.11: what must be understood, and is not. `b64` (RFC 7797) stands only together with it.
    guard members["crit"] == nil else { throw .malformed("it has a crit, and no extension is understood") }
    guard members["b64"] == nil, members["zip"] == nil, members["enc"] == nil else {
      throw .malformed("its header is of another kind of token")
    }
    // `jwk`, `jku`, `x5c`, `x5u`: a token does not bring its own key (RFC 8725, 3.10). They are not looked at.
    if let id = members["kid"] {
      guard let text = id.string, text.utf8.count <= Self.maxKeyID else {
        throw .malformed("its kid is no short string")
      }
      keyID = text
    } else {
      keyID = nil
    }
    if let type = members["typ"] {
      guard let text = type.string else { throw .malformed("its typ is no string") }
      self.type = text
    } else {
      type = nil
    }
    self.algorithm = algorithm
    guard let signature = Base64URL.decode(token[(dots[1] + 1)...]) else {
      throw .malformed("its signature is no base64url")
    }
    self.signature = signature
    signed = Array(token[..<dots[1]])
    payload = token[(dots[0] + 1)..<dots[1]]
  }

  func claims() throws(JWTProblem) -> [String: JSONValue] { try Self.object(payload, "payload") }

  private static func object(_ text: ArraySlice<UInt8>, _ part: String) throws(JWTProblem) -> [String: JSONValue] {
    guard let bytes = Base64URL.decode(text) else { throw .malformed("its \(part) is no base64url") }
    let value: JSONValue
    do { value = try JSONReader.read(bytes) } catch { throw .malformed("its \(part) is \(error)") }
    guard let object = value.object else { throw .malformed("its \(part) is no object") }
    return object
  }
}
