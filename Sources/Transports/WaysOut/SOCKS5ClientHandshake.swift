internal import Pipeline

/// The client's half of a SOCKS5 handshake (RFC 1928 with the login of RFC 1929), for CONNECT.
///
/// It reads no byte further than its messages go. Whatever can be judged at a byte is judged before the next one is awaited:
/// proxies are known that close right behind the REP of a refusal.
struct SOCKS5ClientHandshake: ProxyHandshake {
  private enum State {
    /// The greeting has to be sent.
    case greeting
    /// It is sent; the choice of the method is awaited.
    case method
    /// The login is sent; its status is awaited.
    case login
    /// The request has to be sent.
    case request
    /// It is sent; the reply is awaited.
    case reply
    /// The last word was heard.
    case over(ProxyHandshakeAction)
  }

  private let target: ProxyTarget
  private let credentials: PasswordCredentials?
  private var state = State.greeting
  private var inbox: [UInt8] = []

  init(_ target: ProxyTarget, credentials: PasswordCredentials?) {
    self.target = target
    self.credentials = credentials
  }

  mutating func receive(_ bytes: Span<UInt8>) { for index in 0..<bytes.count { inbox.append(bytes[index]) } }

  mutating func takeRest() -> [UInt8] {
    defer { inbox = [] }
    return inbox
  }

  mutating func advance() -> ProxyHandshakeAction {
    switch state {
    case .greeting:
      state = .method
      return .send(credentials == nil ? [5, 1, 0] : [5, 2, 0, 2])
    case .method: return readMethod()
    case .login: return readLogin()
    case .request:
      state = .reply
      return .send(request)
    case .reply: return readReply()
    case .over(let action): return action
    }
  }

  // MARK: Messages

  /// VER METHOD (RFC 1928, 3).
  private mutating func readMethod() -> ProxyHandshakeAction {
    guard let version = inbox.first else { return .read(atMost: 2) }
    guard version == 5 else { return broken("its first byte is \(version): no SOCKS5") }
    guard inbox.count >= 2 else { return .read(atMost: 2 - inbox.count) }
    let method = inbox[1]
    inbox.removeFirst(2)
    switch (method, credentials) {
    case (0, _):
      state = .request
      return advance()
    case (2, let credentials?):
      state = .login
      let password = credentials.password.reveal()
      return .send(
        [1, UInt8(credentials.user.count)] + credentials.user + [UInt8(password.count)] + password)
    case (0xff, nil): return denied("it wants a login, and none is configured")
    case (0xff, _?): return denied("it takes neither no login nor one by user name and password")
    default: return broken("it chose method \(method), which was not offered")
    }
  }

  /// VER STATUS (RFC 1929, 2).
  private mutating func readLogin() -> ProxyHandshakeAction {
    guard let version = inbox.first else { return .read(atMost: 2) }
    guard version == 1 else { return broken("its answer to the login is of version \(version), not 1") }
    guard inbox.count >= 2 else { return .read(atMost: 2 - inbox.count) }
    let status = inbox[1]
    inbox.removeFirst(2)
    guard status == 0 else { return denied("it refused the user name or the password (status \(status))") }
    state = .request
    return advance()
  }

  /// VER CMD RSV ATYP DST.ADDR DST.PORT (RFC 1928, 4).
  private var request: [UInt8] {
    var bytes: [UInt8] = [5, 1, 0]
    let port: UInt16
    switch target {
    case .address(let address, let toPort):
      bytes.append((address.isIPv6 ? SOCKS5AddressType.v6 : .v4).rawValue)
      for index in 0..<(address.isIPv6 ? 16 : 4) { bytes.append(address.byte(at: index)) }
      port = toPort
    case .name(let name, let toPort):
      bytes.append(SOCKS5AddressType.name.rawValue)
      bytes.append(UInt8(name.text.utf8.count))
      bytes.append(contentsOf: name.text.utf8)
      port = toPort
    }
    return bytes + [UInt8(truncatingIfNeeded: port >> 8), UInt8(truncatingIfNeeded: port)]
  }

  /// VER REP RSV ATYP BND.ADDR BND.PORT (RFC 1928, 6). The address says nothing that anybody here needs.
  private mutating func readReply() -> ProxyHandshakeAction {
    guard let version = inbox.first else { return .read(atMost: 4) }
    guard version == 5 else { return broken("its reply is of version \(version), not 5") }
    guard inbox.count >= 2 else { return .read(atMost: 4 - inbox.count) }
    guard inbox[1] == 0 else { return end(Self.refusal(inbox[1])) }
    guard inbox.count >= 4 else { return .read(atMost: 4 - inbox.count) }
    let length: Int
    switch SOCKS5AddressType(rawValue: inbox[3]) {
    case .v4: length = 4 + 4 + 2
    case .v6: length = 4 + 16 + 2
    case .name:
      guard inbox.count >= 5 else { return .read(atMost: 1) }
      length = 5 + Int(inbox[4]) + 2
    case nil: return broken("its reply has an address of the unknown type \(inbox[3])")
    }
    guard inbox.count >= length else { return .read(atMost: length - inbox.count) }
    inbox.removeFirst(length)
    return end(.open)
  }

  // MARK: Ends

  /// The one place where a REP becomes a rejection. Nothing of the exchange has been sent, so trying again is safe, unless it
  /// would end the same way.
  static func refusal(_ code: UInt8) -> ProxyHandshakeAction {
    func rejection(_ kind: Rejection.Kind, _ retry: Rejection.RetryVerdict, _ what: String) -> Rejection {
      Rejection(kind, source: .upstream, retry: retry, detail: "\(what) (REP \(code))")
    }
    switch SOCKS5Reply(rawValue: code) {
    case .succeeded: return .open
    case .generalFailure: return .refused(rejection(.hostUnreachable, .safe, "it failed"))
    case .notAllowed: return .refused(rejection(.forbidden, .pointless, "its rules do not allow it"))
    case .networkUnreachable: return .refused(rejection(.networkUnreachable, .safe, "network unreachable"))
    case .hostUnreachable: return .refused(rejection(.hostUnreachable, .safe, "host unreachable"))
    case .connectionRefused: return .refused(rejection(.connectionRefused, .safe, "connection refused"))
    case .expired: return .refused(rejection(.connectTimeout, .safe, "it took too long"))
    case .addressTypeNotSupported:
      // A proxy without IPv6, say: another address may do.
      return .refused(rejection(.networkUnreachable, .safe, "it does not support this type of address"))
    case .commandNotSupported: return .failed(rejection(.upstreamProtocol, .pointless, "it does not know CONNECT"))
    case nil: return .failed(rejection(.upstreamProtocol, .safe, "an unknown answer"))
    }
  }

  private mutating func end(_ action: ProxyHandshakeAction) -> ProxyHandshakeAction {
    state = .over(action)
    return action
  }

  private mutating func broken(_ what: String) -> ProxyHandshakeAction {
    end(.failed(Rejection(.upstreamProtocol, retry: .safe, detail: what)))
  }

  /// Our own configuration is to blame, and no client should be asked for a password because of it.
  private mutating func denied(_ what: String) -> ProxyHandshakeAction {
    end(.failed(Rejection(.upstreamProtocol, source: .proxy, retry: .pointless, detail: what)))
  }
}
