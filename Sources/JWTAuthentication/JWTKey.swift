/// How a token may be signed.
public enum JWTAlgorithm: String, Sendable, Hashable, CaseIterable {
  /// HMAC with SHA-256 (RFC 7518, 3.2): who can verify a token can make one.
  case hs256 = "HS256"
  /// RSASSA-PKCS1-v1_5 with SHA-256 (3.3).
  case rs256 = "RS256"
  /// ECDSA on P-256 with SHA-256 (3.4).
  case es256 = "ES256"
  /// Ed25519 (RFC 8037, 3.1).
  case edDSA = "EdDSA"
}

/// A key that cannot be used, and why. Says nothing of the key itself.
public struct JWTKeyError: Error, Hashable, CustomStringConvertible {
  public let description: String
  package init(_ description: String) { self.description = description }
}

/// A key that verifies tokens, bound to one algorithm.
///
/// The algorithm is the key's, and never the token's choice: a public key verifies no HMAC, because it is no
/// ``JWTKey/hs256(secret:id:)`` (RFC 8725, 2.1).
public struct JWTKey: Sendable, CustomStringConvertible {
  private enum Material: Sendable {
    case secret([UInt8])
    case publicKey(PublicKey)
  }

  public let algorithm: JWTAlgorithm
  /// Matches the `kid` of a token. `nil`: the key is tried on every token of its algorithm.
  public let id: String?
  private let material: Material

  /// HMAC with a shared secret.
  ///
  /// - Parameter secret: 32 bytes or more, of which nobody can guess any (RFC 7518, 3.2).
  /// - Throws: ``JWTKeyError``.
  public static func hs256(secret: [UInt8], id: String? = nil) throws -> JWTKey {
    guard (32...1024).contains(secret.count) else {
      throw JWTKeyError("the HS256 secret has \(secret.count) bytes: 32 to 1024 are allowed")
    }
    // The oldest of all confusions: a published key as a secret.
    guard !secret.starts(with: Array("-----BEGIN".utf8)) else {
      throw JWTKeyError("the HS256 secret is a PEM text: use rs256(pem:), es256(pem:) or edDSA(pem:)")
    }
    return JWTKey(algorithm: .hs256, id: id, material: .secret(secret))
  }

  /// RSA, of 2048 to 8192 bits.
  ///
  /// - Parameter pem: one `PUBLIC KEY`.
  /// - Throws: ``JWTKeyError``.
  public static func rs256(pem: String, id: String? = nil) throws -> JWTKey {
    JWTKey(.rs256, id, try PublicKey(pem: Array(pem.utf8), .rsa))
  }

  /// ECDSA on P-256.
  ///
  /// - Parameter pem: one `PUBLIC KEY`.
  /// - Throws: ``JWTKeyError``.
  public static func es256(pem: String, id: String? = nil) throws -> JWTKey {
    JWTKey(.es256, id, try PublicKey(pem: Array(pem.utf8), .p256))
  }

  /// Ed25519.
  ///
  /// - Parameter pem: one `PUBLIC KEY`.
  /// - Throws: ``JWTKeyError``.
  public static func edDSA(pem: String, id: String? = nil) throws -> JWTKey {
    JWTKey(.edDSA, id, try PublicKey(pem: Array(pem.utf8), .ed25519))
  }

  init(_ algorithm: JWTAlgorithm, _ id: String?, _ key: PublicKey) {
    self.init(algorithm: algorithm, id: id, material: .publicKey(key))
  }

  private init(algorithm: JWTAlgorithm, id: String?, material: Material) {
    self.algorithm = algorithm
    self.id = id
    self.material = material
  }

  func verifies(_ signature: [UInt8], of message: [UInt8]) -> Bool {
    switch material {
    case .secret(let secret): HMAC256.verifies(signature, of: message, key: secret)
    case .publicKey(let key): key.verifies(signature, of: message)
    }
  }

  /// Algorithm and id; never the key.
  public var description: String { algorithm.rawValue + (id.map { " \"\($0)\"" } ?? "") }
}
