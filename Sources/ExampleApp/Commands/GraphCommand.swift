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
    let settings = try ServiceSettings(ParsedFlags([String](), declared: ServiceSettings.flags))
    let gateway = Gateway(
      socks5: [.ip(.loopbackV4, port: 8001)], tcp: [.ip(.loopbackV4, port: 9000)], upstream: "127.0.0.1:8082",
      users: try UserTable(verifier: Scrypt()), log: settings.makeLog(), settings: settings)
    printNow(try Plan(of: gateway.body).drawn(as: format))
    return 0
  }
}
