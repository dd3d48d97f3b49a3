import Pipeline

/// How a single-purpose proxy learns who its clients are from a balancer in front, and tells its upstream.
struct ProxyProtocolSettings {
  static let inFlags: [Flag] = [
    .list(
      "proxy-protocol-from", "BLOCK",
      "a balancer in front that begins every connection with a PROXY protocol header: 10.0.0.0/8 or one address"),
    .value("proxy-protocol-others", "refused|plain", "connections from elsewhere", default: "refused"),
  ]
  static let outFlags: [Flag] = [
    .value("send-proxy-protocol", "v1|v2", "tells the upstream who the client is (default: it is not told)")
  ]

  var peers: ProxyProtocolPeers?
  var version: ProxyProtocolVersion?

  init(_ flags: ParsedFlags, sends: Bool) throws {
    let blocks = try flags.blocks("proxy-protocol-from")
    let others = try flags.parsed(
      "proxy-protocol-others", allowed: "refused or plain", ProxyProtocolPeers.Others.init(rawValue:))
    if flags.has("proxy-protocol-others"), blocks.isEmpty {
      throw SettingsError("--proxy-protocol-others needs --proxy-protocol-from BLOCK, the balancers in front")
    }
    peers = blocks.isEmpty ? nil : ProxyProtocolPeers(blocks, others: others ?? .refused)
    version = sends ? try flags.parsed("send-proxy-protocol", allowed: "v1 or v2", ProxyProtocolVersion.init) : nil
  }

  func apply(to options: inout ListenerOptions) { options.proxyProtocol = peers }
}

extension ParsedFlags {
  /// A time that has a default.
  func time(_ name: String) throws -> Duration {
    guard let value = try parsed(name, allowed: durationSyntax, readDuration) else {
      preconditionFailure("--\(name) has a default")
    }
    return value
  }

  /// Address blocks, each given by a flag of its own.
  func blocks(_ name: String) throws -> [CIDR] {
    try all(name).map { text in
      guard let block = CIDR(text) else {
        throw SettingsError("--\(name)", value: text, allowed: "10.0.0.0/8, 2001:db8::/32 or one address")
      }
      return block
    }
  }
}
