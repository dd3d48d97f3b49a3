internal import Glibc
public import Pipeline
internal import Synchronization

/// Runs what an app declares: listens, serves every connection by its listener's chain, and ends in order.
///
/// ```swift
/// let server = try Server(Listener(.tcp, on: "127.0.0.1:9000") { AccessLog() } to: { Upstream("10.0.0.7:5432") })
/// let report = try await server.run()
/// ```
///
/// When the initialiser has returned, every chain is valid and every address is bound. ``run()`` accepts until ``stop()``
/// is called (or the task is cancelled), and returns when every descriptor is closed and every task has ended.
public final class Server: Sendable {
  private struct State {
    var ports: [Port] = []
    /// Ports that a reload has removed: their connections may still be open.
    var retired: [Port] = []
    var isReloading = false
    var engine: Engine?
    var background: Supervisor?
    var wasRun = false
  }

  private let options: ServerOptions
  private let shards: Int
  private let total: ConnectionLimit
  /// Of operators: they have no part in the server's limit, and hold up no stop.
  private let operators = ConnectionLimit(nil)
  private let isEnding = Atomic<Bool>(false)
  private let state = Mutex(State())
  /// What is asked for metrics, and what its predecessors had counted.
  let ledger: Mutex<MetricLedger>
  private let events: AsyncStream<ServerLifecycle.Event>
  private let say: AsyncStream<ServerLifecycle.Event>.Continuation

  /// Places and validates every chain and binds every address: all of them or none.
  ///
  /// - Throws: ``ConfigurationError``, one sentence for each mistake: what, where, what is allowed; for an address that
  ///   cannot be listened on the address and the reason.
  public init(_ proxy: some Proxy, options: ServerOptions = ServerOptions()) throws {
    try options.check()
    self.options = options
    shards = options.workers ?? usableProcessors
    total = ConnectionLimit(options.maxConnections)
    (events, say) = AsyncStream.makeStream()
    ignoreBrokenPipes()
    let plan = try ServicePlan(proxy, shards: shards, counting: options.counting)
    let ports = try Self.bind(plan.entries, shards: shards)
    ledger = Mutex(MetricLedger(plan.entries.map(\.service)))
    state.withLock { $0.ports = ports }
  }

  deinit {
    // Never run: what was bound is let go of.
    for port in state.withLock({ $0.ports }) { port.release() }
  }

  /// - Parameter before: ports that these replace, or have replaced: one of the same name hands its counts on.
  private static func bind(
    _ entries: [ServicePlan.Entry], shards: Int, replacing before: [Port] = []
  ) throws -> [Port] {
    var ports: [Port] = []
    do {
      for entry in entries {
        let listening: Listening
        do {
          listening = try Listening.open(
            entry.address, count: shards, mode: entry.service.options.unixSocketMode)
        } catch {
          throw ConfigurationError(listener: entry.name, messages: ["\(error)"])
        }
        let counts = before.first { $0.name == entry.name }?.counts ?? PortCounts(loops: shards)
        ports.append(Port(entry, on: listening, counts: counts))
      }
    } catch {
      for port in ports { port.release() }
      throw error
    }
    return ports
  }

  // MARK: What it serves

  /// The listeners with the addresses that they really got, in the order in which they were declared.
  public var listeners: [ListenerInfo] { state.withLock { $0.ports.map(\.listener) } }

  /// Connections that are open, over all listeners but those of operators.
  public var openConnections: Int { total.count }

  /// Whether the server still takes what comes: until the moment in which a stop is asked for.
  public var isReady: Bool { !isEnding.load(ordering: .sequentiallyConsistent) }

  /// Connections of each listener that were closed before a chain saw them, since the start.
  public func refusedConnections() -> [RefusedConnections] {
    state.withLock { $0.ports }.map { port in
      RefusedConnections(
        listener: port.name, perClient: port.counts.tooMany.count, proxyProtocol: port.counts.notAnnounced.count
      )
    }
  }

  /// What runs, with what every element has counted so far.
  public func plan() -> Plan { Plan(state.withLock { $0.ports.map(\.service) }, counted: true) }

  /// Live counts of every element of every chain, by listener.
  public func counts() -> [(listener: String, elements: [ElementCounts])] {
    state.withLock { $0.ports.map { ($0.name, $0.service) } }.map { ($0.0, $0.1.counts()) }
  }

  /// The exchanges that are open now, in the order of their numbers, at most ``ExchangeReport/limit`` of them.
  ///
  /// - Parameters:
  ///   - id: only those with greater numbers: the last one of the page before.
  ///   - limit: how many at most, 1...``ExchangeReport/limit``.
  ///   - filter: which of them, asked on their loops.
  public func openExchanges(
    after id: UInt64 = 0, limit: Int = ExchangeReport.limit,
    where filter: @escaping @Sendable (ExchangeReport) -> Bool = { _ in true }
  ) async -> [ExchangeReport] {
    guard let engine = state.withLock({ $0.engine }) else { return [] }
    let limit = max(1, min(limit, ExchangeReport.limit))
    var page = ExchangePage(after: id, limit: limit)
    for loop in engine.loops {
      // From the end, and a part at a time: a million tunnels do not hold the loop. One that leaves meanwhile is replaced by the
      // last of the list, which was seen already, so that none is missed.
      var end = Int.max
      while end > 0 {
        (page, end) = await loop.run { [page, end] loop in
          var page = page
          let end = loop.connections.forEach(before: end, atMost: ExchangePage.part) { connection in
            if let exchange = connection.exchange { page.take(exchange, where: filter) }
          }
          return (page, end)
        }
      }
    }
    return page.reports
  }

  /// Those that accept, those that did, and what they run on.
  var parts: (ports: [Port], retired: [Port], engine: Engine?) {
    state.withLock { ($0.ports, $0.retired, $0.engine) }
  }

  /// The groups of backends of all chains, each once, in the order in which they stand there.
  public var upstreamGroups: [UpstreamGroup] {
    var groups: [UpstreamGroup] = []
    for port in parts.ports {
      for entry in port.service.placement.entries {
        guard let group = entry.component.state as? UpstreamGroup, !groups.contains(where: { $0 === group }) else {
          continue
        }
        groups.append(group)
      }
    }
    return groups
  }

  // MARK: Running

  /// Accepts and serves until the server is stopped, and returns when everything has ended. To be called once.
  ///
  /// Cancelling the task cuts every connection at once and still returns only when everything has ended.
  ///
  /// - Throws: ``ConfigurationError`` when the process has no descriptors for the loops.
  public func run() async throws -> StopReport { try await run(taking: nil) }

  /// As `run()`, with the process's signals asking for the stop.
  func run(taking signals: TerminationSignals?) async throws -> StopReport {
    let engine = try begin()
    // A task of its own: it must hear the events of the end, and a cancelled one would hear nothing.
    let serving = Task { await serve(on: engine, signals) }
    return await withTaskCancellationHandler {
      await serving.value
    } onCancel: {
      say.yield(.cancelled)
    }
  }

  /// Asks for an orderly stop: accept no more, let exchanges end within the grace, then cut. A second call cuts at once.
  /// From any thread; returns at once.
  public func stop() {
    // Before anything is done about it: a balancer that asks shall hear it first.
    isEnding.store(true, ordering: .sequentiallyConsistent)
    say.yield(.stop)
  }

  private func begin() throws -> Engine {
    let wasRun = state.withLock { state in
      defer { state.wasRun = true }
      return state.wasRun
    }
    precondition(!wasRun, "a server runs once")
    var engineOptions = options.engine
    engineOptions.loops = shards
    engineOptions.log = options.log
    let engine: Engine
    do {
      engine = try Engine(engineOptions)
    } catch {
      throw ConfigurationError(messages: ["the event loops cannot be started: \(error)"])
    }
    let background = Supervisor(ServerBackground(engine), on: engine.loops[0])
    state.withLock { state in
      state.engine = engine
      state.background = background
    }
    return engine
  }

  /// How long operators may take for their last answers.
  private static let lastAnswers = Duration.seconds(1)

  private func serve(on engine: Engine, _ signals: TerminationSignals?) async -> StopReport {
    await engine.loops[0].run { signals?.start(on: $0) }
    superviseBackground()
    for port in state.withLock({ $0.ports }) { await start(port, on: engine) }
    var lifecycle = ServerLifecycle()
    var report = StopReport()
    let alarm = Alarm(on: engine.loops[0])
    let patience = Alarm(on: engine.loops[0])
    events: for await event in events {
      switch lifecycle.handle(event) {
      case .nothing: break
      case .drain:
        options.log(.notice, "stopping: \(total.count) connections may go on for \(options.grace)")
        await stopAccepting(on: engine)
        alarm.set(for: Loop.preciseNow + options.grace) { [say] isCancelled in
          if !isCancelled { say.yield(.graceIsOver) }
        }
        if total.count == 0 { say.yield(.empty) }
      case .cut:
        await stopAccepting(on: engine)
        report.cutExchanges = await cut(on: engine)
        if total.count == 0 { say.yield(.empty) }
      case .closeOperators:
        for port in state.withLock({ $0.ports }) where port.isForOperators { await port.stopAccepting(on: engine) }
        patience.set(for: Loop.preciseNow + Self.lastAnswers) { [say] isCancelled in
          if !isCancelled { say.yield(.patienceIsOver) }
        }
        if operators.count == 0 { say.yield(.operatorsGone) }
      case .finish: break events
      }
    }
    alarm.cancel()
    patience.cancel()
    await engine.loops[0].run { signals?.stop(on: $0) }
    let background = state.withLock { state in
      defer {
        state.engine = nil
        state.background = nil
      }
      return state.background
    }
    await background?.stop()
    let (ports, retired) = state.withLock { ($0.ports, $0.retired) }
    report.listeners = ports.map(\.stopReport) + retired.map(\.stopReport).filter { $0.cut > 0 }
    await engine.stopped()
    options.log(.notice, "stopped: \(report)")
    for exchange in report.cutExchanges { options.log(.notice, "cut: \(exchange)") }
    return report
  }

  private func start(_ port: Port, on engine: Engine) async {
    let event = port.isForOperators ? ServerLifecycle.Event.operatorsGone : .empty
    await port.start(on: engine, total: port.isForOperators ? operators : total) { [self] left in
      if left == 0, isEnding.load(ordering: .sequentiallyConsistent) { say.yield(event) }
    }
  }

  private func stopAccepting(on engine: Engine) async {
    // Before the count is looked at, so that the last connection's end is not missed.
    isEnding.store(true, ordering: .sequentiallyConsistent)
    for port in state.withLock({ $0.ports }) where !port.isForOperators { await port.stopAccepting(on: engine) }
  }

  private func cut(on engine: Engine) async -> [ExchangeReport] {
    var reports: [ExchangeReport] = []
    var counts: [String: Int] = [:]
    // Those that were moved to another address first: what they have is theirs, the rest is the present port's of that name.
    let ports = state.withLock { $0.retired + $0.ports }.map { (port: $0, open: $0.limit.count) }
    let operators = Set(state.withLock { $0.ports }.filter(\.isForOperators).map(\.name))
    for loop in engine.loops {
      let (loopReports, loopCounts) = await loop.run { loop in
        var reports: [ExchangeReport] = []
        var counts: [String: Int] = [:]
        loop.connections.cut { connection in
          if operators.contains(connection.label.name) { return false }
          counts[connection.label.name, default: 0] += 1
          if reports.count < ExchangeReport.limit, let exchange = connection.exchange {
            reports.append(ExchangeReport(exchange))
          }
          return true
        }
        return (reports, counts)
      }
      reports += loopReports
      counts.merge(loopCounts, uniquingKeysWith: +)
    }
    for (index, (port, open)) in ports.enumerated() {
      let left = counts[port.name] ?? 0
      let isLast = !ports[(index + 1)...].contains { $0.port.name == port.name }
      let own = isLast ? left : min(left, open)
      counts[port.name] = left - own
      port.addCut(own)
    }
    return Array(reports.prefix(ExchangeReport.limit))
  }

  private func superviseBackground() {
    let (background, services) = state.withLock { ($0.background, $0.ports.map(\.service)) }
    background?.supervise(services.map(\.placement))
  }

  // MARK: Reload

  /// Serves new exchanges by another configuration; exchanges that are open keep the chain with which they began, and elements
  /// that both have keep their state. A kept HTTP connection takes the new chain with its next request, a tunnel never.
  ///
  /// A listener is the same if name and address are. One that is new is bound, one that is gone accepts no more.
  ///
  /// - Throws: ``ConfigurationError``; then nothing has changed. Also while another reload is under way, or the server is
  ///   stopping.
  public func reload(_ proxy: some Proxy) async throws {
    let isFree = state.withLock { state in
      defer { state.isReloading = true }
      return !state.isReloading
    }
    guard isFree else { throw ConfigurationError(messages: ["another reload is under way"]) }
    defer { state.withLock { $0.isReloading = false } }
    guard !isEnding.load(ordering: .sequentiallyConsistent) else {
      throw ConfigurationError(messages: ["the server is stopping"])
    }
    let (ports, retired, engine) = parts
    let old = Dictionary(uniqueKeysWithValues: ports.map { ($0.name, $0) })
    let plan = try ServicePlan(
      proxy, shards: shards, counting: options.counting, replacing: old.mapValues { $0.service.placement })
    func kept(_ entry: ServicePlan.Entry) -> Port? {
      old[entry.name].flatMap { port in
        port.isBound(to: entry.address) && port.isForOperators == entry.service.options.isForOperators ? port : nil
      }
    }
    // The last step that may fail.
    let added = try Self.bind(plan.entries.filter { kept($0) == nil }, shards: shards, replacing: ports + retired)
    var next: [Port] = []
    for entry in plan.entries {
      if let port = kept(entry) {
        await port.replaceService(entry, on: engine)
        next.append(port)
      } else if let port = added.first(where: { $0.name == entry.name }) {
        next.append(port)
      }
    }
    let removed = ports.filter { port in !next.contains { $0 === port } }
    ledger.withLock { ledger in
      let (ended, left) = state.withLock { state in
        let ended = state.retired.filter { $0.limit.count == 0 }
        state.retired = state.retired.filter { port in !ended.contains { $0 === port } } + removed
        state.ports = next
        return (ended, next + state.retired)
      }
      ledger.replace(by: next.map(\.service), ended, left)
    }
    superviseBackground()
    if let engine { for port in added { await start(port, on: engine) } }
    for port in removed { await port.stopAccepting(on: engine) }
    // A stop that began meanwhile has not seen those that were added.
    if let engine, isEnding.load(ordering: .sequentiallyConsistent) {
      for port in added where !port.isForOperators { await port.stopAccepting(on: engine) }
    }
  }
}

extension Engine {
  /// Stops and waits; the waiting is done by a thread of its own, because it blocks.
  func stopped() async {
    await withCheckedContinuation { continuation in
      pthread_detach(
        startThread(named: "sluice-stop") { [self] in
          stop()
          continuation.resume()
        })
    }
  }
}
