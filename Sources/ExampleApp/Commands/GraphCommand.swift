import Middlewares
import Pipeline
import ScryptPasswords
import Transports

/// Draws the demo's chains; opens nothing.
struct GraphCommand: Command {
  static let name = "graph"
  static let summary = "draws the chains of the whole system"
  static let flags: [Flag] = [
    .value("format", "text|mermaid|dot", "a tree, or a diagram for Mermaid or Graphviz", default: "text")
  ]
  static let examples = [
    "ExampleApp graph", "ExampleApp graph --format mermaid", "ExampleApp graph --format dot | dot -Tsvg > chains.svg",
  ]

  let format: Plan.Format

  init(_ flags: ParsedFlags) throws {
    format = try flags.parsed("format", allowed: "text, mermaid or dot", Plan.Format.init(rawValue:)) ?? .text
  }

  func run() async throws -> Int32 {
    let defaults = try ParsedFlags(
      [String](), declared: ServiceSettings.flags + HTTPSettings.flags + QuotaSettings.flags)
    let settings = try ServiceSettings(defaults)
    let gateway = Gateway(
      socks5: [.ip(.loopbackV4, port: 8001)], tcp: [.ip(.loopbackV4, port: 9000)],
      reverse: [.ip(.loopbackV4, port: 8080)], forward: [.ip(.loopbackV4, port: 8002)], upstream: "127.0.0.1:8082",
      origin: "127.0.0.1:8081", users: try UserTable(verifier: Scrypt()),
      accounting: Accounting(try QuotaSettings(defaults), ledger: nil), log: settings.makeLog(), settings: settings,
      http: try HTTPSettings(defaults))
    printNow(try Plan(of: gateway.body).drawn(as: format))
    return 0
  }
}
