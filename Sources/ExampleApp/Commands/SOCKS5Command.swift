import Middlewares
import Pipeline
import Transports

/// A SOCKS5 proxy.
struct SOCKS5Command: Command {
  static let name = "socks5"
  static let summary = "a SOCKS5 proxy, with users or anonymous"
  static let flags: [Flag] =
    [.required("listen", "ADDR", listenSyntax)] + UserSettings.flags
    + [.toggle("open", "without users: also where others than this machine can reach it")]
    + ServiceSettings.flags + ProxyProtocolSettings.inFlags
    + [.toggle("bare", "no middleware but the login: no log, no limits, no counts")]
  static let examples = [
    "ExampleApp socks5 --listen 127.0.0.1:1080",
    "ExampleApp socks5 --listen :1080 --users users.txt",
    "curl --socks5-hostname ann:secret@127.0.0.1:1080 http://example.com/",
  ]

  let listen: SocketAddress
  let users: UserSettings
  let settings: ServiceSettings
  let proxyProtocol: ProxyProtocolSettings
  let isBare: Bool

  init(_ flags: ParsedFlags) throws {
    listen = try listenAddress(flags.text("listen") ?? "", flag: "listen")
    settings = try ServiceSettings(flags)
    users = try UserSettings(flags)
    isBare = flags.has("bare")
    proxyProtocol = try ProxyProtocolSettings(flags, sends: false)
    try users.check(listen, isOpen: flags.has("open"))
  }

  func run() async throws -> Int32 {
    for warning in users.warnings { printError("warning: \(warning)") }
    let log = settings.makeLog()
    let listener: any Proxy =
      if let table = users.table {
        withUsers(table, log: log)
      } else {
        anonymous(log: log)
      }
    return try await serve(Proxies([listener]), settings, log: log) { addresses in
      let who = users.table.map { "\($0.count) users" } ?? "anonymous"
      printError("socks5 listens on \(addresses[0].address), \(who)")
    }
  }

  private func withUsers(_ table: UserTable, log: LogWriter) -> any Proxy {
    if isBare {
      return Listener(.socks5, on: listen.description) {
        PasswordAuth(table)
      } to: {
        Direct()
      }.options(apply)
    }
    return Listener(.socks5, on: listen.description) {
      edge(log)
      PasswordAuth(table)
      Retry(attempts: 3)
    } to: {
      Direct()
    }.options(apply)
  }

  private func anonymous(log: LogWriter) -> any Proxy {
    if isBare {
      return Listener(.socks5, on: listen.description) {
      } to: {
        Direct()
      }.options(apply)
    }
    return Listener(.socks5, on: listen.description) {
      edge(log)
      AnonymousAuth()
      Retry(attempts: 3)
    } to: {
      Direct()
    }.options(apply)
  }

  private func apply(to options: inout ListenerOptions) {
    settings.apply(to: &options)
    proxyProtocol.apply(to: &options)
  }

  /// What stands above the login.
  @MiddlewareBuilder private func edge(_ log: LogWriter) -> some Middleware {
    if let format = settings.log.format { AccessLog(format, to: log) }
    UsageTracking()
    TokenBucket(.perSecond(100_000, burst: 200_000), per: .clientAddress)
  }
}
