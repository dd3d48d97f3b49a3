import Middlewares
import Pipeline
import Transports

/// Says whether `proxy` would start with these settings, and what they come to. Opens no socket.
struct CheckCommand: Command {
  static let name = "check"
  static let summary = "checks the settings of proxy, and prints each effective value with its origin"
  static let flags: [Flag] =
    [SettingsSource.configFlag, .toggle("chain", "draws the chain, too")] + SettingsSource.flagsOfSettings
  static let examples = [
    "ExampleApp check --config proxy.yaml", "MAX_RETRIES=0 ExampleApp check --config proxy.yaml --chain",
  ]
  static var details: String? { SettingsText.help(head: flags.prefix(2)) }

  private let values: SettingValues
  private let settings: ProxySettings
  private let plan: Plan
  private let drawsChain: Bool

  init(_ flags: ParsedFlags) throws { try self.init(flags, .process) }

  init(_ flags: ParsedFlags, _ environment: Environment, directory: String = "") throws {
    values = try SettingsSource(flags, environment, directory: directory).read()
    settings = try ProxySettings(values)
    drawsChain = flags.has("chain")
    let proxy = ReverseProxy(settings: settings, log: Nowhere(), pages: CacheShelf().store(for: settings.caching))
    do {
      plan = try Plan(of: proxy.body)
    } catch let error as ConfigurationError {
      throw ReverseProxy.problems(with: error)
    }
  }

  func run() async throws -> Int32 {
    print(report)
    return 0
  }

  var report: String {
    var lines = StatisticsTable.table([["setting", "value", "from"]] + values.table, texts: 3)
    lines.append("")
    lines += settings.notes.map { "note: \($0)" }
    if drawsChain { lines.append(plan.drawn(as: .text)) }
    lines.append("The settings are good.")
    return lines.joined(separator: "\n")
  }
}

/// Takes no line.
private final class Nowhere: LogSink {
  let dropped = 0
  func append(_ line: RawSpan, shard: Int) -> Bool { true }
}
