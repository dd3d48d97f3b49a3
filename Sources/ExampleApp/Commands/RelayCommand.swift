import Middlewares
import Pipeline
import Transports

/// Raw TCP from one address to another.
struct RelayCommand: Command {
  static let name = "relay"
  static let summary = "raw TCP from one address to one upstream"
  static let flags: [Flag] =
    [
      .required("listen", "ADDR", listenSyntax), .required("to", "HOST:PORT", "the upstream, or unix:/path"),
    ] + ServiceSettings.flags + LimitSettings.flags + ProxyProtocolSettings.inFlags + ProxyProtocolSettings.outFlags
    + [.toggle("bare", "no middleware at all: no log, no limits, no counts")]
  static let examples = [
    "ExampleApp relay --listen 127.0.0.1:9000 --to 127.0.0.1:5432",
    "ExampleApp relay --listen unix:/run/db.sock --to db.example.com:5432 --log json",
  ]

  let listen: SocketAddress
  let upstream: String
  let settings: ServiceSettings
  let limit: LimitSettings
  let proxyProtocol: ProxyProtocolSettings
  let isBare: Bool

  init(_ flags: ParsedFlags) throws {
    listen = try listenAddress(flags.text("listen") ?? "", flag: "listen")
    let to = flags.text("to") ?? ""
    try checkUpstream(to, flag: "to")
    upstream = to
    settings = try ServiceSettings(flags)
    limit = try LimitSettings(flags)
    proxyProtocol = try ProxyProtocolSettings(flags, sends: true)
    isBare = flags.has("bare")
  }

  func run() async throws -> Int32 {
    let log = settings.makeLog()
    let proxy =
      isBare
      ? Proxies([
        Listener(.tcp, on: listen.description, name: "relay") {
        } to: {
          Upstream(upstream, proxyProtocol: proxyProtocol.version)
        }.options(apply)
      ])
      : Proxies([
        Listener(.tcp, on: listen.description, name: "relay") {
          if let format = settings.log.format { AccessLog(format, to: log) }
          UsageTracking()
          TokenBucket(.perSecond(100_000, burst: 200_000), per: .clientAddress)
          if let rate = limit.own { TokenBucket(rate, per: .clientAddress).named("limit") }
          if let store = limit.shared { RateLimit(per: .clientAddress, store: store).named("shared") }
          if let rate = settings.bandwidth { Bandwidth(rate, per: .clientAddress) }
          ConcurrencyLimit(1_000_000)
          Retry(attempts: 3)
        } to: {
          Upstream(upstream, proxyProtocol: proxyProtocol.version)
        }.options(apply)
      ])
    return try await serve(proxy, settings, log: log) { addresses in
      printError("relay listens on \(addresses[0].address), to \(upstream)")
    }
  }
  private func apply(to options: inout ListenerOptions) {
    settings.apply(to: &options)
    proxyProtocol.apply(to: &options)
  }
}
