internal import COpenSSL
public import Middlewares
internal import Pipeline

/// Password hashing with scrypt (RFC 7914), through OpenSSL's libcrypto.
///
/// A hash reads `$scrypt$ln=14,r=8,p=1$salt$hash`: the form of passlib and of the PHC string format, base64 without
/// padding. What one verification costs is written in the hash: about 16 MiB and 50 ms with the standard cost.
///
/// Passwords are bytes, but may not end in NUL: scrypt begins with HMAC, which pads its key with zeros (RFC 2104, 2), so
/// that it cannot tell `secret` from `secret\0`. Such a password is never hashed and never matches.
public struct Scrypt: PasswordVerifier {
  /// Bytes of salt in a new hash.
  static let saltLength = 16
  /// Bytes of output in a new hash.
  static let hashLength = 32

  /// What a new hash costs. Hashes that exist keep their own.
  public let cost: ScryptCost
  private let key: KeyedDigest

  /// Creates a verifier with a random key of its own for ``digest(user:password:)``.
  public init(cost: ScryptCost = .standard) {
    self.cost = cost
    key = KeyedDigest(key: Self.random(32))
  }

  public func check(_ hash: PasswordHash) throws { _ = try ScryptString(hash.text.reveal()) }

  public func hash(_ password: [UInt8]) throws -> PasswordHash {
    guard !password.isEmpty else {
      throw PasswordHashError("an empty password cannot be hashed: use 1 or more bytes")
    }
    guard password.last != 0 else {
      throw PasswordHashError("a password that ends in NUL cannot be hashed: scrypt does not see a NUL at the end")
    }
    let salt = Self.random(Self.saltLength)
    let output = try Self.derive(password, salt: salt, cost: cost, count: Self.hashLength)
    return PasswordHash(ScryptString(cost: cost, salt: salt, hash: output).text)
  }

  public func verify(_ password: [UInt8], against hash: PasswordHash) throws -> Bool {
    let stored = try ScryptString(hash.text.reveal())
    let output = try Self.derive(password, salt: stored.salt, cost: stored.cost, count: stored.hash.count)
    // Looked at only now, so that such a password takes as long as any other.
    return CRYPTO_memcmp(output, stored.hash, output.count) == 0 && password.last != 0
  }

  public func digest(user: [UInt8], password: [UInt8]) -> PasswordDigest { key.digest(user, password) }

  /// The function of RFC 7914, 6.
  static func derive(_ password: [UInt8], salt: [UInt8], cost: ScryptCost, count: Int) throws -> [UInt8] {
    var output = [UInt8](repeating: 0, count: count)
    // C's `char` and `unsigned char` are one byte each, and the pointer lives as long as the call.
    let status = password.withUnsafeBufferPointer { bytes in
      bytes.withMemoryRebound(to: CChar.self) { characters in
        EVP_PBE_scrypt(
          characters.baseAddress, characters.count, salt, salt.count, UInt64(1) << UInt64(cost.log2N),
          UInt64(cost.blockSize), UInt64(cost.parallelism), UInt64(2 * ScryptCost.memoryLimit), &output, count)
      }
    }
    guard status == 1 else {
      let code = ERR_get_error()
      ERR_clear_error()
      throw PasswordHashError("scrypt with \(cost) failed in libcrypto (error \(code))")
    }
    return output
  }

  private static func random(_ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    // Without randomness there are no salts; going on would be worse than stopping.
    precondition(RAND_bytes(&bytes, Int32(count)) == 1, "libcrypto has no random bytes")
    return bytes
  }
}
