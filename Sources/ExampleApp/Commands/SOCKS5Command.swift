import Middlewares
import Pipeline
import Transports

/// A SOCKS5 proxy.
struct SOCKS5Command: Command {
  static let name = "socks5"
  static let summary = "a SOCKS5 proxy, with users or anonymous"
  static let flags: [Flag] =
    [.required("listen", "ADDR", listenSyntax)] + UserSettings.flags
    + [
      .toggle("open", "without users: also where others than this machine can reach it"),
      .list(
        "to", "HOST:PORT",
        "connects every client there, whatever it asks for; given more than once clients are spread over them"),
    ] + BalanceSettings.flags
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
  let upstreams: [String]
  let balance: BalanceSettings
  let isBare: Bool

  init(_ flags: ParsedFlags) throws {
    listen = try listenAddress(flags.text("listen") ?? "", flag: "listen")
    settings = try ServiceSettings(flags)
    users = try UserSettings(flags)
    isBare = flags.has("bare")
    upstreams = flags.all("to")
    for upstream in upstreams { try checkUpstream(upstream, flag: "to") }
    balance = try BalanceSettings(flags)
    if upstreams.isEmpty, flags.has("balance") || flags.has("health") {
      throw SettingsError("--balance and --health need --to HOST:PORT: clients choose their destination otherwise")
    }
    proxyProtocol = try ProxyProtocolSettings(flags, sends: false)
    try users.check(listen, isOpen: flags.has("open"))
  }

  func run() async throws -> Int32 {
    try await serve(
      "socks5", for: users, settings, withUsers: { withUsers($0, log: $1) }, anonymous: { anonymous(log: $0) })
  }

  private func withUsers(_ table: UserTable, log: LogWriter) -> any Proxy {
    if isBare {
      return Listener(.socks5, on: listen.description) {
        PasswordAuth(table)
      } to: {
        if let origins { origins } else { Direct() }
      }.options(apply)
    }
    return Listener(.socks5, on: listen.description) {
      edge(log)
      PasswordAuth(table)
      Retry(attempts: 3)
    } to: {
      if let origins { origins } else { Direct() }
    }.options(apply)
  }

  private func anonymous(log: LogWriter) -> any Proxy {
    if isBare {
      return Listener(.socks5, on: listen.description) {
      } to: {
        if let origins { origins } else { Direct() }
      }.options(apply)
    }
    return Listener(.socks5, on: listen.description) {
      edge(log)
      AnonymousAuth()
      Retry(attempts: 3)
    } to: {
      if let origins { origins } else { Direct() }
    }.options(apply)
  }

  /// Where every client is connected; `nil`: where it wants to go.
  private var origins: Upstreams? { upstreams.isEmpty ? nil : balance.upstreams(upstreams, proxyProtocol) }

  private func apply(to options: inout ListenerOptions) {
    settings.apply(to: &options)
    proxyProtocol.apply(to: &options)
  }

  /// What stands above the login.
  @MiddlewareBuilder private func edge(_ log: LogWriter) -> some Middleware {
    if let format = settings.log.format { AccessLog(format, to: log) }
    UsageTracking()
    TokenBucket(.perSecond(100_000, burst: 200_000), per: .clientAddress)
    if let rate = settings.bandwidth { Bandwidth(rate, per: .clientAddress) }
  }
}
