import Middlewares
import Pipeline
import Transports

/// An HTTP reverse proxy in front of one origin, or of several.
struct ReverseCommand: Command {
  static let name = "reverse"
  static let summary = "an HTTP reverse proxy for one origin, or for several"
  static let flags: [Flag] =
    [
      .required("listen", "ADDR", listenSyntax),
      .requiredList("to", "HOST:PORT", "an origin, or unix:/path; given more than once clients are spread over them"),
    ] + BalanceSettings.flags + ServiceSettings.flags + LimitSettings.flags + HTTPSettings.flags
    + ProxyProtocolSettings.inFlags
    + ProxyProtocolSettings.outFlags
    + [.toggle("bare", "no middleware at all: no log, no limits, no counts")]
  static let examples = [
    "ExampleApp reverse --listen 127.0.0.1:8080 --to 127.0.0.1:3000",
    "ExampleApp reverse --listen :80 --to 10.0.0.1:8080 --to 10.0.0.2:8080 --health /health --log json --max-connections-per-client 100",
    "ExampleApp reverse --listen :80 --to 10.0.0.1:8080 --rate-limit 600/m --limit-store redis://10.0.0.5:6379 --limit-trouble local:3",
  ]

  /// Everything that one exchange may take, a WebSocket included.
  private static let longest = Duration.seconds(24 * 3600)

  let listen: SocketAddress
  let upstreams: [String]
  let settings: ServiceSettings
  let http: HTTPSettings
  let limit: LimitSettings
  let proxyProtocol: ProxyProtocolSettings
  let balance: BalanceSettings
  let isBare: Bool

  init(_ flags: ParsedFlags) throws {
    listen = try listenAddress(flags.text("listen") ?? "", flag: "listen")
    upstreams = flags.all("to")
    for upstream in upstreams { try checkUpstream(upstream, flag: "to") }
    settings = try ServiceSettings(flags)
    limit = try LimitSettings(flags)
    http = try HTTPSettings(flags)
    proxyProtocol = try ProxyProtocolSettings(flags, sends: true)
    balance = try BalanceSettings(flags)
    isBare = flags.has("bare")
  }

  func run() async throws -> Int32 {
    let log = settings.makeLog()
    let origins = balance.upstreams(upstreams, proxyProtocol)
    let proxy =
      isBare
      ? Proxies([
        Listener(.http, on: listen.description, name: "reverse") {
        } to: {
          origins
        }.options(apply)
      ])
      : Proxies([
        Listener(.http, on: listen.description, name: "reverse") {
          if let format = settings.log.format { AccessLog(format, to: log) }
          UsageTracking()
          TokenBucket(.perSecond(100_000, burst: 200_000), per: .clientAddress)
          if let rate = limit.own { TokenBucket(rate, per: .clientAddress).named("limit") }
          if let store = limit.shared { RateLimit(per: .clientAddress, store: store).named("shared") }
          if let rate = settings.bandwidth { Bandwidth(rate, per: .clientAddress) }
          Timeout(Self.longest)
          Retry(attempts: 3)
        } to: {
          origins
        }.options(apply)
      ])
    return try await serve(proxy, settings, log: log) { addresses in
      printError("reverse listens on \(addresses[0].address), to \(upstreams.joined(separator: ", "))")
    }
  }

  private func apply(to options: inout ListenerOptions) {
    settings.apply(to: &options)
    http.apply(to: &options)
    proxyProtocol.apply(to: &options)
  }
}
