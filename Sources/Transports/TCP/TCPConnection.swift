internal import Pipeline

/// One raw TCP (or Unix socket) client. It has no handshake: the chain runs at once, and the first byte either way
/// belongs to the tunnel.
final class TCPConnection: TCPExchange {
  private let connection: Connection

  init(id: UInt64, client: ClientAddress, listener: ListenerInfo, connection: Connection) {
    self.connection = connection
    super.init(id: id, client: client, listener: listener, runtime: connection)
  }

  override var clientStream: any ByteStream { connection.client }

  /// The same steps as everybody's, but for a client who is told nothing and an upstream that is dialled directly: by calls whose
  /// callee is known, after which nobody has to ask where they returned.
  override func forward(to destination: ApprovedDestination, over link: UpstreamLink) async throws -> Summary {
    guard link.way.isPlain, link.proxyProtocol == nil else {
      return try await super.forward(to: destination, over: link)
    }
    upstreamAnsweredAt = nil
    upstreamAddress = destination.addresses.first
    let dialer = Dialer(connection, connection.engine.dialing, timeout: listener.options.connectTimeout)
    let upstream = try await dialer.dial(destination.addresses)
    if let address = upstream.remoteAddress { upstreamAddress = address }
    noteUpstreamAnswer(at: now)
    return try await connection.relay(client: connection.client, upstream: upstream, for: self)
  }

  /// The chain has returned: both directions have ended.
  func finish() { connection.client.close() }

  /// The chain threw: closes in the way that says most.
  func refuse(_ rejection: Rejection) { connection.client.end(TCPClose(for: rejection.kind, isCommitted: isCommitted)) }
}
