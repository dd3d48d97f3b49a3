extension UserTable {
  /// One user, as the table holds it.
  public struct User: Sendable, Equatable {
    /// 1 to 255 bytes of UTF-8 without control characters and without `:`, which HTTP Basic cannot carry (RFC 7617, 2).
    /// Compared byte by byte: two spellings of one accent are two names.
    public let name: String
    public var passwordHash: PasswordHash
    /// What ``Authorize`` asks for. Each 1 to 64 of letters, digits, `.`, `_` and `-`.
    public var roles: Set<String>
    /// A blocked user fails like one with a wrong password.
    public var isBlocked: Bool

    /// Creates a record; ``UserTable`` checks it when it takes it.
    public init(name: String, passwordHash: PasswordHash, roles: Set<String> = [], isBlocked: Bool = false) {
      self.name = name
      self.passwordHash = passwordHash
      self.roles = roles
      self.isBlocked = isBlocked
    }

    /// Creates a record from a plain password. Blocks for as long as one verification: for the start of a program, for
    /// tools and for the offload pool.
    public init(name: String, password: String, roles: Set<String> = [], hashedBy verifier: any PasswordVerifier) throws
    {
      self.init(name: name, passwordHash: try verifier.hash(Array(password.utf8)), roles: roles)
    }

    /// Creates a record from `NAME:PASSWORD`, as a command line gives it; the password begins after the first colon and
    /// may hold others.
    ///
    /// - Throws: ``UserError``, which never quotes the text, because it may hold a password.
    public init(nameAndPassword text: String, hashedBy verifier: any PasswordVerifier) throws {
      guard let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")) else {
        throw UserError("a user reads NAME:PASSWORD, and there is no colon in what was given")
      }
      let name = String(text[..<colon])
      try Self.check(name: name)
      let password = text[text.utf8.index(after: colon)...]
      guard !password.isEmpty else { throw UserError("user \"\(name)\": the password is empty: use 1 or more bytes") }
      try self.init(name: name, password: String(password), hashedBy: verifier)
    }

    /// Checks everything but the hash.
    func check() throws {
      try Self.check(name: name)
      for role in roles { try Self.check(role: role, of: name) }
    }

    static func check(name: String) throws {
      guard (1...255).contains(name.utf8.count) else {
        throw UserError("a user name has \(name.utf8.count) bytes: 1...255 are allowed")
      }
      for scalar in name.unicodeScalars {
        switch scalar.properties.generalCategory {
        // Names stand in logs, where such characters would forge lines or hide text.
        case .control, .format, .lineSeparator, .paragraphSeparator:
          throw UserError("user \(String(reflecting: name)): a name may hold no control or formatting character")
        default: break
        }
      }
      guard !name.contains(":") else {
        throw UserError("user \(String(reflecting: name)): a name may hold no colon")
      }
    }

    static func check(role: String, of name: String) throws {
      let isRole = role.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
          true
        default: false
        }
      }
      guard isRole, (1...64).contains(role.utf8.count) else {
        throw UserError(
          "user \"\(name)\": \(String(reflecting: role)) is no role: 1 to 64 letters, digits, \".\", \"_\" or \"-\" are allowed"
        )
      }
    }
  }
}

/// What is wrong with a user record. Holds no password and no hash.
public struct UserError: Error, Hashable, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }
}
