public import Pipeline

/// How a server ended: what it had to cut.
public struct StopReport: Sendable, CustomStringConvertible {
  /// One listener's share.
  public struct Listener: Sendable, Hashable {
    public var name: String
    public var address: SocketAddress
    /// Connections that ended by themselves after the stop was asked for.
    public var finished: Int
    /// Connections that were cut.
    public var cut: Int
  }

  public var listeners: [Listener] = []
  /// What was open when it was cut; at most ``ExchangeReport/limit`` of them.
  public var cutExchanges: [ExchangeReport] = []

  /// Connections that were cut, over all listeners.
  public var cut: Int { listeners.reduce(0) { $0 + $1.cut } }

  /// One sentence for each listener that had connections when the stop was asked for.
  public var description: String {
    let busy = listeners.filter { $0.finished + $0.cut > 0 }
    if busy.isEmpty { return "no connection was open" }
    return busy.map { "\($0.name) on \($0.address): \($0.finished) finished, \($0.cut) cut" }.joined(separator: "; ")
  }
}

/// A live exchange, as a list of open exchanges shows it.
public struct ExchangeReport: Sendable, CustomStringConvertible {
  /// How many are listed at most, so that a list of a million tunnels does not stop the loops.
  public static let limit = 1000

  public var id: UInt64
  public var listener: String
  public var client: ClientAddress
  public var principal: Principal?
  /// What the client asked for, where it did.
  public var destination: Endpoint?
  /// The upstream that was dialled.
  public var upstream: SocketAddress?
  public var age: Duration
  public var traffic: Traffic

  init(_ exchange: Exchange) {
    id = exchange.id
    listener = exchange.listener.name
    client = exchange.client
    principal = exchange.principal
    destination = exchange.requestedDestination
    upstream = exchange.upstreamAddress
    age = exchange.now - exchange.startedAt
    traffic = exchange.traffic
  }

  public var description: String {
    let who = principal.map { " (\($0.id))" } ?? ""
    let to = destination?.description ?? upstream?.description ?? "nowhere yet"
    return "\(listener) #\(id): \(client)\(who) to \(to), \(traffic.up) bytes up, \(traffic.down) down, "
      + "\(Int(age.inSeconds)) s old"
  }
}
