import Glibc
import Pipeline

/// Reads the command line, runs one command and exits with its status: 0 done, 1 it failed, 2 the settings are wrong.
@main
struct ExampleApp {
  static func main() async {
    await exit(status(of: Array(CommandLine.arguments.dropFirst())))
  }

  /// Runs what the arguments say. Errors are sentences on standard error.
  static func status(of arguments: [String]) async -> Int32 {
    guard let name = arguments.first else {
      printError(overview)
      return 2
    }
    if ["help", "--help", "-h"].contains(name) {
      print(overview)
      return 0
    }
    guard let command = commands.first(where: { $0.name == name }) else {
      let near = nearest(to: name, among: commands.map { $0.name }).map { "did you mean \"\($0)\"? " } ?? ""
      printError("\"\(name)\" is no command; \(near)known are \(commands.map { $0.name }.joined(separator: ", "))")
      return 2
    }
    if arguments.dropFirst().contains(where: { ["--help", "-h"].contains($0) }) {
      print(help(for: command))
      return 0
    }
    do {
      let flags = try ParsedFlags(arguments.dropFirst(), declared: command.flags, operands: command.operands)
      return try await command.init(flags).run()
    } catch let error as SettingsError {
      printError("\(name): \(error)")
      return 2
    } catch let error as SettingsProblems {
      for sentence in error.sentences { printError("\(name): \(sentence)") }
      return 2
    } catch let error as ConfigurationError {
      printError("\(name): \(error)")
      return 2
    } catch {
      printError("\(name): \(error)")
      return 1
    }
  }
}

/// Writes one line to standard error.
func printError(_ line: String) {
  var text = line + "\n"
  // A standard error that is closed has nobody to tell.
  text.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

/// Writes text to standard output at once, in order with the access log, which has no buffer of the C library.
func printNow(_ text: String) {
  var text = text.hasSuffix("\n") ? text : text + "\n"
  // A standard output that is closed has nobody to tell.
  text.withUTF8 { _ = write(STDOUT_FILENO, $0.baseAddress, $0.count) }
}
