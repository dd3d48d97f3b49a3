/// One thing that `ExampleApp` does: `ExampleApp NAME --flag …`.
protocol Command: SendableMetatype {
  static var name: String { get }
  /// One line for the list of commands.
  static var summary: String { get }
  static var flags: [Flag] { get }
  /// Words that are no flags.
  static var operands: [Operand] { get }
  /// Lines to try, for `--help`.
  static var examples: [String] { get }
  /// What `--help` says in place of the list of flags.
  static var details: String? { get }

  /// Checks every setting, before anything is opened.
  init(_ flags: ParsedFlags) throws
  /// - Returns: the exit status.
  func run() async throws -> Int32
}

extension Command {
  static var operands: [Operand] { [] }
  static var details: String? { nil }
}

/// The commands, in the order of `help`.
let commands: [any Command.Type] = [
  DemoCommand.self, ProxyCommand.self, CheckCommand.self, InitCommand.self, ReloadCommand.self, ServerCommand.self,
  UsersCommand.self, FetchUserStatsCommand.self, FetchGlobalStatsCommand.self,
  GraphCommand.self, RelayCommand.self, SOCKS5Command.self, ReverseCommand.self, ForwardCommand.self,
  TrackerCommand.self, CounterCommand.self, TrackerCheckCommand.self,
]

/// What `ExampleApp help` prints.
var overview: String {
  let width = commands.map { $0.name.count }.max() ?? 0
  let lines = commands.map { "  \($0.name.padding(to: width))  \($0.summary)" }
  return """
    Sluice's example application.

    usage: ExampleApp COMMAND [--flag VALUE]…

    \(lines.joined(separator: "\n"))
      \("help".padding(to: width))  this text; ExampleApp COMMAND --help tells a command's flags
    """
}

/// What `ExampleApp COMMAND --help` prints.
func help(for command: any Command.Type) -> String {
  var lines = ["ExampleApp \(command.name): \(command.summary)", ""]
  let width = (command.flags.map(\.usage.count) + command.operands.map(\.usage.count)).max() ?? 0
  for operand in command.operands { lines.append("  \(operand.usage.padding(to: width))  \(operand.help)") }
  if let details = command.details { lines.append(details) }
  for flag in command.flags where command.details == nil {
    let standard = flag.standard.map { " (default \($0))" } ?? (flag.isRequired ? " (required)" : "")
    lines.append("  \(flag.usage.padding(to: width))  \(flag.help)\(standard)")
  }
  if !command.examples.isEmpty { lines += ["", "try:"] + command.examples.map { "  " + $0 } }
  return lines.joined(separator: "\n")
}
