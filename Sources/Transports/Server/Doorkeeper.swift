internal import Pipeline

/// Decides for a listener, before any chain, which of the connections that it has accepted are served, and whose they are:
/// the limit of connections per client, and the PROXY protocol.
///
/// Where the listener has neither it costs two comparisons.
final class Doorkeeper: Sendable {
  enum Verdict {
    /// To be closed at once.
    case refuse
    /// - Parameter key: as whom it was counted, if it was.
    case serve(_ key: ClientKey?)
  }

  let clients: ClientLimit
  private let counts: PortCounts
  private var tooMany: Refusals { counts.tooMany }
  private var notAnnounced: Refusals { counts.notAnnounced }

  init(perClient limit: Int?, _ counts: PortCounts) {
    clients = ClientLimit(limit)
    self.counts = counts
  }

  // MARK: At accept, on the loop

  /// What can be decided by the peer's address alone.
  func judge(_ socket: Socket, at listener: ListenerInfo, on engine: Engine) -> Verdict {
    guard clients.isSet || listener.options.proxyProtocol != nil else { return .serve(nil) }
    // A peer that the kernel knows no more has gone before it was served.
    guard let peer = socket.clientAddress else { return .refuse }
    if let peers = listener.options.proxyProtocol {
      // The client is known, and counted, when the header has been read.
      if peers.contains(peer) { return .serve(nil) }
      switch peers.others {
      case .refused:
        report(notAnnounced, peer, "is no listed peer of the PROXY protocol", listener, engine)
        return .refuse
      case .plain:
        socket.screen(
          by: FirstBytes { [self] in
            report(
              notAnnounced, peer, "was cut: it sent a PROXY protocol header, and is no listed peer", listener, engine)
          })
      }
    }
    return count(peer, at: listener, on: engine)
  }

  private func count(_ client: ClientAddress, at listener: ListenerInfo, on engine: Engine) -> Verdict {
    let key = ClientKey(client)
    switch clients.enter(key) {
    case .counted: return .serve(key)
    case .notCounted: return .serve(nil)
    case .refused:
      let limit = listener.options.maxConnectionsPerClient ?? 0
      report(tooMany, client, "has \(limit) connections open, and may have no more", listener, engine)
      return .refuse
    }
  }

  // MARK: In the connection's task

  /// Who the client is; `nil` when the connection is not to be served.
  func client(of connection: Connection, at listener: ListenerInfo) async -> ClientAddress? {
    guard let peer = connection.client.clientAddress else { return nil }
    guard let peers = listener.options.proxyProtocol, peers.contains(peer) else { return peer }
    do {
      let header = try await connection.receiveProxyHeader(within: listener.options.handshakeTimeout)
      guard case .ip(let source, let port, let destination, let destinationPort) = header.addresses else {
        // The peer speaks for itself: it looks whether we are alive. It counts for no client's limit.
        return peer
      }
      connection.announcedDestination = .ip(destination, port: destinationPort)
      let client = ClientAddress(.ip(source, port: port))
      guard case .serve(let key) = count(client, at: listener, on: connection.engine) else { return nil }
      connection.countedAs = key
      return client
    } catch {
      let rejection = Rejection(error)
      // A balancer that only looked whether the port is open, or a stop, is nobody's mistake.
      if rejection.kind != .clientGone, rejection.kind != .draining {
        report(notAnnounced, peer, "was closed: \(rejection.detail)", listener, connection.engine)
      }
      return nil
    }
  }

  /// The connection is over.
  func forget(_ connection: Connection) {
    guard let key = connection.countedAs else { return }
    connection.countedAs = nil
    clients.leave(key)
  }

  // MARK: The log

  private func report(
    _ refusals: Refusals, _ client: ClientAddress, _ why: @autoclosure () -> String, _ listener: ListenerInfo,
    _ engine: Engine
  ) {
    refusals.note(at: Loop.preciseNow) { unmentioned in
      engine.log(.notice, "\(listener.name): \(client) \(why())\(unmentioned)")
    }
  }
}

/// Connections of a listener that were closed before a chain saw them.
public struct RefusedConnections: Sendable, Hashable {
  public var listener: String
  /// Their client had as many open as it may.
  public var perClient: Int
  /// They came from a peer that is not listed, without the header that they owe, or with one that they must not send.
  public var proxyProtocol: Int
}
