import Pipeline

@testable import Transports

/// A SOCKS5 client that speaks byte by byte what a test wants.
struct SOCKS5Client {
  let peer: BlockingPeer

  init(_ address: SocketAddress) throws { peer = try BlockingPeer.connect(address) }

  /// What a reply says.
  struct Reply: Equatable {
    var code: UInt8
    var bound: SocketAddress?
  }

  /// Sends a greeting and returns the method that was chosen.
  func greet(_ methods: UInt8...) throws -> UInt8? {
    try peer.send([5, UInt8(methods.count)] + methods)
    return try answer(5)
  }

  /// Sends a login and returns its status.
  func logIn(_ user: String, _ password: String) throws -> UInt8? {
    try peer.send(ClientBytes.login(user, password))
    return try answer(1)
  }

  /// The second of two bytes, the first of which is `version`.
  func answer(_ version: UInt8) throws -> UInt8? {
    let bytes = try peer.receive(exactly: 2)
    return bytes.count == 2 && bytes[0] == version ? bytes[1] : nil
  }

  /// Sends a request and returns the reply.
  func request(_ bytes: [UInt8]) throws -> Reply? {
    try peer.send(bytes)
    return try reply()
  }

  func reply() throws -> Reply? {
    let head = try peer.receive(exactly: 4)
    guard head.count == 4, head[0] == 5, head[2] == 0 else { return nil }
    let rest = try peer.receive(exactly: head[3] == 4 ? 18 : 6)
    guard let address = IPAddress(bytes: Array(rest.dropLast(2)).span) else { return nil }
    let port = UInt16(rest[rest.count - 2]) << 8 | UInt16(rest[rest.count - 1])
    return Reply(code: head[1], bound: .ip(address, port: port))
  }

  /// CONNECT to an address, without a login.
  static func connect(through proxy: SocketAddress, to target: SocketAddress) throws -> (SOCKS5Client, Reply?) {
    let client = try SOCKS5Client(proxy)
    guard try client.greet(0) == 0 else { return (client, nil) }
    return (client, try client.request(ClientBytes.connect(target)))
  }
}

extension ClientBytes {
  static func connect(_ target: SocketAddress) -> [UInt8] {
    guard case .ip(let address, let port) = target else { return [] }
    return address.isIPv6 ? connect(v6: address.bytes, port: port) : connect(v4: address.bytes, port: port)
  }
}
