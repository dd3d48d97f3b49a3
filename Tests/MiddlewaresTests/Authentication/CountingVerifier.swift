import Middlewares
import Pipeline
import Synchronization

/// Hashes that are no hashes, and a count of how often they were asked for.
final class CountingVerifier: PasswordVerifier {
  private struct Counts {
    var verifications: [String] = []
    var hashes = 0
    var digests = 0
    var failure: PasswordHashError?
  }

  private let counts = Mutex(Counts())

  /// How often a password was verified.
  var verifications: Int { counts.withLock { $0.verifications.count } }
  /// Against which hashes, in order.
  var verified: [String] { counts.withLock { $0.verifications } }
  var hashes: Int { counts.withLock { $0.hashes } }
  var digests: Int { counts.withLock { $0.digests } }

  /// From now on verifying throws.
  func fail(with error: PasswordHashError?) { counts.withLock { $0.failure = error } }

  func check(_ hash: PasswordHash) throws {
    guard hash.text.reveal().hasPrefix("plain/") else { throw PasswordHashError("this is no test hash") }
  }

  func hash(_ password: [UInt8]) throws -> PasswordHash {
    counts.withLock { $0.hashes += 1 }
    return PasswordHash("plain/" + password.map { String($0) }.joined(separator: "."))
  }

  func verify(_ password: [UInt8], against hash: PasswordHash) throws -> Bool {
    let failure = counts.withLock { counts in
      counts.verifications.append(hash.text.reveal())
      return counts.failure
    }
    if let failure { throw failure }
    return hash.text.reveal() == "plain/" + password.map { String($0) }.joined(separator: ".")
  }

  func digest(user: [UInt8], password: [UInt8]) -> PasswordDigest {
    counts.withLock { $0.digests += 1 }
    func word(_ seed: Int) -> UInt64 {
      var hasher = Hasher()
      hasher.combine(seed)
      hasher.combine(user)
      hasher.combine(password)
      return UInt64(bitPattern: Int64(hasher.finalize()))
    }
    return PasswordDigest((word(0), word(1), word(2), word(3)))
  }
}

extension UserTable {
  /// A table with these users; each is `name:password` or `name:password:role`.
  static func testing(_ verifier: CountingVerifier, _ users: String...) throws -> UserTable {
    let table = try UserTable(verifier: verifier)
    for user in users {
      let fields = user.split(separator: ":").map(String.init)
      let roles = Set(fields.dropFirst(2))
      try table.set(User(name: fields[0], password: fields[1], roles: roles, hashedBy: verifier))
    }
    return table
  }
}
