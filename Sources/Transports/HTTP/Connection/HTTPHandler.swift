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
    var handler = self
    var exchange = HTTPConnection(connection, client: client, listener: listener, rules: rules, id: id)
    while let successor = await exchange.serve(handler.service) {
      handler = successor
      exchange = HTTPConnection(
        continuing: exchange, client: client, listener: successor.listener, rules: successor.rules)
    }
  }

  /// A kept connection takes the new configuration with its next request: to close it would lose a request that is under way
  /// to us just then.
  func takesOver(from old: any ConnectionHandler) -> Bool { old is HTTPHandler }
}
