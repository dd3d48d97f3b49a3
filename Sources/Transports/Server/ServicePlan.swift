internal import Pipeline

/// The listeners of an app, placed and validated, with their addresses read. Nothing listens yet.
struct ServicePlan: ListenerVisitor {
  struct Entry {
    var name: String
    var address: SocketAddress
    var service: any Serving
    var makeHandler: HandlerMaker

    /// What connections of this listener are served by, on the address that was bound.
    func handler(at address: SocketAddress) -> any ConnectionHandler {
      StallLabel.named(name).setElements(service.placement.entries.map(\.qualifiedName))
      return makeHandler(
        ListenerInfo(
          name: name, transport: service.placement.problems.transport, address: address, options: service.options))
    }
  }

  private(set) var entries: [Entry] = []
  private let shards: Int
  private let counting: Counting
  private let replaced: [String: Placement]
  private var problems: [String] = []

  /// - Parameter replaced: the placements of the services that are replaced, by listener name.
  /// - Throws: `ConfigurationError` with every mistake of every listener.
  init(_ proxy: some Proxy, shards: Int, counting: Counting, replacing replaced: [String: Placement] = [:]) throws {
    self.shards = shards
    self.counting = counting
    self.replaced = replaced
    try proxy.accept(&self)
    if entries.isEmpty, problems.isEmpty { problems.append("an app needs at least one listener") }
    if !problems.isEmpty { throw ConfigurationError(messages: problems) }
  }

  mutating func visit<Carrier: TransportExchange, Program: ChainElement>(
    _ listener: Listener<Carrier, Program>
  ) throws where Program.Carrier == Carrier, Program.Needs: MetByNothing {
    let name = uniqueName(listener.name)
    if let limit = listener.options.maxConnections, limit < 1 {
      problems.append("\(name): maxConnections \(limit); allowed is 1 or more")
    }
    if let limit = listener.options.maxConnectionsPerClient, limit < 1 {
      problems.append("\(name): maxConnectionsPerClient \(limit); allowed is 1 or more")
    }
    if let peers = listener.options.proxyProtocol, peers.peers.isEmpty, !peers.includesUnix {
      problems.append(
        "\(name): proxyProtocol names no peer: list the addresses of the balancers in front, or leave it out")
    }
    if let problem = ForwardingRules.problem(with: listener.options.http) { problems.append("\(name): \(problem)") }
    guard let address = SocketAddress(listener.address) else {
      problems.append(
        "\(name): \"\(listener.address)\" is no address to listen on: write 127.0.0.1:1080, [::1]:1080, :1080 or unix:/path"
      )
      return
    }
    do {
      let service = try Service(listener, shards: shards, counting: counting, replacing: replaced[name])
      guard let maker = handlerMaker(for: service) else {
        problems.append(
          "\(name): the transport \"\(Carrier.transport)\" is not served here: use .tcp, .socks5 or .http")
        return
      }
      entries.append(Entry(name: name, address: address, service: service, makeHandler: maker))
    } catch let error as ConfigurationError {
      problems += error.messages.map { "\(name): \($0)" }
    }
  }

  /// Two listeners without a name of their own are called `socks5` and `socks5-2`.
  private func uniqueName(_ name: String) -> String {
    var candidate = name
    var number = 1
    while entries.contains(where: { $0.name == candidate }) {
      number += 1
      candidate = "\(name)-\(number)"
    }
    return candidate
  }
}
