import Glibc

/// Writes a settings file to begin with.
struct InitCommand: Command {
  static let name = "init"
  static let summary = "writes a settings file for proxy, with every setting in a comment"
  static let flags: [Flag] = []
  static let operands = [
    Operand(name: "FILE", help: "where to; - for standard output (default proxy.yaml)", isRequired: false)
  ]
  static let examples = ["ExampleApp init", "ExampleApp init - | less"]

  private let path: String

  init(_ flags: ParsedFlags) { path = flags.operands.first ?? "proxy.yaml" }

  func run() async throws -> Int32 {
    guard path != "-" else {
      printNow(SettingsText.file)
      return 0
    }
    // Never over what somebody has written.
    let file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard file >= 0 else {
      if errno == EEXIST { throw SettingsError("\(path) is there already; name another file, or remove it first") }
      throw SettingsError("\(path): it cannot be written: \(String(cString: strerror(errno)))")
    }
    defer { close(file) }
    var rest = Array(SettingsText.file.utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw SettingsError("\(path): it cannot be written: \(String(cString: strerror(errno)))") }
      rest = rest.dropFirst(count)
    }
    print(
      "\(path) is written. Name your backends in it, then: ExampleApp check --config \(path) && ExampleApp proxy --config \(path)"
    )
    return 0
  }
}
