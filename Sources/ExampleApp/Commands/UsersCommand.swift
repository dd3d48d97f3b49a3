import Middlewares
import ScryptPasswords

/// Edits the user file, and says so to the running server.
struct UsersCommand: Command {
  static let name = "users"
  static let summary = "adds, lists, blocks and removes users; sets passwords and plans"
  static let operands = [
    Operand(name: "ACTION", help: "add, remove, list, passwd, block, unblock, reset or plan"),
    Operand(name: "NAME", help: "the user; not for list", isRequired: false),
    Operand(
      name: "PLAN", help: "for plan: the name of a plan, or \"default\" for the one for everybody", isRequired: false),
  ]
  static let flags: [Flag] = [
    .value("users", "FILE", "the user file, mode 0600 (default: the one of the running server)"),
    .list("role", "ROLE", "for add: a role; may be given more than once"),
    .toggle("password-stdin", "for add and passwd: the password is the first line of standard input"),
    .toggle("json", "for list: for machines"), AdminSettings.flag, LedgerSettings.flag,
  ]
  static let examples = [
    "ExampleApp users add ann --users users.txt", "pass ann | ExampleApp users passwd ann --users users.txt",
    "ExampleApp users list --users users.txt", "ExampleApp users block ann", "ExampleApp users plan ann gold",
    "ExampleApp users reset ann",
  ]

  enum Action: String, CaseIterable {
    case add, remove, list, passwd, block, unblock, reset, plan
  }

  let action: Action
  let user: String
  let plan: String?
  let file: String?
  let roles: Set<String>
  let readsPassword: Bool
  let isForMachines: Bool
  let admin: AdminClient?
  let ledger: LedgerSettings

  init(_ flags: ParsedFlags) throws {
    let words = flags.operands
    guard let action = Action(rawValue: words[0]) else {
      throw SettingsError(
        "ACTION", value: words[0], allowed: Action.allCases.map(\.rawValue).joined(separator: ", "))
    }
    self.action = action
    switch (action, words.count) {
    case (.list, 1), (.plan, 3): break
    case (.list, _): throw SettingsError("\"\(words[1])\" is one word too many; write users list")
    case (.plan, _): throw SettingsError("write users plan NAME PLAN; \"default\" is the plan for everybody")
    case (_, 1): throw SettingsError("NAME is missing; write users \(action.rawValue) NAME")
    case (_, 2): break
    case (_, _): throw SettingsError("\"\(words[2])\" is one word too many; write users \(action.rawValue) NAME")
    }
    user = words.count > 1 ? words[1] : ""
    plan = words.count > 2 && words[2] != "default" ? words[2] : nil
    roles = Set(flags.all("role"))
    readsPassword = flags.has("password-stdin")
    isForMachines = flags.has("json")
    if !roles.isEmpty, action != .add { throw SettingsError("--role is for users add alone") }
    if readsPassword, action != .add, action != .passwd {
      throw SettingsError("--password-stdin is for users add and users passwd alone")
    }
    if isForMachines, action != .list { throw SettingsError("--json is for users list alone") }
    file = flags.text("users")
    admin = try AdminSettings.path(flags, makesDirectory: false).map { AdminClient(path: $0) }
    ledger = try LedgerSettings(flags)
  }

  func run() async throws -> Int32 {
    switch action {
    case .list: try list()
    case .add: try add()
    case .remove: try remove()
    case .passwd: try changePassword()
    case .block, .unblock: try block()
    case .reset, .plan: try changeAccount()
    }
    return 0
  }

  // MARK: The file

  private func add() throws {
    let path = try knownFile()
    let verifier = Scrypt()
    // Before anybody types a password for nothing.
    try check(UserTable.User(name: user, passwordHash: PasswordHash(Self.sample), roles: roles))
    if try users(in: path, verifier, mayBeMissing: true).contains(where: { $0.name == user }) {
      throw UsersError("\(shown) is there already; users passwd \(shown) sets the password")
    }
    let new = UserTable.User(name: user, passwordHash: try hash(verifier), roles: roles)
    try edit(path, makesFile: true) { text, users in
      guard !users.contains(where: { $0.name == user }) else { throw UsersError("\(shown) is there already") }
      return UserFile.text(text, setting: new)
    }
    report("\(shown) is added to \(path)", try tell(path))
  }

  private func changePassword() throws {
    let path = try knownFile()
    let verifier = Scrypt()
    guard try users(in: path, verifier).contains(where: { $0.name == user }) else { throw unknown(in: path) }
    let hash = try hash(verifier)
    try edit(path) { text, users in
      guard var known = users.first(where: { $0.name == user }) else { throw unknown(in: path) }
      known.passwordHash = hash
      return UserFile.text(text, setting: known)
    }
    report("\(shown) has a new password", try tell(path))
  }

  private func remove() throws {
    let path = try knownFile()
    try edit(path) { text, _ in
      guard let rest = UserFile.text(text, removing: user) else { throw unknown(in: path) }
      return rest
    }
    report("\(shown) is removed from \(path)", try tell(path))
  }

  /// In the file where there is one and the user stands in it, and in the state that the server, or else the ledger, keeps.
  private func block() throws {
    let isBlocked = action == .block
    var places: [String] = []
    let path = try file ?? serverFile()
    if let path, try users(in: path, Scrypt()).contains(where: { $0.name == user }) {
      try edit(path) { text, users in
        guard var known = users.first(where: { $0.name == user }) else { throw unknown(in: path) }
        if known.isBlocked == isBlocked { return nil }
        known.isBlocked = isBlocked
        return UserFile.text(text, setting: known)
      }
      places.append(path)
      _ = try tell(path)
    }
    switch try ask() {
    case .done: places.append("the running server")
    case .unknown: break
    case .noServer:
      if try setInLedger(isKnown: !places.isEmpty) { places.append("the ledger") }
    }
    guard !places.isEmpty else { throw UsersError("nobody is known by the name \(shown)") }
    print("\(shown) is \(isBlocked ? "blocked" : "no longer blocked"), in \(places.joined(separator: " and "))")
  }

  private func changeAccount() throws {
    let what =
      action == .reset ? "quotas begin anew" : "plan is \(plan.map(TerminalText.shown) ?? "the one for everybody")"
    switch try ask() {
    case .done: print("\(shown): the \(what), in the running server")
    case .unknown: throw UsersError("nobody is known by the name \(shown)")
    case .noServer:
      let isInFile = try file.map { try users(in: $0, Scrypt()).contains { $0.name == user } } ?? false
      guard try setInLedger(isKnown: isInFile) else {
        throw UsersError(
          ledger.isOff
            ? "no server runs, and there is no ledger: name one with --ledger" : "nobody is known by the name \(shown)")
      }
      print("\(shown): the \(what), in the ledger; no server runs")
    }
  }

  private func list() throws {
    var rows: [UserRow] = []
    var source: String?
    if file == nil, let admin, let first = try admin.fetch(UserPage.self, "/users?limit=1000") {
      source = "from the running server"
      var page = first
      rows = page.users
      while let next = page.next {
        guard let more = try admin.fetch(UserPage.self, "/users?limit=1000&after=\(AdminClient.segment(next))") else {
          break
        }
        page = more
        rows += page.users
      }
    } else {
      let path = try knownFile()
      source = "from \(path)"
      rows = try users(in: path, Scrypt()).map {
        UserRow(user: $0.name, login: true, roles: $0.roles.sorted(), blocked: $0.isBlocked)
      }
      rows.sort { $0.user < $1.user }
    }
    if isForMachines {
      print(JSON.object(["users": .array(rows.map(\.json))]).text)
      return
    }
    let table = [["user", "login", "roles", "state", "plan"]] + rows.map(\.cells)
    print((StatisticsTable.table(table, texts: 5) + ["", source ?? ""]).joined(separator: "\n"))
  }

  // MARK: -

  private var shown: String { TerminalText.shown(user) }

  /// A hash of nothing, to check a name with.
  private static let sample = "$scrypt$ln=4,r=8,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA"

  private func hash(_ verifier: Scrypt) throws -> PasswordHash {
    try verifier.hash(try PasswordPrompt.newPassword(of: user, fromInput: readsPassword))
  }

  /// That a user file can hold this user: a name that begins with `#` would be a comment there.
  private func check(_ user: UserTable.User) throws {
    let line = UserFile.line(for: user)
    let read: [UserTable.User]
    do {
      read = try UserFile.parse(line, file: "NAME", verifier: Scrypt())
    } catch {
      throw SettingsError("NAME: \(TerminalText.shown(user.name)) cannot stand in a user file: \(error)")
    }
    guard read == [user] else {
      throw SettingsError(
        "NAME: \(TerminalText.shown(user.name)) cannot stand in a user file; allowed is what begins with no blank, and "
          + "does not begin with #")
    }
  }

  private func users(in path: String, _ verifier: Scrypt, mayBeMissing: Bool = false) throws -> [UserTable.User] {
    if mayBeMissing, !PrivateFile.exists(path) { return [] }
    return try UserFile.parse(try PrivateFile.read(path, place: "--users"), file: path, verifier: verifier)
  }

  private func edit(
    _ path: String, makesFile: Bool = false, _ change: (String, [UserTable.User]) throws -> String?
  ) throws {
    _ = try PrivateFile.replace(path, place: "--users", makesFile: makesFile) { text in
      try change(text, try UserFile.parse(text, file: path, verifier: Scrypt()))
    }
  }

  private func knownFile() throws -> String {
    if let file { return file }
    if let known = try serverFile() { return known }
    throw SettingsError("name the user file with --users FILE; no server runs that reads one")
  }

  private func serverFile() throws -> String? { try admin?.fetch(UserPage.self, "/users?limit=1")?.file }

  private func unknown(in path: String) -> UsersError { UsersError("nobody in \(path) has the name \(shown)") }

  // MARK: The running server

  private enum Reached {
    case done, unknown, noServer
  }

  private func ask() throws -> Reached {
    guard let admin else { return .noServer }
    let query = plan.map { "?plan=\(AdminClient.segment($0))" } ?? ""
    let target = "/users/\(AdminClient.segment(user))/\(action.rawValue)\(query)"
    guard let answer = try admin.send("POST", target) else { return .noServer }
    if answer.status == 404 { return .unknown }
    _ = try AdminClient.value(StatisticsAnswer.self, of: answer)
    return .done
  }

  /// Lets the running server read the file again. A sentence for the operator.
  private func tell(_ path: String) throws -> String {
    guard let admin, let page = try admin.fetch(UserPage.self, "/users?limit=1") else { return "no server runs" }
    guard let theirs = page.file, PrivateFile.areSame(theirs, path) else {
      return "the running server reads \(page.file ?? "no file"), and is not told"
    }
    _ = try admin.fetch(ReloadAnswer.self, "/reload-users", method: "POST")
    return "the running server knows"
  }

  private func report(_ sentence: String, _ told: String) { print("\(sentence); \(told)") }

  // MARK: The ledger

  /// False when there is no ledger, or it knows nobody of this name and nobody else does.
  private func setInLedger(isKnown: Bool) throws -> Bool {
    guard let ledger = try ledger.openForCommand(changes: true) else { return false }
    defer { ledger.close() }
    let change: LedgerChange
    switch action {
    case .block: change = .block(true)
    case .unblock: change = .block(false)
    case .reset: change = .reset
    case .plan: change = .plan(plan)
    case .add, .remove, .list, .passwd: return false
    }
    return try ledger.apply(change, to: user, isKnown: isKnown)
  }
}

/// What a command could not do.
struct UsersError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// One row of `GET /users`.
struct UserRow: Equatable {
  var user: String
  var login: Bool
  var roles: [String]
  var blocked: Bool
  var plan: String?

  var json: JSON {
    .object([
      "user": .string(user), "login": .bool(login), "roles": .array(roles.map { .string($0) }),
      "blocked": .bool(blocked), "plan": .text(plan),
    ])
  }

  var cells: [String] {
    [
      TerminalText.shown(user), login ? "yes" : "no", roles.isEmpty ? "-" : roles.joined(separator: ","),
      blocked ? "blocked" : "-", plan.map(TerminalText.shown) ?? "-",
    ]
  }
}

/// What `GET /users` answers.
struct UserPage: Equatable {
  /// The user file of the server.
  var file: String?
  var users: [UserRow]
  var next: String?
}

/// What `POST /reload-users` answers.
struct ReloadAnswer: Equatable {
  var users: Int
}
