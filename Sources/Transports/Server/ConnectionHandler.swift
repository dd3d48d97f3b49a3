internal import Pipeline

/// What a transport does with one accepted connection, from its first byte to its last. One for each listener and
/// configuration: a connection keeps the one with which it began, unless its transport can hand it over between two exchanges.
protocol ConnectionHandler: AnyObject, Sendable {
  var listener: ListenerInfo { get }

  /// Returns when the connection is over and its streams are closed.
  func serve(_ connection: Connection, as client: ClientAddress, id: UInt64) async

  /// Whether the connections of `old` can come to this one with their next exchange.
  func takesOver(from old: any ConnectionHandler) -> Bool
}

extension ConnectionHandler {
  func takesOver(from old: any ConnectionHandler) -> Bool { false }
}

/// Makes the handler for a listener, once its address is known.
typealias HandlerMaker = @Sendable (ListenerInfo) -> any ConnectionHandler

/// The transport that a service is written for; `nil` when none here has such exchanges.
func handlerMaker(for service: any Serving) -> HandlerMaker? {
  if let service = service as? any Serving<SOCKS5Exchange> { return { SOCKS5Handler(service, on: $0) } }
  if let service = service as? any Serving<TCPExchange> { return { TCPHandler(service, on: $0) } }
  if let service = service as? any Serving<HTTPExchange> { return { HTTPHandler(service, on: $0) } }
  return nil
}

final class TCPHandler: ConnectionHandler {
  let listener: ListenerInfo
  private let service: any Serving<TCPExchange>

  init(_ service: any Serving<TCPExchange>, on listener: ListenerInfo) {
    self.service = service
    self.listener = listener
  }

  func serve(_ connection: Connection, as client: ClientAddress, id: UInt64) async {
    let exchange = TCPConnection(
      id: id, client: client, listener: listener, connection: connection)
    connection.exchange = exchange
    service.begin(exchange)
    do {
      _ = try await service.run(exchange)
      exchange.finish()
    } catch {
      service.blame(error, on: exchange)
      exchange.refuse(rejection(for: error, of: exchange, on: connection))
    }
  }
}

final class SOCKS5Handler: ConnectionHandler {
  let listener: ListenerInfo
  private let service: any Serving<SOCKS5Exchange>

  init(_ service: any Serving<SOCKS5Exchange>, on listener: ListenerInfo) {
    self.service = service
    self.listener = listener
  }

  func serve(_ connection: Connection, as client: ClientAddress, id: UInt64) async {
    let exchange = SOCKS5Connection(
      id: id, client: client, listener: listener, runtime: connection, stream: connection.client)
    connection.exchange = exchange
    service.begin(exchange)
    do {
      _ = try await service.run(exchange)
      await exchange.finish()
    } catch {
      service.blame(error, on: exchange)
      await exchange.refuse(rejection(for: error, of: exchange, on: connection))
    }
  }
}

/// What an error that left the chain means. Our own faults are logged here, because nobody else may have looked.
func rejection(for error: any Error, of exchange: Exchange, on connection: Connection) -> Rejection {
  let rejection: Rejection
  switch error {
  case StreamError.reset, StreamError.closed:
    // A destination that reads and writes by itself. Which of the two streams it was only the client's can tell.
    rejection = Rejection(connection.client.isBroken ? .clientGone : .upstreamReset, cause: error)
  default:
    rejection = Rejection(error)
  }
  if rejection.kind == .internalError {
    let name = exchange.listener.name
    connection.log(.error, "\(name): exchange \(exchange.id) of \(exchange.client): \(rejection)")
  }
  return rejection
}
