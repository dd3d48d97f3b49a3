public import Pipeline

/// What can hash passwords and check them: the port behind which the cryptographic library stands.
///
/// Two kinds of work, which must not be confused: ``hash(_:)`` and ``verify(_:against:)`` are slow on purpose and run on the
/// offload pool only; ``digest(user:password:)`` takes about a microsecond and runs on the loop for every login.
public protocol PasswordVerifier: Sendable {
  /// Checks that a stored hash can be verified at a bearable cost, without verifying anything.
  ///
  /// - Throws: ``PasswordHashError``, a sentence for who wrote the hash.
  func check(_ hash: PasswordHash) throws

  /// Hashes a new password with a fresh salt. Blocks for as long as a verification.
  func hash(_ password: [UInt8]) throws -> PasswordHash

  /// Whether the password is the one of the hash. Blocks; compares in constant time.
  ///
  /// - Throws: when the hash is malformed, or the library ran out of memory. Never because the password is wrong.
  func verify(_ password: [UInt8], against hash: PasswordHash) throws -> Bool

  /// A keyed digest of a pair of credentials, under a random key that never leaves the process. Equal digests mean equal
  /// credentials; without the key the digest says nothing. Allocates nothing.
  func digest(user: [UInt8], password: [UInt8]) -> PasswordDigest
}

/// A stored password hash in its verifier's text form (`$scrypt$ln=14,r=8,p=1$…$…`). Has no description: who reads a log
/// shall not be able to try passwords.
public struct PasswordHash: Sendable {
  /// The text form.
  public let text: Secret<String>

  public init(_ text: String) { self.text = Secret(text) }
}

extension PasswordHash: Equatable {
  public static func == (a: PasswordHash, b: PasswordHash) -> Bool { a.text.reveal() == b.text.reveal() }
}

/// What is wrong with a stored hash, or with an attempt to make one. Holds neither the hash nor the password.
public struct PasswordHashError: Error, Hashable, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }
}

/// 256 bits that stand for a pair of credentials within this process. Compared in constant time; has no description.
public struct PasswordDigest: Hashable, Sendable {
  private let words: (UInt64, UInt64, UInt64, UInt64)

  public init(_ words: (UInt64, UInt64, UInt64, UInt64)) { self.words = words }

  public static func == (a: PasswordDigest, b: PasswordDigest) -> Bool {
    // No early exit: the time taken must not say how much of the digest is right.
    (a.words.0 ^ b.words.0) | (a.words.1 ^ b.words.1) | (a.words.2 ^ b.words.2) | (a.words.3 ^ b.words.3) == 0
  }

  /// One word is enough: all four are uniform.
  public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}

extension PasswordDigest: CustomStringConvertible, CustomReflectable {
  public var description: String { "<digest>" }
  public var customMirror: Mirror { Mirror(self, children: []) }
}
