internal import Pipeline

/// One listener on one loop: takes its connections from the kernel and starts a task for each.
///
/// At a limit of connections it stops to accept. A connection that was taken when the last place went to another loop
/// waits here, unserved, until one ends. Whom the listener's options keep out (`Doorkeeper`) is closed before a task or a chain
/// is spent on it.
final class Intake: LoopMessage, @unchecked Sendable {
  // Sound as Sendable: what changes is used on the loop's thread alone (see `Loop`).

  let loop: Loop
  private let engine: Engine
  /// The listener's limit and the server's, in this order.
  private let limits: [ConnectionLimit]
  private let doorkeeper: Doorkeeper
  private let accepted: MetricCounters<1>
  private let left: @Sendable (_ total: Int) -> Void
  private var handler: any ConnectionHandler
  private var body: @Sendable (Connection) async -> Void
  private var label: StallLabel
  private var acceptor: Acceptor?
  private var waiting: [Socket] = []
  private var ids = ExchangeIDs()

  /// - Parameter left: called when a connection has ended, with the number that is left under the last limit.
  init(
    on loop: Loop, of engine: Engine, limits: [ConnectionLimit], doorkeeper: Doorkeeper, handler: any ConnectionHandler,
    accepted: MetricCounters<1>, left: @escaping @Sendable (_ total: Int) -> Void
  ) {
    self.loop = loop
    self.engine = engine
    self.limits = limits
    self.doorkeeper = doorkeeper
    self.accepted = accepted
    self.left = left
    self.handler = handler
    label = .named(handler.listener.name)
    body = { _ in }
  }

  /// Begins to accept. On the loop.
  func start(_ listening: Listening) {
    replaceHandler(handler)
    let engine = engine
    let acceptor = Acceptor(
      listening.descriptors[loop.index], at: listening.address, on: loop, log: { engine.log($0, $1) }
    ) { [unowned self] in accept($0) }
    self.acceptor = acceptor
    acceptor.start()
  }

  /// Serves new connections by another handler. Those that are open are handed over to it between two exchanges; where that
  /// cannot be, what they do comes to its end. On the loop.
  func replaceHandler(_ handler: any ConnectionHandler) {
    if handler.takesOver(from: self.handler) {
      loop.connections.handOver(self, to: handler)
    } else {
      loop.connections.drain(self)
    }
    self.handler = handler
    label = .named(handler.listener.name)
    // Made once here, and not for every connection.
    // The circle is broken by `close`; until their end, connections keep what serves them.
    body = { [self] connection in
      let id = ids.take()
      if let client = await doorkeeper.client(of: connection, at: handler.listener) {
        await handler.serve(connection, as: client, id: id)
      }
      connection.client.close()
      doorkeeper.forget(connection)
      leave()
    }
  }

  /// Accepts nothing more, and lets what is open come to its end. On the loop.
  func close() {
    loop.connections.drain(self)
    acceptor?.close()
    acceptor = nil
    body = { _ in }
    for socket in waiting { socket.abort() }
    waiting = []
  }

  // MARK: On the loop

  private func accept(_ socket: Socket) {
    accepted.add(1, at: 0)
    guard enter() else {
      waiting.append(socket)
      acceptor?.hold()
      return
    }
    serve(socket)
  }

  private func serve(_ socket: Socket) {
    switch doorkeeper.judge(socket, at: handler.listener, on: engine) {
    case .refuse:
      socket.close()
      leave()
    case .serve(let key):
      let connection = Connection.serve(socket, on: engine, label: label, owner: ObjectIdentifier(self), body)
      // Its task has not begun: it runs on this loop, later.
      connection.countedAs = key
    }
  }

  private func enter() -> Bool {
    for (index, limit) in limits.enumerated() where !limit.enter() {
      limit.wait(self)
      if limit.enter() { continue }
      for earlier in limits[..<index] { earlier.leave() }
      return false
    }
    return true
  }

  private func leave() {
    var total = 0
    for limit in limits { total = limit.leave() }
    left(total)
  }

  /// There may be room again.
  func received(on loop: Loop) {
    while let socket = waiting.first {
      guard enter() else { return }
      waiting.removeFirst()
      serve(socket)
    }
    acceptor?.release()
  }
}
