internal import Pipeline

/// Serves the connections of an HTTP listener.
final class HTTPHandler: ConnectionHandler {
  let listener: ListenerInfo
  private let service: any Serving<HTTPExchange>
  private let rules: ForwardingRules

  init(_ service: any Serving<HTTPExchange>, on listener: ListenerInfo) {
    self.service = service
    self.listener = listener
    rules = ForwardingRules(listener.options.http)
  }

  func serve(_ connection: Connection, as client: ClientAddress, id: UInt64) async {
    let exchange = HTTPConnection(connection, client: client, listener: listener, rules: rules, id: id)
    await exchange.serve(service)
  }
}
