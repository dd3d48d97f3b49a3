internal import Pipeline

/// What the server says, at most 22 bytes, held inline: method choice, login status, reply.
struct SOCKS5Message: Sendable {
  private var storage = InlineArray<22, UInt8>(repeating: 0)
  private(set) var count = 0

  private mutating func append(_ byte: UInt8) {
    storage[count] = byte
    count += 1
  }

  /// Hands out the bytes from `start` on.
  func withBytes<Result>(from start: Int = 0, _ body: (RawSpan) throws -> Result) rethrows -> Result {
    try body(storage.span.bytes.extracting(start..<count))
  }

  /// For tests and messages.
  var bytes: [UInt8] { (0..<count).map { storage[$0] } }

  /// The method that the server chose (RFC 1928, 3).
  static func method(_ method: SOCKS5Methods.Choice) -> SOCKS5Message {
    var message = SOCKS5Message()
    message.append(5)
    message.append(method.rawValue)
    return message
  }

  /// How the login ended (RFC 1929, 2); after a failure the server closes.
  static func login(succeeded: Bool) -> SOCKS5Message {
    var message = SOCKS5Message()
    message.append(1)
    message.append(succeeded ? 0 : 1)
    return message
  }

  /// The reply to the request (RFC 1928, 6).
  ///
  /// - Parameter bound: the address of our end of the upstream connection; 0.0.0.0:0 stands for one that has none (a
  ///   Unix socket, a refusal).
  static func reply(_ reply: SOCKS5Reply, bound: SocketAddress? = nil) -> SOCKS5Message {
    var message = SOCKS5Message()
    message.append(5)
    message.append(reply.rawValue)
    message.append(0)
    guard case .ip(let address, let port) = bound else {
      message.append(SOCKS5AddressType.v4.rawValue)
      for _ in 0..<6 { message.append(0) }
      return message
    }
    message.append((address.isIPv6 ? SOCKS5AddressType.v6 : .v4).rawValue)
    for index in 0..<(address.isIPv6 ? 16 : 4) { message.append(address.byte(at: index)) }
    message.append(UInt8(truncatingIfNeeded: port >> 8))
    message.append(UInt8(truncatingIfNeeded: port))
    return message
  }
}

/// The methods that a client offers, as far as this server knows them (RFC 1928, 3).
struct SOCKS5Methods: OptionSet, Sendable {
  let rawValue: UInt8

  static let none = SOCKS5Methods(rawValue: 1)
  static let password = SOCKS5Methods(rawValue: 2)

  enum Choice: UInt8, Sendable {
    case none = 0
    case password = 2
    case noneAcceptable = 0xff
  }
}

/// The ATYP field.
enum SOCKS5AddressType: UInt8, Sendable {
  case v4 = 1
  case name = 3
  case v6 = 4
}

/// What reading one message from a prefix of the client's bytes found. The verdict over a message depends on its bytes alone,
/// never on how they were cut into segments: whatever can be judged at a byte is judged before the next one is looked at.
enum SOCKS5Parsed<Message> {
  /// The bytes are the beginning of a message.
  case incomplete
  /// The message, and how many bytes it takes.
  case message(Message, length: Int)
  /// What the client did wrong.
  case wrong(Rejection.Kind, StaticString)
}

/// The client's messages. Each parser takes what has arrived so far and consumes nothing.
enum SOCKS5Parser {
  /// VER NMETHODS METHODS (RFC 1928, 3): 2 to 257 bytes.
  ///
  /// No method at all is a message like any other: none of its methods fits.
  static func greeting(_ bytes: Span<UInt8>) -> SOCKS5Parsed<SOCKS5Methods> {
    guard bytes.count >= 1 else { return .incomplete }
    // A SOCKS4 client sends 4, a browser that takes this for an HTTP proxy a letter.
    guard bytes[0] == 5 else { return .wrong(.malformed, "the first byte is not SOCKS version 5") }
    guard bytes.count >= 2 else { return .incomplete }
    let length = 2 + Int(bytes[1])
    guard bytes.count >= length else { return .incomplete }
    var offered: SOCKS5Methods = []
    for index in 2..<length {
      if bytes[index] == SOCKS5Methods.Choice.none.rawValue { offered.insert(.none) }
      if bytes[index] == SOCKS5Methods.Choice.password.rawValue { offered.insert(.password) }
    }
    return .message(offered, length: length)
  }

  /// VER ULEN UNAME PLEN PASSWD (RFC 1929, 2): 3 to 513 bytes.
  ///
  /// The fields are bytes, NUL and all; an empty one, which the RFC does not know but some clients send for "no password",
  /// is for the authenticator to judge.
  static func login(_ bytes: Span<UInt8>) -> SOCKS5Parsed<PasswordCredentials> {
    guard bytes.count >= 1 else { return .incomplete }
    guard bytes[0] == 1 else { return .wrong(.malformed, "the login is not of version 1") }
    guard bytes.count >= 2 else { return .incomplete }
    let userEnd = 2 + Int(bytes[1])
    guard bytes.count > userEnd else { return .incomplete }
    let passwordEnd = userEnd + 1 + Int(bytes[userEnd])
    guard bytes.count >= passwordEnd else { return .incomplete }
    let credentials = PasswordCredentials(
      user: copy(bytes, 2..<userEnd), password: copy(bytes, (userEnd + 1)..<passwordEnd))
    return .message(credentials, length: passwordEnd)
  }

  /// VER CMD RSV ATYP DST.ADDR DST.PORT (RFC 1928, 4): 7 to 262 bytes.
  static func request(_ bytes: Span<UInt8>) -> SOCKS5Parsed<Endpoint> {
    guard bytes.count >= 1 else { return .incomplete }
    guard bytes[0] == 5 else { return .wrong(.malformed, "the request is not of SOCKS version 5") }
    guard bytes.count >= 3 else { return .incomplete }
    guard bytes[2] == 0 else { return .wrong(.malformed, "the reserved byte of the request is not 0") }
    guard bytes.count >= 4 else { return .incomplete }
    let command = bytes[1]
    let unsupported: SOCKS5Parsed<Endpoint> = .wrong(
      .unsupportedCommand, "the command is not CONNECT (1): BIND and UDP ASSOCIATE are not offered")
    guard let type = SOCKS5AddressType(rawValue: bytes[3]) else {
      // How long such an address is nobody knows, so the request ends here.
      guard command == 1 else { return unsupported }
      return .wrong(.unsupportedAddressType, "the address type is none of IPv4 (1), name (3) and IPv6 (4)")
    }
    let host: Range<Int>
    switch type {
    case .v4: host = 4..<8
    case .v6: host = 4..<20
    case .name:
      guard bytes.count >= 5 else { return .incomplete }
      host = 5..<(5 + Int(bytes[4]))
    }
    let length = host.upperBound + 2
    guard bytes.count >= length else { return .incomplete }
    // Judged only now, so that nothing of the request is left unread: a close over unread bytes is a reset, which may
    // overtake the reply.
    guard command == 1 else { return unsupported }
    let port = UInt16(bytes[length - 2]) << 8 | UInt16(bytes[length - 1])
    guard let host = self.host(bytes.extracting(host), type) else {
      return .wrong(.malformed, "the name is empty, or has bytes that no host name has")
    }
    return .message(Endpoint(host, port: port), length: length)
  }

  private static func host(_ bytes: Span<UInt8>, _ type: SOCKS5AddressType) -> Host? {
    switch type {
    case .v4, .v6: return IPAddress(bytes: bytes).map(Host.ip)
    case .name:
      guard let last = bytes.isEmpty ? nil : bytes[bytes.count - 1] else { return nil }
      // Some clients send every destination as a name. A literal among them is an address, to rules and logs, too.
      if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(last) || contains(UInt8(ascii: ":"), bytes),
        let address = IPAddress(String(decoding: copy(bytes, 0..<bytes.count), as: UTF8.self))
      {
        return .ip(address)
      }
      return DomainName(bytes).map(Host.name)
    }
  }

  private static func contains(_ byte: UInt8, _ bytes: Span<UInt8>) -> Bool {
    for index in 0..<bytes.count where bytes[index] == byte { return true }
    return false
  }

  private static func copy(_ bytes: Span<UInt8>, _ range: Range<Int>) -> [UInt8] {
    [UInt8](capacity: range.count) { out in
      for index in range { out.append(bytes[index]) }
    }
  }
}
