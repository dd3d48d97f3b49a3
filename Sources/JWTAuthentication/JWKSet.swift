/// The keys of one moment.
struct JWKSet: Sendable {
  let keys: [JWTKey]
  /// Why others of the set are not used.
  let skipped: [String]

  static let maxBytes = 256 << 10
  private static let maxKeys = 100
  /// A token without a `kid` is tried with so many keys at most, so that nobody makes one request cost a hundred
  /// verifications.
  private static let maxTries = 4

  init(keys: [JWTKey]) {
    self.keys = keys
    skipped = []
  }

  /// From a JWK Set (RFC 7517, 5). Keys that are of no use here are left out, as the RFC wants it.
  ///
  /// - Parameter allowsSecrets: whether `oct` keys are taken. Not from a URL: what is published there is no secret.
  /// - Throws: ``JWTKeyError`` when it is no key set, or when no key of it can be used.
  init(json: [UInt8], allowsSecrets: Bool) throws {
    guard json.count <= Self.maxBytes else {
      throw JWTKeyError("the key set has \(json.count) bytes: at most \(Self.maxBytes) are taken")
    }
    let value: JSONValue
    do { value = try JSONReader.read(json) } catch { throw JWTKeyError("the key set is \(error)") }
    guard let members = value.object?["keys"]?.array else {
      throw JWTKeyError("the key set is no object with a member \"keys\" that is an array")
    }
    guard members.count <= Self.maxKeys else {
      throw JWTKeyError("the key set has \(members.count) keys: at most \(Self.maxKeys) are taken")
    }
    var keys: [JWTKey] = []
    var skipped: [String] = []
    for (i, member) in members.enumerated() {
      do {
        keys.append(try Self.key(member, allowsSecrets))
      } catch {
        skipped.append("key \(i + 1): \(error)")
      }
    }
    guard !keys.isEmpty else {
      throw JWTKeyError(
        "no key of the set can be used" + (skipped.isEmpty ? ": it is empty" : ": \(skipped.joined(separator: "; "))"))
    }
    self.keys = keys
    self.skipped = skipped
  }

  /// The keys that may have signed a token with this header.
  func candidates(_ algorithm: JWTAlgorithm, id: String?) -> [JWTKey] {
    let matching = keys.filter { key in
      guard key.algorithm == algorithm else { return false }
      guard let id, let own = key.id else { return true }
      return id == own
    }
    return Array(matching.prefix(Self.maxTries))
  }

  // MARK: - One key

  private static func key(_ value: JSONValue, _ allowsSecrets: Bool) throws(JWTKeyError) -> JWTKey {
    guard let jwk = value.object else { throw JWTKeyError("it is no object") }
    if let use = jwk["use"], use.string != "sig" { throw JWTKeyError("its \"use\" is not \"sig\"") }
    if let operations = jwk["key_ops"] {
      guard let operations = operations.strings, operations.contains("verify") else {
        throw JWTKeyError("its \"key_ops\" do not contain \"verify\"")
      }
    }
    if let id = jwk["kid"], id.string == nil { throw JWTKeyError("its \"kid\" is no string") }
    let id = jwk["kid"]?.string
    switch jwk["kty"]?.string {
    case "RSA": return try rsa(jwk, id)
    case "EC": return try p256(jwk, id)
    case "OKP": return try ed25519(jwk, id)
    case "oct":
      guard allowsSecrets else { throw JWTKeyError("a secret (\"oct\") is not taken from a URL") }
      try check(jwk, .hs256)
      return try typed { try JWTKey.hs256(secret: try bytes("k", jwk), id: id) }
    default: throw JWTKeyError("its \"kty\" is none of \"RSA\", \"EC\", \"OKP\" and \"oct\"")
    }
  }

  private static func check(_ jwk: [String: JSONValue], _ algorithm: JWTAlgorithm) throws(JWTKeyError) {
    guard let said = jwk["alg"] else { return }
    guard said.string == algorithm.rawValue else {
      throw JWTKeyError("its \"alg\" is not \"\(algorithm.rawValue)\", the one that is taken for its type")
    }
  }

  private static func bytes(_ name: String, _ jwk: [String: JSONValue]) throws(JWTKeyError) -> [UInt8] {
    guard let text = jwk[name]?.string, let bytes = Base64URL.decode(text.utf8), !bytes.isEmpty else {
      throw JWTKeyError("its \"\(name)\" is missing or no base64url")
    }
    return bytes
  }

  /// Every error of a key is a ``JWTKeyError``.
  private static func typed(_ body: () throws -> JWTKey) throws(JWTKeyError) -> JWTKey {
    do {
      return try body()
    } catch let error as JWTKeyError {
      throw error
    } catch {
      throw JWTKeyError("\(error)")
    }
  }

  private static func rsa(_ jwk: [String: JSONValue], _ id: String?) throws(JWTKeyError) -> JWTKey {
    try check(jwk, .rs256)
    let n = try bytes("n", jwk)
    let e = try bytes("e", jwk)
    // What d2i_PUBKEY shall not even look at.
    guard n.count <= 1024, e.count <= 8 else {
      throw JWTKeyError("the RSA key is too large: 2048 to 8192 bits are allowed")
    }
    let rsaEncryption: [UInt8] = [0x06, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1, 0x05, 0]
    let key = DER.sequence(DER.integer(n), DER.integer(e))
    return try typed {
      let der = DER.sequence(DER.tagged(0x30, rsaEncryption), DER.bitString(key))
      return JWTKey(.rs256, id, try PublicKey(der: der, .rsa))
    }
  }

  private static func p256(_ jwk: [String: JSONValue], _ id: String?) throws(JWTKeyError) -> JWTKey {
    guard jwk["crv"]?.string == "P-256" else { throw JWTKeyError("its \"crv\" is not \"P-256\"") }
    try check(jwk, .es256)
    let x = try bytes("x", jwk)
    let y = try bytes("y", jwk)
    guard x.count == 32, y.count == 32 else { throw JWTKeyError("its \"x\" and \"y\" have not 32 bytes each") }
    let onP256: [UInt8] = [
      0x06, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1, 0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7,
    ]
    return try typed {
      let der = DER.sequence(DER.tagged(0x30, onP256), DER.bitString([4] + x + y))
      return JWTKey(.es256, id, try PublicKey(der: der, .p256))
    }
  }

  private static func ed25519(_ jwk: [String: JSONValue], _ id: String?) throws(JWTKeyError) -> JWTKey {
    guard jwk["crv"]?.string == "Ed25519" else { throw JWTKeyError("its \"crv\" is not \"Ed25519\"") }
    try check(jwk, .edDSA)
    let x = try bytes("x", jwk)
    guard x.count == 32 else { throw JWTKeyError("its \"x\" has not 32 bytes") }
    return try typed {
      let der = DER.sequence(DER.tagged(0x30, [0x06, 3, 0x2B, 0x65, 0x70]), DER.bitString(x))
      return JWTKey(.edDSA, id, try PublicKey(der: der, .ed25519))
    }
  }
}
