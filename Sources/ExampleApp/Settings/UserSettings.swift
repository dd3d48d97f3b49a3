import Middlewares
import Pipeline
import ScryptPasswords

/// The users of `--user NAME:PASSWORD` and `--users FILE`.
struct UserSettings: Sendable {
  static let flags: [Flag] = [
    .list("user", "NAME:PASSWORD", "a user who may log in; anybody on this machine can see it, so prefer --users"),
    .value(
      "users", "FILE", "users, one NAME:HASH[:ROLE,…] a line; the file must belong to its owner alone (mode 0600)"),
  ]

  /// `nil`: nobody is named, everybody is anonymous.
  let table: UserTable?
  let warnings: [String]
  /// The file of `--users`, from the root.
  let file: String?
  private let verifier: Scrypt
  /// Those of `--user`, whom no file can change.
  private let named: [UserTable.User]

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
    self.verifier = verifier
    named = users
    let path = flags.text("users")
    users = try Self.all(users, path, verifier)
    file = path.map(PrivateFile.absolute)
    table = users.isEmpty && file == nil ? nil : try UserTable(verifier: verifier, users)
  }

  /// These users and no file.
  init(_ users: [UserTable.User], verifier: Scrypt) throws {
    self.verifier = verifier
    named = users
    file = nil
    warnings = []
    table = try UserTable(verifier: verifier, users)
  }

  /// Reads the file again, and lets the table hold what it says now. Blocks: for the offload pool.
  ///
  /// - Throws: what is wrong with the file; the table is then as it was.
  func reload() throws {
    try table?.replaceAll(with: try Self.all(named, file, verifier))
  }

  private static func all(
    _ named: [UserTable.User], _ file: String?, _ verifier: Scrypt
  ) throws -> [UserTable.User] {
    guard let file else { return named }
    let text = try PrivateFile.read(file, place: "--users")
    var users = named
    let names = Set(named.map(\.name))
    for user in try UserFile.parse(text, file: file, verifier: verifier) {
      guard !names.contains(user.name) else {
        throw SettingsError("--users: \"\(user.name)\" in \(file) is given by --user, too; give each user once")
      }
      users.append(user)
    }
    return users
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
}
