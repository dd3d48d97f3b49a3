internal import Middlewares

/// The text form of a scrypt hash: `$scrypt$ln=14,r=8,p=1$salt$hash`.
struct ScryptString {
  /// Bytes of salt that a hash may have.
  static let saltBounds = 8...64
  /// Bytes of output that a hash may have.
  static let hashBounds = 16...64

  let cost: ScryptCost
  let salt: [UInt8]
  let hash: [UInt8]

  init(cost: ScryptCost, salt: [UInt8], hash: [UInt8]) {
    self.cost = cost
    self.salt = salt
    self.hash = hash
  }

  /// Reads a hash.
  ///
  /// - Throws: ``PasswordHashError``: which part is wrong and what is allowed. The salt and the hash are never quoted.
  init(_ text: String) throws {
    let parts = text.split(separator: "$", omittingEmptySubsequences: false)
    guard parts.count == 5, parts[0].isEmpty, parts[1] == "scrypt" else {
      throw PasswordHashError("this is no scrypt hash: it reads $scrypt$ln=14,r=8,p=1$salt$hash")
    }
    let values = try Self.parameters(parts[2])
    cost = try ScryptCost(checking: values.ln, values.r, values.p)
    salt = try Self.bytes(parts[3], "salt", Self.saltBounds)
    hash = try Self.bytes(parts[4], "hash", Self.hashBounds)
  }

  var text: String { "$scrypt$\(cost)$\(Base64.encode(salt))$\(Base64.encode(hash))" }

  private static func parameters(_ text: Substring) throws -> (ln: Int, r: Int, p: Int) {
    let fields = text.split(separator: ",", omittingEmptySubsequences: false)
    var values: [Int] = []
    for (name, field) in zip(["ln=", "r=", "p="], fields) {
      let digits = field.dropFirst(name.count)
      // At most three digits: more would be out of bounds anyway.
      guard field.hasPrefix(name), (1...3).contains(digits.utf8.count),
        digits.utf8.allSatisfy({ (48...57).contains($0) }), let value = Int(digits)
      else { break }
      values.append(value)
    }
    guard fields.count == 3, values.count == 3 else {
      throw PasswordHashError("the parameters of a scrypt hash read ln=14,r=8,p=1, each a number of up to three digits")
    }
    return (values[0], values[1], values[2])
  }

  private static func bytes(_ text: Substring, _ name: String, _ bounds: ClosedRange<Int>) throws -> [UInt8] {
    guard let bytes = Base64.decode(text) else {
      throw PasswordHashError("the \(name) of a scrypt hash is base64 without padding")
    }
    guard bounds.contains(bytes.count) else {
      throw PasswordHashError(
        "the \(name) of a scrypt hash has \(bytes.count) bytes: \(bounds.lowerBound)...\(bounds.upperBound) are allowed"
      )
    }
    return bytes
  }
}
