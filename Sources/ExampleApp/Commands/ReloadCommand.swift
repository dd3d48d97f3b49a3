import JWTAuthentication

/// Tells the running proxy to read its settings again.
struct ReloadCommand: Command {
  static let name = "reload"
  static let summary = "tells the running proxy to read its settings again; a mistake in them changes nothing"
  static let flags: [Flag] = [AdminSettings.flag]
  static let examples = ["ExampleApp check --config proxy.yaml && ExampleApp reload"]

  private let admin: AdminClient

  init(_ flags: ParsedFlags) throws {
    guard let path = try AdminSettings.path(flags, makesDirectory: false) else {
      throw SettingsError("--admin off: the running proxy is told through its admin socket; name it, or send SIGHUP")
    }
    admin = AdminClient(path: path)
  }

  func run() async throws -> Int32 {
    guard let answer = try admin.send("POST", "/reload") else {
      throw AdminError("no proxy runs at \(admin.path); name its socket with --admin PATH")
    }
    for line in try AdminClient.value(ReloadAnswerLines.self, of: answer).lines { print(line) }
    return 0
  }
}

/// What the running proxy says of a reload.
struct ReloadAnswerLines: AdminAnswer {
  let lines: [String]

  init(_ members: JSONMembers) throws { lines = try members.texts("said") }
}
