import Glibc
import Middlewares
import Pipeline
import ScryptPasswords

/// The users of `--user NAME:PASSWORD` and `--users FILE`.
struct UserSettings {
  static let flags: [Flag] = [
    .list("user", "NAME:PASSWORD", "a user who may log in; anybody on this machine can see it, so prefer --users"),
    .value(
      "users", "FILE", "users, one NAME:HASH[:ROLE,…] a line; the file must belong to its owner alone (mode 0600)"),
  ]

  /// `nil`: nobody is named, everybody is anonymous.
  let table: UserTable?
  let warnings: [String]

  init(_ flags: ParsedFlags) throws {
    let verifier = Scrypt()
    var users: [UserTable.User] = []
    for text in flags.all("user") {
      guard let user = readUser(text) else {
        // The value holds a password: it is not repeated.
        throw SettingsError("--user: the value is not allowed; allowed is \(userSyntax)")
      }
      guard !users.contains(where: { $0.name == user.name }) else {
        throw SettingsError("--user: \"\(user.name)\" is given twice; give each user once")
      }
      users.append(try UserTable.User(name: user.name, password: user.password, hashedBy: verifier))
    }
    warnings =
      users.isEmpty
      ? [] : ["--user: passwords on the command line can be seen by every user of this machine; prefer --users"]
    if let path = flags.text("users") {
      let text = try Self.readPrivateFile(path)
      for user in try UserFile.parse(text, file: path, verifier: verifier) {
        guard !users.contains(where: { $0.name == user.name }) else {
          throw SettingsError("--users: \"\(user.name)\" in \(path) is given by --user, too; give each user once")
        }
        users.append(user)
      }
    }
    table = users.isEmpty && flags.text("users") == nil ? nil : try UserTable(verifier: verifier, users)
  }

  /// Refuses a proxy for everybody that others than this machine can reach, unless that was asked for.
  func check(_ listen: SocketAddress, isOpen: Bool) throws {
    if table == nil, !listen.isLocal, !isOpen {
      throw SettingsError(
        "--listen: \"\(listen)\" can be reached by others, and nobody would have to log in; name users with --users FILE, "
          + "listen on 127.0.0.1 or [::1], or say --open")
    }
    if table != nil, isOpen {
      throw SettingsError("--open: with users it has no meaning; leave out one of them")
    }
  }

  /// The text of a file that only its owner can read.
  private static func readPrivateFile(_ path: String) throws -> String {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else {
      throw SettingsError("--users: \(path) cannot be read: \(String(cString: strerror(errno)))")
    }
    defer { close(file) }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw SettingsError("--users: \(path) is not a regular file")
    }
    guard status.st_mode & 0o077 == 0 else {
      let mode = String(status.st_mode & 0o777, radix: 8)
      throw SettingsError(
        "--users: \(path) has mode 0\(mode), so others can read it; allowed is 0600: chmod 600 \(path)")
    }
    let limit = 64 << 20
    guard status.st_size <= limit else {
      throw SettingsError("--users: \(path) has \(status.st_size) bytes; allowed are at most \(limit)")
    }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    var filled = 0
    while filled < bytes.count {
      let count = bytes.withUnsafeMutableBytes { read(file, $0.baseAddress! + filled, $0.count - filled) }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else {
        throw SettingsError("--users: \(path) cannot be read: \(String(cString: strerror(errno)))")
      }
      if count == 0 { break }
      filled += count
    }
    guard let text = String(validating: bytes[..<filled], as: UTF8.self) else {
      throw SettingsError("--users: \(path) is not UTF-8 text")
    }
    return text
  }
}
