internal import Pipeline

/// What a listener says of itself and of its clients in the heads that pass through it. Made once for each listener and
/// configuration.
struct ForwardingRules: Sendable {
  let fields: ForwardingFields
  let trusted: [CIDR]
  let trustsUnixPeers: Bool
  /// The pseudonym in `via`.
  let name: [UInt8]

  init(_ options: HTTPOptions) {
    fields = options.forwarding
    trusted = options.trustedProxies
    trustsUnixPeers = options.trustsUnixPeers
    if let name = options.viaName {
      self.name = Array(name.utf8)
    } else {
      // Proxies of one machine, and the listeners of one process, often stand in a row.
      let digits = String(UInt32.random(in: 0 ... .max), radix: 16)
      self.name = Array("sluice-\(String(repeating: "0", count: 8 - digits.count))\(digits)".utf8)
    }
  }

  /// Whether the fields are believed in which this peer tells of its clients.
  func believes(_ peer: ClientAddress) -> Bool {
    switch peer.kind {
    case .ip(let address, port: _): trusted.contains { $0.contains(address) }
    case .unix: trustsUnixPeers
    }
  }

  /// What is wrong with the options, in a sentence; `nil`: nothing.
  static func problem(with options: HTTPOptions) -> String? {
    guard let name = options.viaName, name.isEmpty || !name.utf8.allSatisfy(isToken) else { return nil }
    return "http.viaName \"\(name)\": allowed is a token of RFC 9110 (letters, digits and !#$%&'*+-.^_`|~)"
  }
}
