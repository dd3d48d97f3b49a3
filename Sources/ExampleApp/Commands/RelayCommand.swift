import Middlewares
import Pipeline
import Transports

/// Raw TCP from one address to another, or to several.
struct RelayCommand: Command {
  static let name = "relay"
  static let summary = "raw TCP from one address to one upstream, or to several"
  static let flags: [Flag] =
    [
      .required("listen", "ADDR", listenSyntax),
      .requiredList("to", "HOST:PORT", "an upstream, or unix:/path; given more than once clients are spread over them"),
    ] + BalanceSettings.flags + ServiceSettings.flags + LimitSettings.flags + ProxyProtocolSettings.inFlags
    + ProxyProtocolSettings.outFlags
    + [.toggle("bare", "no middleware at all: no log, no limits, no counts")]
  static let examples = [
    "ExampleApp relay --listen 127.0.0.1:9000 --to 127.0.0.1:5432",
    "ExampleApp relay --listen unix:/run/db.sock --to db.example.com:5432 --log json",
  ]

  let listen: SocketAddress
  let upstreams: [String]
  let settings: ServiceSettings
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
        Listener(.tcp, on: listen.description, name: "relay") {
        } to: {
          origins
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
          origins
        }.options(apply)
      ])
    return try await serve(proxy, settings, log: log) { addresses in
      printError("relay listens on \(addresses[0].address), to \(upstreams.joined(separator: ", "))")
    }
  }
  private func apply(to options: inout ListenerOptions) {
    settings.apply(to: &options)
    proxyProtocol.apply(to: &options)
  }
}
