internal import Pipeline
internal import Synchronization

/// What a listener has counted. A reload that moves it to another address hands this to the new port, while the old one still
/// counts in it.
final class PortCounts: Sendable {
  /// Connections that were taken from the kernel, by loop.
  let accepted: [MetricCounters<1>]
  /// Closed because their client had too many open.
  let tooMany = Refusals()
  /// Closed because of the PROXY protocol: they came from a peer that is not listed, or without the header they owe, or with
  /// one that they must not send.
  let notAnnounced = Refusals()

  init(loops: Int) { accepted = (0..<loops).map { _ in MetricCounters() } }

  /// Connections that were taken from the kernel since the start.
  var acceptedConnections: Int { accepted.reduce(0) { $0 + $1[0] } }
}

/// One listener of a server: its descriptors, its limit, what serves its connections.
final class Port: Sendable {
  private struct State {
    /// `nil` once nothing is accepted any more.
    var listening: Listening?
    var handler: any ConnectionHandler
    var service: any Serving
    var intakes: [Intake] = []
    /// Connections that were open when accepting ended.
    var openAtStop = 0
    var cut = 0
  }

  let name: String
  let limit: ConnectionLimit
  let doorkeeper: Doorkeeper
  let isForOperators: Bool
  let counts: PortCounts
  private let state: Mutex<State>

  /// Takes over an address that is listened on.
  ///
  /// - Parameter counts: those of the port of this name that it replaces, or new ones.
  init(_ entry: ServicePlan.Entry, on listening: Listening, counts: PortCounts) {
    name = entry.name
    isForOperators = entry.service.options.isForOperators
    self.counts = counts
    limit = ConnectionLimit(entry.service.options.maxConnections)
    doorkeeper = Doorkeeper(perClient: entry.service.options.maxConnectionsPerClient, counts)
    state = Mutex(
      State(listening: listening, handler: entry.handler(at: listening.address), service: entry.service))
  }

  var listener: ListenerInfo { state.withLock { $0.handler.listener } }

  var service: any Serving { state.withLock { $0.service } }

  /// Begins to accept on every loop; nothing more if it has already.
  func start(on engine: Engine, total: ConnectionLimit, left: @escaping @Sendable (Int) -> Void) async {
    let (listening, intakes) = state.withLock { state -> (Listening?, [Intake]) in
      guard state.intakes.isEmpty else { return (nil, []) }
      state.intakes = engine.loops.map {
        Intake(
          on: $0, of: engine, limits: [limit, total], doorkeeper: doorkeeper, handler: state.handler,
          accepted: counts.accepted[$0.index], left: left)
      }
      return (state.listening, state.intakes)
    }
    guard let listening else { return }
    await engine.onEveryLoop { intakes[$0.index].start(listening) }
  }

  /// Serves new connections by another service; those that are open keep theirs.
  func replaceService(_ entry: ServicePlan.Entry, on engine: Engine?) async {
    let handler = entry.handler(at: listener.address)
    limit.change(to: entry.service.options.maxConnections)
    doorkeeper.clients.change(to: entry.service.options.maxConnectionsPerClient)
    let intakes = state.withLock { state in
      state.handler = handler
      state.service = entry.service
      return state.intakes
    }
    await engine?.onEveryLoop { if !intakes.isEmpty { intakes[$0.index].replaceHandler(handler) } }
  }

  /// Whether this is the port of an address as it is written; port 0 was given another number.
  func isBound(to address: SocketAddress) -> Bool {
    switch (address, listener.address) {
    case (.ip(let written, port: 0), .ip(let bound, port: _)): written == bound
    case (let written, let bound): written == bound
    }
  }

  /// Lets go of an address that nobody has begun to accept on.
  func release() {
    state.withLock { state in
      state.listening?.removeFile()
      state.listening = nil
    }
  }

  /// Accepts nothing more; whoever connects from now on is refused by the kernel.
  func stopAccepting(on engine: Engine?) async {
    let (listening, intakes) = state.withLock { state in
      defer {
        state.listening = nil
        state.intakes = []
      }
      return (state.listening, state.intakes)
    }
    listening?.removeFile()
    await engine?.onEveryLoop { if !intakes.isEmpty { intakes[$0.index].close() } }
    let open = limit.count
    state.withLock { if listening != nil { $0.openAtStop = open } }
  }

  func addCut(_ count: Int) { state.withLock { $0.cut += count } }

  var stopReport: StopReport.Listener {
    state.withLock { state in
      StopReport.Listener(
        name: name, address: state.handler.listener.address, finished: max(0, state.openAtStop - state.cut),
        cut: state.cut)
    }
  }
}
