import Pipeline

/// Checks front ends of the tracker with the integration mix.
struct TrackerCheckCommand: Command {
  static let name = "tracker-check"
  static let summary = "sends 4,000 requests to front ends of a tracker and says whether each was counted once"
  static let operands = [
    Operand(
      name: "ADDR", help: "the front ends (default \(standard.joined(separator: " ")))", isRequired: false,
      repeats: true)
  ]
  static let flags: [Flag] = [
    .value("connections", "N", "to each front end, 1...256", default: "8"),
    .value("patience", "TIME", "how long no answer may come", default: "30s"),
  ]
  static let examples = [
    "ExampleApp tracker-check", "ExampleApp tracker-check 127.0.0.1:6382 127.0.0.1:6383 127.0.0.1:6384",
  ]
  static let standard = ["127.0.0.1:6382", "127.0.0.1:6383", "127.0.0.1:6384"]

  private let check: TrackerCheck

  init(_ flags: ParsedFlags) throws {
    let addresses = try (flags.operands.isEmpty ? Self.standard : flags.operands).map { text in
      guard case .ip(let ip, let port)? = SocketAddress(text), port != 0 else {
        throw SettingsError("ADDR", value: text, allowed: "ADDRESS:PORT with an IP address, such as 127.0.0.1:6382")
      }
      return SocketAddress.ip(ip, port: port)
    }
    let connections =
      try flags.parsed("connections", allowed: "1...256") { readInt($0, in: 1...256) } ?? 8
    check = TrackerCheck(addresses, connections: connections, patience: try flags.time("patience"))
  }

  func run() async throws -> Int32 {
    var check = check
    return try check.run(printNow) ? 0 : 1
  }
}
