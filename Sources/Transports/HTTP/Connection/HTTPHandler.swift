internal import Pipeline

/// Serves the connections of an HTTP listener.
final class HTTPHandler: ConnectionHandler {
  let listener: ListenerInfo
  private let service: any Serving<HTTPExchange>

  init(_ service: any Serving<HTTPExchange>, on listener: ListenerInfo) {
    self.service = service
    self.listener = listener
  }

  func serve(_ connection: Connection, as client: ClientAddress, id: UInt64) async {
    await HTTPConnection(connection, client: client, listener: listener, id: id).serve(service)
  }
}
