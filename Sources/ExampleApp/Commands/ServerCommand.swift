import Middlewares
import Pipeline
import Transports

/// The gateway without the demo's origins: for real users and a real upstream.
struct ServerCommand: Command {
  static let name = "server"
  static let summary = "the whole system, for your users and your upstream"
  static let flags: [Flag] =
    [
      .list("socks5", "ADDR", "SOCKS5 listens here; may be given more than once (default 127.0.0.1:8001)"),
      .list("tcp", "ADDR", "raw TCP listens here, with --to; may be given more than once"),
      .value("to", "HOST:PORT", "the upstream of raw TCP, or unix:/path"),
      .list("forward", "ADDR", "an HTTP forward proxy listens here; may be given more than once"),
      .list("reverse", "ADDR", "an HTTP reverse proxy listens here, with --origin; may be given more than once"),
      .value("origin", "HOST:PORT", "the origin of the reverse proxy, or unix:/path"),
    ] + UserSettings.flags + [AdminSettings.flag] + AdminSettings.httpFlags + [LedgerSettings.flag]
    + QuotaSettings.flags + CacheSettings.flags
    + ServiceSettings.flags
    + HTTPSettings.flags
  static let examples = [
    "ExampleApp server --users users.txt",
    "ExampleApp server --users users.txt --socks5 :8001 --tcp :9000 --to 10.0.0.7:5432 --log json",
  ]

  let settings: ServiceSettings
  let users: UserSettings
  private let gateway: Gateway
  private let accounting: Accounting
  private let ledger: LedgerSettings
  private let log: LogWriter
  private let flags: ParsedFlags
  private let adminHTTP: AdminListener.Place?

  init(_ flags: ParsedFlags) throws {
    self.flags = flags
    settings = try ServiceSettings(flags)
    users = try UserSettings(flags)
    ledger = try LedgerSettings(flags)
    accounting = Accounting(
      try QuotaSettings(flags), ledger: try ledger.makeForServer(), cache: try CacheSettings(flags))
    _ = try AdminSettings.path(flags, makesDirectory: false)
    adminHTTP = try AdminSettings.http(flags)
    guard let table = users.table else {
      throw SettingsError("no user may log in: name users with --users FILE or --user NAME:PASSWORD")
    }
    let socks5 = flags.all("socks5").isEmpty ? ["127.0.0.1:8001"] : flags.all("socks5")
    let tcp = flags.all("tcp")
    let upstream = flags.text("to")
    switch (tcp.isEmpty, upstream) {
    case (false, nil): throw SettingsError("--tcp needs --to HOST:PORT, the upstream of raw TCP")
    case (true, .some): throw SettingsError("--to needs --tcp ADDR, where raw TCP listens")
    case (false, .some(let to)): try checkUpstream(to, flag: "to")
    case (true, nil): break
    }
    let reverse = flags.all("reverse")
    let origin = flags.text("origin")
    switch (reverse.isEmpty, origin) {
    case (false, nil): throw SettingsError("--reverse needs --origin HOST:PORT, the origin of the reverse proxy")
    case (true, .some): throw SettingsError("--origin needs --reverse ADDR, where the reverse proxy listens")
    case (false, .some(let to)): try checkUpstream(to, flag: "origin")
    case (true, nil): break
    }
    log = settings.makeLog()
    gateway = Gateway(
      socks5: try socks5.map { try listenAddress($0, flag: "socks5") },
      tcp: try tcp.map { try listenAddress($0, flag: "tcp") },
      reverse: try reverse.map { try listenAddress($0, flag: "reverse") },
      forward: try flags.all("forward").map { try listenAddress($0, flag: "forward") }, upstream: upstream ?? "",
      origin: origin ?? "", users: table, accounting: accounting, log: log, settings: settings,
      http: try HTTPSettings(flags))
  }

  func run() async throws -> Int32 {
    for warning in users.warnings { printError("warning: \(warning)") }
    if let warning = AdminSettings.warning(about: adminHTTP) { printError("warning: \(warning)") }
    try ledger.prepare()
    defer { accounting.writer?.ledger.close() }
    var parts: [any Proxy] = [gateway.body]
    let desk = AdminDesk(accounting, users: users, sources: [log])
    if let path = try AdminSettings.path(flags, makesDirectory: true) {
      parts.append(AdminListener(place: .socket(path), desk: desk).body)
    }
    if let adminHTTP { parts.append(AdminListener(place: adminHTTP, desk: desk).body) }
    return try await serve(Proxies(parts), settings, log: log, desk: desk) { listening in
      for listener in listening { printError("\(listener.name) listens on \(listener.address)") }
    }
  }
}
