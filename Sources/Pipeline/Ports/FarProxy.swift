/// A proxy of somebody else through which connections leave: `.socks5("proxy:1080")`, `.http("proxy:3128")`.
///
/// It is spoken to in the clear: who can listen between here and there can read the user name, the password and what is
/// relayed. No address rule is applied to it: the operator's own word is the rule.
public struct FarProxy: Sendable, CustomStringConvertible {
  /// What it speaks.
  package enum Speech: String, Sendable, Hashable {
    case socks5, http
  }

  package let speech: Speech
  package let address: String
  package let credentials: PasswordCredentials?
  /// Whether names are sent to it as they are; otherwise they are resolved here, and it sees addresses.
  public let resolvesNames: Bool
  private let lacksPassword: Bool

  private init(_ speech: Speech, _ address: String, _ user: String?, _ password: String?, resolvesNames: Bool) {
    self.speech = speech
    self.address = address
    self.resolvesNames = resolvesNames
    credentials = user.map { PasswordCredentials(user: $0, password: password ?? "") }
    lacksPassword = (user == nil) != (password == nil)
  }

  /// A SOCKS5 proxy (RFC 1928), asked with CONNECT.
  ///
  /// - Parameters:
  ///   - address: `host:port`, `1.2.3.4:port`, `[::1]:port`, or `unix:/path` for the first one. A text that is none of these
  ///     keeps the app from starting, with a sentence.
  ///   - user: for its login (RFC 1929): 1 to 255 bytes, as the password.
  ///   - resolvesNames: names go to it as they are (what others write `socks5h://`), and nobody here knows which addresses
  ///     they stand for. Otherwise names are resolved here, and rules see the addresses.
  public static func socks5(
    _ address: String, user: String? = nil, password: String? = nil, resolvesNames: Bool = false
  ) -> FarProxy {
    FarProxy(.socks5, address, user, password, resolvesNames: resolvesNames)
  }

  /// An HTTP proxy, asked with CONNECT (RFC 9110, 9.3.6).
  ///
  /// - Parameters:
  ///   - address: as for ``socks5(_:user:password:resolvesNames:)``.
  ///   - user: for Basic (RFC 7617), sent with the first request: without a colon.
  ///   - resolvesNames: names go to it as they are. A `Via` behind an HTTP listener then sends plain requests in absolute form
  ///     over connections that it keeps, as browsers do, and CONNECT only for tunnels.
  public static func http(
    _ address: String, user: String? = nil, password: String? = nil, resolvesNames: Bool = false
  ) -> FarProxy {
    FarProxy(.http, address, user, password, resolvesNames: resolvesNames)
  }

  /// For plans and logs: without user and password.
  public var description: String { "\(speech.rawValue) \(address)" + (resolvesNames ? " (resolves names)" : "") }

  /// Where it is.
  package enum Place: Sendable, Hashable {
    case endpoint(Endpoint)
    case unix(String)
  }

  /// `nil`: the text is no address.
  package var place: Place? {
    if address.hasPrefix("unix:") {
      guard case .unix(let path)? = SocketAddress(address) else { return nil }
      return .unix(path)
    }
    guard let endpoint = Endpoint(address), endpoint.port != 0 else { return nil }
    return .endpoint(endpoint)
  }

  /// What keeps it from being used, one sentence each.
  func problems(isFirst: Bool) -> [String] {
    var problems: [String] = []
    switch place {
    case .endpoint: break
    case .unix:
      if !isFirst { problems.append("\(self): only the first proxy of a chain can be a Unix socket") }
    case nil:
      let forms = "host:port, 1.2.3.4:port, [::1]:port" + (isFirst ? " or unix:/path" : "")
      problems.append("\(speech.rawValue) \"\(address)\" is no address: write \(forms), with a port of 1...65535")
    }
    if lacksPassword {
      problems.append("\(self): a user name or a password alone: give both, or neither")
    } else if let credentials {
      let user = credentials.user.count
      let password = credentials.password.reveal().count
      switch speech {
      case .socks5:
        if !(1...255).contains(user) || !(1...255).contains(password) {
          problems.append(
            "\(self): a user name of \(user) and a password of \(password) bytes: allowed are 1...255 each (RFC 1929)")
        }
      case .http:
        if credentials.user.contains(UInt8(ascii: ":")) {
          problems.append("\(self): a user name with a colon: Basic cannot carry it (RFC 7617)")
        }
      }
    }
    return problems
  }

  /// The value of `proxy-authorization` that carries the credentials.
  package var authorization: Secret<[UInt8]>? {
    credentials.map { credentials in
      let pair = credentials.user + [UInt8(ascii: ":")] + credentials.password.reveal()
      return Secret(Array("Basic ".utf8) + base64Encoded(pair.span))
    }
  }
}
