internal import Pipeline

/// One raw TCP (or Unix socket) client. It has no handshake: the chain runs at once, and the first byte either way
/// belongs to the tunnel.
final class TCPConnection: TCPExchange {
  private let stream: any ByteStream

  init(
    id: UInt64, client: ClientAddress, listener: ListenerInfo, runtime: ConnectionRuntime, stream: any ByteStream
  ) {
    self.stream = stream
    super.init(id: id, client: client, listener: listener, runtime: runtime)
  }

  override var clientStream: any ByteStream { stream }

  /// The chain has returned: both directions have ended.
  func finish() { stream.close() }

  /// The chain threw: closes in the way that says most.
  func refuse(_ rejection: Rejection) { stream.end(TCPClose(for: rejection.kind, isCommitted: isCommitted)) }
}
