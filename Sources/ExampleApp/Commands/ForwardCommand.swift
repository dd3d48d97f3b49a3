import Middlewares
import Pipeline
import Transports

/// An HTTP forward proxy: CONNECT, and requests in absolute form.
struct ForwardCommand: Command {
  static let name = "forward"
  static let summary = "an HTTP forward proxy, with users or anonymous"
  static let flags: [Flag] =
    [.required("listen", "ADDR", listenSyntax)] + UserSettings.flags
    + [.toggle("open", "without users: also where others than this machine can reach it")]
    + ServiceSettings.flags + HTTPSettings.flags + ProxyProtocolSettings.inFlags
    + [.toggle("bare", "no middleware but the login: no log, no limits, no counts")]
  static let examples = [
    "ExampleApp forward --listen 127.0.0.1:3128",
    "ExampleApp forward --listen :3128 --users users.txt",
    "curl -x http://ann:secret@127.0.0.1:3128 http://example.com/",
  ]

  let listen: SocketAddress
  let users: UserSettings
  let settings: ServiceSettings
  let http: HTTPSettings
  let proxyProtocol: ProxyProtocolSettings
  let isBare: Bool

  init(_ flags: ParsedFlags) throws {
    listen = try listenAddress(flags.text("listen") ?? "", flag: "listen")
    settings = try ServiceSettings(flags)
    http = try HTTPSettings(flags)
    proxyProtocol = try ProxyProtocolSettings(flags, sends: false)
    users = try UserSettings(flags)
    isBare = flags.has("bare")
    try users.check(listen, isOpen: flags.has("open"))
  }

  func run() async throws -> Int32 {
    try await serve(
      "forward", for: users, settings, withUsers: { withUsers($0, log: $1) }, anonymous: { anonymous(log: $0) })
  }

  private func withUsers(_ table: UserTable, log: LogWriter) -> any Proxy {
    if isBare {
      return Listener(.http, on: listen.description, name: "forward") {
        BasicAuth(table)
      } to: {
        Direct()
      }.options(apply)
    }
    return Listener(.http, on: listen.description, name: "forward") {
      edge(log)
      BasicAuth(table)
      rules
      Retry(attempts: 3)
    } to: {
      Direct()
    }.options(apply)
  }

  private func anonymous(log: LogWriter) -> any Proxy {
    if isBare {
      return Listener(.http, on: listen.description, name: "forward") {
      } to: {
        Direct()
      }.options(apply)
    }
    return Listener(.http, on: listen.description, name: "forward") {
      edge(log)
      AnonymousAuth()
      rules
      Retry(attempts: 3)
    } to: {
      Direct()
    }.options(apply)
  }

  /// What stands above the login.
  @MiddlewareBuilder private func edge(_ log: LogWriter) -> some Middleware {
    if let format = settings.log.format { AccessLog(format, to: log) }
    UsageTracking()
    TokenBucket(.perSecond(100_000, burst: 200_000), per: .clientAddress)
    if let rate = settings.bandwidth { Bandwidth(rate, per: .clientAddress) }
  }

  /// A tunnel to a mail server sends mail in the proxy's name (RFC 9110, 9.3.6).
  private let rules = DestinationRules(.deny(ports: 25...25))

  private func apply(to options: inout ListenerOptions) {
    settings.apply(to: &options)
    http.apply(to: &options)
    proxyProtocol.apply(to: &options)
  }
}
