import Pipeline
import Transports

/// A front end of the token tracker. It keeps nothing: any number of them may stand on one store.
struct TrackerCommand: Command {
  static let name = "tracker"
  static let summary = "counts requests per token and path, in memory, in Redis or at counter processes"
  static let flags: [Flag] =
    [
      .value("listen", "ADDR", "where it listens (env ENVOY_ADDR; default \(standardListen))"),
      .list(
        "counter", "HOST:PORT",
        "a counter process that counts instead of a store; given more than once the tokens are spread over them"),
    ] + StoreSettings.flags + ServiceSettings.flags + HTTPSettings.flags
  static let examples = [
    "ExampleApp tracker",
    "ExampleApp tracker --listen 127.0.0.1:6382 --store redis://127.0.0.1:6379",
    "ExampleApp tracker --store redis://10.0.0.1 --store redis://10.0.0.2",
    "ExampleApp tracker --counter 127.0.0.1:6381",
    "curl http://127.0.0.1:6380/auth",
    "curl -H \"authorization: Bearer $TOKEN\" http://127.0.0.1:6380/test",
  ]
  static let standardListen = "127.0.0.1:6380"

  let listen: SocketAddress
  let settings: ServiceSettings
  let http: HTTPSettings
  let counts: any TokenCounts

  init(_ flags: ParsedFlags) throws { try self.init(flags, .process) }

  init(_ flags: ParsedFlags, _ environment: Environment) throws {
    listen = try Self.address(flags, environment, variable: "ENVOY_ADDR", standard: Self.standardListen)
    settings = try ServiceSettings(flags)
    http = try HTTPSettings(flags)
    let counters = flags.all("counter")
    if counters.isEmpty {
      let store = try StoreSettings(flags, environment)
      counts = StoredCounts(store.cache, description: store.description)
      return
    }
    if flags.has("store") {
      throw SettingsError("--counter and --store: the counters have the store; name one or the other")
    }
    for counter in counters { try checkUpstream(counter, flag: "counter") }
    if let problem = Rendezvous.problems(with: counters.map { .init($0) }).first {
      throw SettingsError("--counter: \(problem)")
    }
    counts = CounterCounts(counters.map { HTTPOrigin($0) })
  }

  /// An address from the flag, a variable, or as it stands.
  static func address(
    _ flags: ParsedFlags, _ environment: Environment, variable: String, standard: String
  ) throws -> SocketAddress {
    if let text = flags.text("listen") { return try listenAddress(text, flag: "listen") }
    guard let text = environment.value(variable), !text.isEmpty else {
      return try listenAddress(standard, flag: "listen")
    }
    guard let address = SocketAddress(text) else { throw SettingsError(variable, value: text, allowed: listenSyntax) }
    return address
  }

  func run() async throws -> Int32 {
    let log = settings.makeLog()
    let app = tracker(on: listen.description, counts: counts, log: log, settings: settings, http: http)
    return try await serve(app, settings, log: log) { listening in
      printError("tracker listens on \(listening[0].address), counts in \(counts.description)")
    }
  }
}

/// Counts for front ends.
struct CounterCommand: Command {
  static let name = "counter"
  static let summary = "the counting half of the tracker as a process of its own, for tracker --counter"
  static let flags: [Flag] =
    [.value("listen", "ADDR", "where it listens (env COUNTER_ADDR; default \(standardListen))")]
    + StoreSettings.flags + ServiceSettings.flags + HTTPSettings.flags
  static let examples = [
    "ExampleApp counter --listen 127.0.0.1:6381 --store redis://127.0.0.1:6379",
    "ExampleApp tracker --counter 127.0.0.1:6381",
  ]
  static let standardListen = "127.0.0.1:6381"

  let listen: SocketAddress
  let settings: ServiceSettings
  let http: HTTPSettings
  let counts: any TokenCounts

  init(_ flags: ParsedFlags) throws { try self.init(flags, .process) }

  init(_ flags: ParsedFlags, _ environment: Environment) throws {
    listen = try TrackerCommand.address(flags, environment, variable: "COUNTER_ADDR", standard: Self.standardListen)
    settings = try ServiceSettings(flags)
    http = try HTTPSettings(flags)
    let store = try StoreSettings(flags, environment)
    counts = StoredCounts(store.cache, description: store.description)
  }

  func run() async throws -> Int32 {
    let log = settings.makeLog()
    let app = counter(on: listen.description, counts: counts, log: log, settings: settings, http: http)
    return try await serve(app, settings, log: log) { listening in
      printError("counter listens on \(listening[0].address), counts in \(counts.description)")
    }
  }
}
