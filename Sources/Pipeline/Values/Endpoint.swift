/// A host name as a client wrote it, lower-cased: 1 to 255 bytes of letters, digits, `-`, `_` and `.`.
///
/// Anything else (NUL, spaces, control characters, bytes above 127) is no name that a resolver should be asked for.
public struct DomainName: Hashable, Sendable, CustomStringConvertible {
  /// The name in lower case, without a trailing dot.
  public let text: String

  /// `nil` when the bytes are no host name.
  public init?(_ bytes: Span<UInt8>) {
    var count = bytes.count
    if count > 1, bytes[count - 1] == UInt8(ascii: ".") { count -= 1 }
    guard (1...255).contains(count), bytes[0] != UInt8(ascii: ".") else { return nil }
    for i in 0..<count {
      switch bytes[i] {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
        continue
      default: return nil
      }
    }
    text = String(unsafeUninitializedCapacity: count) { out in
      for i in 0..<count {
        let isUpper = (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(bytes[i])
        out[i] = isUpper ? bytes[i] | 0x20 : bytes[i]
      }
      return count
    }
  }

  /// `nil` when the text is no host name.
  public init?(_ text: String) {
    let bytes = Array(text.utf8)
    self.init(bytes.span)
  }

  public var description: String { text }

  /// Whether the name is `suffix` or ends in `.suffix` (`suffix` in lower case).
  public func isWithin(_ suffix: String) -> Bool { text == suffix || text.hasSuffix("." + suffix) }

  /// Whether the last label is a number, decimal or hexadecimal: what `inet_aton` and the URL standard take for an IPv4 address.
  package var endsInNumber: Bool {
    guard let last = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).last else {
      return false
    }
    func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
    if last.allSatisfy(isDigit) { return true }
    return last.starts(with: "0x".utf8)
      && last.dropFirst(2).allSatisfy { isDigit($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0) }
  }
}

/// A host as an address or as a name that is still to be resolved.
public enum Host: Hashable, Sendable, CustomStringConvertible {
  case ip(IPAddress)
  case name(DomainName)

  /// An address literal (with or without brackets) or a name; `nil` when it is neither.
  public init?(_ text: String) {
    if let address = IPAddress(text) {
      self = .ip(address)
    } else if let name = DomainName(text) {
      self = .name(name)
    } else {
      return nil
    }
  }

  public var description: String {
    switch self {
    case .ip(let address): address.description
    case .name(let name): name.text
    }
  }
}

/// Where an exchange wants to go: a host and a port.
public struct Endpoint: Hashable, Sendable, CustomStringConvertible {
  public var host: Host
  /// 0...65535; a destination with port 0 is refused when it is approved.
  public var port: UInt16

  public init(_ host: Host, port: UInt16) {
    self.host = host
    self.port = port
  }

  /// Reads `host:port`, `1.2.3.4:port` or `[::1]:port`; `nil` when the text is none of these.
  public init?(_ text: String) {
    guard let colon = text.lastIndex(of: ":") else { return nil }
    let digits = text[text.index(after: colon)...]
    let hostText = text[..<colon]
    guard (1...5).contains(digits.utf8.count), digits.utf8.allSatisfy({ (48...57).contains($0) }),
      let port = UInt16(digits), !hostText.contains(":") || (hostText.first == "[" && hostText.last == "]"),
      let host = Host(String(hostText))
    else { return nil }
    self.init(host, port: port)
  }

  public var description: String {
    if case .ip(let address) = host, address.isIPv6 { return "[\(address)]:\(port)" }
    return "\(host):\(port)"
  }
}

/// An address that a socket can be bound or connected to.
public enum SocketAddress: Hashable, Sendable, CustomStringConvertible {
  case ip(IPAddress, port: UInt16)
  /// The path of a Unix domain socket.
  case unix(String)

  /// Reads `1.2.3.4:80`, `[::1]:80`, `:80` (all IPv4 addresses), `localhost:80` (127.0.0.1) or `unix:/path`.
  public init?(_ text: String) {
    if text.hasPrefix("unix:") {
      let path = String(text.dropFirst(5))
      // sun_path of Linux holds 108 bytes with its NUL.
      guard (1...107).contains(path.utf8.count), !path.utf8.contains(0) else { return nil }
      self = .unix(path)
      return
    }
    guard let endpoint = Endpoint(text.hasPrefix(":") ? "0.0.0.0" + text : text) else { return nil }
    switch endpoint.host {
    case .ip(let address): self = .ip(address, port: endpoint.port)
    case .name(let name) where name.text == "localhost": self = .ip(.loopbackV4, port: endpoint.port)
    case .name: return nil
    }
  }

  /// Whether only this machine can reach a listener that is bound to it.
  public var isLocal: Bool {
    switch self {
    case .ip(let address, _): address.isLoopback && address != .anyV4 && address != .anyV6
    case .unix: true
    }
  }

  public var description: String {
    switch self {
    case .ip(let address, let port): Endpoint(.ip(address), port: port).description
    case .unix(let path): "unix:\(path)"
    }
  }
}

/// Who the client is, as far as the network vouches for it.
///
/// Made by a transport from the socket and by nothing else: a limiter or a log that takes one cannot be fed a raw header.
public struct ClientAddress: Hashable, Sendable, CustomStringConvertible {
  public enum Kind: Hashable, Sendable {
    case ip(IPAddress, port: UInt16)
    /// A peer on a Unix socket, by the user id that the kernel reports.
    case unix(uid: UInt32)
  }

  public let kind: Kind

  package init(_ kind: Kind) { self.kind = kind }

  /// The IP address; `nil` for a Unix peer.
  public var ip: IPAddress? {
    if case .ip(let address, _) = kind { address } else { nil }
  }

  public var description: String {
    switch kind {
    case .ip(let address, let port): Endpoint(.ip(address), port: port).description
    case .unix(let uid): "unix:uid=\(uid)"
    }
  }
}
