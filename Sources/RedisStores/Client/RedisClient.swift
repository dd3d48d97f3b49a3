public import Pipeline
internal import Synchronization

/// A client of one Redis server or of a Redis Cluster, for exchanges on every loop and for tasks that have none.
///
/// ```swift
/// let redis = try RedisClient("redis://app:secret@10.0.0.5:6379/2")
/// let count = try await redis.send(RedisCommand("INCR", .key("visits")), on: exchange).integer
/// ```
/// Each loop has a connection of its own to each server; the commands of one turn go out with one write, and answers come in
/// order. A command ends by its own time (``RedisOptions/commandTimeout``), and also when the exchange's deadline passes or its
/// client leaves; what comes later is dropped. A server that cannot be reached costs no time: while its connection is down,
/// commands are refused at once, and the next attempt is made in the background.
///
/// Somebody has to run ``run(_:)``: the store that uses the client does.
public final class RedisClient: Sendable {
  private struct State {
    var nodes: [RedisURL.Node: RedisNode] = [:]
    /// Of a cluster, once it is known.
    var routes: ClusterRoutes?
    /// Why the cluster's nodes are not known.
    var problem: RedisError?
    var services: (any BackgroundServices)?
    /// Hands new links to the task that runs them.
    var opened: AsyncStream<RedisLink>.Continuation?
    /// Asks for a new look at the cluster.
    var refresh: AsyncStream<Void>.Continuation?
    var refreshes = 0
    var isClosed = false
  }

  public let url: RedisURL
  public let options: RedisOptions
  /// Without a cluster: the one server.
  private let single: RedisNode?
  /// Fires after the first look at the cluster, whatever it found.
  private let looked = Signal()
  private let state = Mutex(State())
  private let shared = SharedRun()
  /// Where links that are opened go; set once the client exists.
  private let opening: LinkOpening

  /// - Throws: ``RedisURLError``.
  public convenience init(_ url: String, options: RedisOptions = RedisOptions()) throws(RedisURLError) {
    self.init(try RedisURL(url), options: options)
  }

  /// - Parameter options: out of range: a mistake of the program, which ends it; see ``RedisOptions/problem``.
  public init(_ url: RedisURL, options: RedisOptions = RedisOptions()) {
    if let problem = options.problem { preconditionFailure("RedisOptions: \(problem)") }
    self.url = url
    self.options = options
    let opening = LinkOpening()
    self.opening = opening
    if url.isCluster {
      single = nil
    } else {
      single = RedisNode(url.nodes[0], Handshake(url), options) { opening.open($0) }
    }
  }

  /// How long a command may take in all: connecting, and then its own time.
  private var longest: Duration { options.connectTimeout + options.commandTimeout }

  /// Connections that were lost or could not be made, since the start.
  public var losses: Int { allNodes.reduce(0) { $0 + $1.health.losses } }

  /// How often the nodes of the cluster were asked for.
  public var refreshes: Int { state.withLock { $0.refreshes } }

  private var allNodes: [RedisNode] { single.map { [$0] } ?? state.withLock { Array($0.nodes.values) } }

  // MARK: Commands

  /// Sends a command and waits for its answer.
  ///
  /// - Parameter exchange: on whose behalf; it decides about the loop, and ends the wait when it ends. `nil`: a task of no
  ///   exchange.
  /// - Throws: ``RedisError``, `.server` for an answer that is an error; or what ends a wait of the exchange.
  public func send(_ command: RedisCommand, on exchange: Exchange? = nil) async throws -> RESPValue {
    try Self.checked(try await reply(to: command, on: exchange))
  }

  /// Sends several commands in one go and waits for all their answers, which come in the same order; errors of single
  /// commands stand in it as ``RESPValue/error(_:)``.
  ///
  /// Other clients' commands may run in between. In a cluster each command goes to its own node.
  ///
  /// - Throws: the first ``RedisError`` but `.server`; then some may have run. Or what ends a wait of the exchange.
  public func send(_ commands: [RedisCommand], on exchange: Exchange? = nil) async throws -> [RESPValue] {
    var pending: [(RedisNode, PendingReply)] = []
    for command in commands {
      let node = try await node(for: command, exchange)
      pending.append((node, try submit(command, to: node, exchange)))
    }
    var replies: [RESPValue] = []
    for (command, (node, reply)) in zip(commands, pending) {
      let value = try await reply.value(on: exchange, atMost: longest)
      replies.append(try await redirected(value, command, from: node, exchange) ?? value)
    }
    return replies
  }

  /// Sends a command whose answer nobody waits for. `false`: it could not be sent.
  @discardableResult public func post(_ command: RedisCommand, shard: Int = 0) -> Bool {
    guard let node = single ?? state.withLock({ $0.routes?.node(command.slot) }) else { return false }
    do {
      try node.link(shard).submit(command.bytes, nil)
      return true
    } catch {
      return false
    }
  }

  private static func checked(_ reply: RESPValue) throws -> RESPValue {
    if case .error(let error) = reply { throw RedisError.server(error) }
    return reply
  }

  /// The answer, which may be an error of the server; redirections are followed.
  func reply(to command: RedisCommand, on exchange: Exchange?) async throws -> RESPValue {
    let node = try await node(for: command, exchange)
    let value = try await ask(node, command, exchange)
    return try await redirected(value, command, from: node, exchange) ?? value
  }

  private func submit(
    _ command: RedisCommand, to node: RedisNode, asking: Bool = false, _ exchange: Exchange?
  ) throws -> PendingReply {
    // A task without an exchange has no clock of its own that would end its wait.
    if exchange == nil, state.withLock({ $0.services == nil }) { throw isClosed ? RedisError.closed : .notRunning }
    let reply = PendingReply()
    let link = node.link(exchange?.shard ?? 0)
    if asking {
      try link.submit(Self.asking + command.bytes, nil, reply)
    } else {
      try link.submit(command.bytes, reply)
    }
    return reply
  }

  private static let asking = RedisCommand("ASKING").bytes

  private func ask(
    _ node: RedisNode, _ command: RedisCommand, asking: Bool = false, _ exchange: Exchange?
  ) async throws -> RESPValue {
    do {
      return try await submit(command, to: node, asking: asking, exchange).value(on: exchange, atMost: longest)
    } catch let error as RedisError {
      // The cluster may have another master for these slots already.
      if url.isCluster { refresh() }
      throw isClosed ? RedisError.closed : error
    }
  }

  private var isClosed: Bool { state.withLock { $0.isClosed } }

  // MARK: Cluster

  private func node(for command: RedisCommand, _ exchange: Exchange?) async throws -> RedisNode {
    if let single { return single }
    if !looked.hasFired { try await firstLook(exchange) }
    return try state.withLock { state throws(RedisError) in
      if state.isClosed { throw .closed }
      if let node = state.routes?.node(command.slot) { return node }
      if let problem = state.problem { throw problem }
      throw .cluster("no node serves slot \(command.slot.map(\.description) ?? "0")")
    }
  }

  private func firstLook(_ exchange: Exchange?) async throws {
    if exchange == nil, state.withLock({ $0.services == nil }) { throw isClosed ? RedisError.closed : .notRunning }
    try await looked.awaited(on: exchange, atMost: longest)
  }

  /// Follows redirections; `nil` when `value` is none.
  private func redirected(
    _ value: RESPValue, _ command: RedisCommand, from node: RedisNode, _ exchange: Exchange?
  ) async throws -> RESPValue? {
    guard url.isCluster, case .error(let error) = value, var step = Redirection(error, from: node.place) else {
      return nil
    }
    var last = error
    var node = node
    for attempt in 0..<options.maxRedirections {
      var asking = false
      switch step {
      case .moved(let slot, let place):
        node = learn(slot, place)
        refresh()
      case .ask(let place):
        node = self.node(at: place)
        asking = true
      case .tryAgain:
        try await pause(attempt, exchange)
      case .down:
        refresh()
        // A cluster that is down stays so for seconds: the caller is not kept for them.
        if attempt >= 3 { throw RedisError.server(last) }
        try await pause(attempt, exchange)
        node = try await self.node(for: command, exchange)
      }
      let reply = try await ask(node, command, asking: asking, exchange)
      guard case .error(let error) = reply, let next = Redirection(error, from: node.place) else { return reply }
      step = next
      last = error
    }
    throw RedisError.cluster("\(command) was sent on \(options.maxRedirections) times, at last by \(last)")
  }

  /// 5 ms, doubled up to 80 ms.
  private func pause(_ attempt: Int, _ exchange: Exchange?) async throws {
    let time = Duration.milliseconds(5 << min(attempt, 4))
    if let exchange { return try await exchange.sleep(for: time) }
    guard let services = state.withLock({ $0.services }) else { throw RedisError.notRunning }
    try await services.sleep(for: time)
  }

  private func learn(_ slot: HashSlot, _ place: RedisURL.Node) -> RedisNode {
    let node = node(at: place)
    state.withLock { state in state.routes = state.routes?.learning(slot, node) }
    return node
  }

  /// The node at a place; made when it is first heard of.
  private func node(at place: RedisURL.Node) -> RedisNode {
    state.withLock { Self.node(at: place, in: &$0, self) }
  }

  private static func node(at place: RedisURL.Node, in state: inout State, _ client: RedisClient) -> RedisNode {
    if let node = state.nodes[place] { return node }
    let opening = client.opening
    let node = RedisNode(place, Handshake(client.url), client.options) { opening.open($0) }
    state.nodes[place] = node
    return node
  }

  /// Asks the background task to look at the cluster anew. However many ask, it looks once.
  private func refresh() { _ = state.withLock { $0.refresh }?.yield() }

  // MARK: Running

  /// Opens the connections and keeps them, until cancelled or ``close()`` is called. Several may run it at once: one does,
  /// and the next takes over when that one is cancelled.
  ///
  /// - Throws: `CancellationError`.
  public func run(_ services: any BackgroundServices) async throws {
    try await shared.run {
      if isClosed { return }
      state.withLock { $0.services = services }
      defer {
        state.withLock { state in
          state.services = nil
          state.refresh = nil
        }
      }
      try await serve(services)
    }
  }

  private func serve(_ services: any BackgroundServices) async throws {
    let (links, open) = AsyncStream<RedisLink>.makeStream()
    opening.start(open)
    defer { opening.stop() }
    for link in allNodes.flatMap(\.links) { open.yield(link) }
    try await withThrowingDiscardingTaskGroup { group in
      if url.isCluster { group.addTask { try await self.watchCluster(services) } }
      for await link in links {
        group.addTask {
          try await services.run(on: link.shard % services.loops) { try await link.run(on: $0) }
        }
      }
      // Closed, or cancelled.
      group.cancelAll()
      try Task.checkCancellation()
    }
  }

  /// Ends every connection: commands that wait end with ``RedisError/closed``, and so does every later one.
  public func close() {
    let (nodes, refresh) = state.withLock { state -> ([RedisNode], AsyncStream<Void>.Continuation?) in
      state.isClosed = true
      return (Array(state.nodes.values), state.refresh)
    }
    for node in nodes { node.retire() }
    single?.retire()
    refresh?.finish()
    opening.close()
    looked.fire()
  }

  // MARK: Watching a cluster

  private func watchCluster(_ services: any BackgroundServices) async throws {
    let (requests, ask) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    state.withLock { $0.refresh = ask }
    var pause = ReconnectPause(options)
    var isLost = false
    while !isClosed {
      do {
        install(try await look())
        if isLost { services.log(.notice, "redis \(url): the nodes of the cluster are known again") }
        isLost = false
        pause.reset()
        looked.fire()
        // So that a cluster in motion is not asked all the time.
        try await services.sleep(for: options.firstPause)
        for await _ in requests { break }
      } catch let error as RedisError {
        if !isLost { services.log(.warning, "redis \(url): \(error); trying again") }
        isLost = true
        state.withLock { $0.problem = error }
        looked.fire()
        try await services.sleep(for: pause.next(randomBits: services.randomBits()))
      }
      try Task.checkCancellation()
    }
  }

  /// Asks one node after the other, those that are known to serve first.
  private func look() async throws -> ClusterMap {
    let serving = state.withLock { $0.routes?.nodes.map(\.place) } ?? []
    var failure = RedisError.cluster("no node answers")
    for place in serving + url.nodes.filter({ !serving.contains($0) }) {
      do {
        return try await look(at: node(at: place))
      } catch let error as RedisError where error != .cancelled {
        failure = error
      }
    }
    throw failure
  }

  private func look(at node: RedisNode) async throws -> ClusterMap {
    state.withLock { $0.refreshes += 1 }
    func asked(_ what: String) async throws -> RESPValue {
      try await submit(RedisCommand("CLUSTER", .text(what)), to: node, nil).value(on: nil, atMost: longest)
    }
    // SHARDS is new in Redis 7, SLOTS goes out of use there.
    let shards = try await asked("SHARDS")
    let map: ClusterMap?
    if case .error = shards {
      map = ClusterMap(slots: try Self.checked(try await asked("SLOTS")), from: node.place)
    } else {
      map = ClusterMap(shards: shards, from: node.place)
    }
    guard let map else { throw RedisError.unexpectedReply(command: "CLUSTER", shards.kind) }
    if map.nodes.isEmpty { throw RedisError.cluster("\(node.place) knows no node that serves slots") }
    return map
  }

  private func install(_ map: ClusterMap) {
    let gone = state.withLock { state -> [RedisNode] in
      let nodes = map.nodes.map { Self.node(at: $0, in: &state, self) }
      state.routes = ClusterRoutes(nodes, map.slots)
      state.problem = nil
      let kept = Set(map.nodes + url.nodes)
      let gone = state.nodes.filter { !kept.contains($0.key) }
      for place in gone.keys { state.nodes[place] = nil }
      return Array(gone.values)
    }
    for node in gone { node.retire() }
  }
}

/// A map of the cluster with the nodes themselves; replaced as a whole.
private final class ClusterRoutes: Sendable {
  let nodes: [RedisNode]
  private let slots: [UInt16]

  init(_ nodes: [RedisNode], _ slots: [UInt16]) {
    self.nodes = nodes
    self.slots = slots
  }

  /// Without a slot any node will do.
  func node(_ slot: HashSlot?) -> RedisNode? {
    guard let slot else { return nodes.first }
    let index = slots[Int(slot.number)]
    return index == ClusterMap.unserved ? nil : nodes[Int(index)]
  }

  func learning(_ slot: HashSlot, _ node: RedisNode) -> ClusterRoutes {
    var nodes = nodes
    var slots = slots
    let index = nodes.firstIndex { $0 === node } ?? nodes.count
    if index == nodes.count { nodes.append(node) }
    slots[Int(slot.number)] = UInt16(index)
    return ClusterRoutes(nodes, slots)
  }
}

/// The way of a new link to the task that runs it; while nobody runs the client, links are found when somebody begins.
private final class LinkOpening: Sendable {
  private struct State {
    var open: AsyncStream<RedisLink>.Continuation?
    var isClosed = false
  }

  private let state = Mutex(State())

  func open(_ link: RedisLink) {
    let (open, isClosed) = state.withLock { ($0.open, $0.isClosed) }
    if isClosed { return link.retire() }
    open?.yield(link)
  }

  func start(_ open: AsyncStream<RedisLink>.Continuation) {
    let isClosed = state.withLock { state in
      state.open = open
      return state.isClosed
    }
    if isClosed { open.finish() }
  }

  func stop() { state.withLock { $0.open = nil } }

  func close() {
    let open = state.withLock { state in
      state.isClosed = true
      return state.open
    }
    open?.finish()
  }
}
