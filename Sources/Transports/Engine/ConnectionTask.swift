/// A task that serves connections of one loop, one after the other.
///
/// A task keeps the memory of its frames until it ends, and a chain has many frames. A task that rests between two
/// connections hands all of it on: the next connection costs neither a task nor frames, some ten allocations in all.
final class ConnectionTask: @unchecked Sendable {
  // Sound as Sendable: everything here is used on the loop's thread alone (see `Loop`).

  /// Those that rest on one loop. More of them are ended, so that an hour of many connections leaves no memory behind.
  static let mostResting = 64

  private let loop: Loop
  private var connection: Connection?
  private var task: Task<Void, Never>?
  private var continuation: UnsafeContinuation<Void, Never>?

  private init(_ loop: Loop) { self.loop = loop }

  /// Serves a connection by a task that rests, or by a new one. On the loop.
  static func serve(_ connection: Connection) -> ConnectionTask {
    let loop = connection.loop
    let server = loop.restingTasks.popLast() ?? ConnectionTask(loop)
    server.connection = connection
    if server.task == nil {
      server.task = Task(executorPreference: loop) { await server.run() }
    } else {
      server.wake()
    }
    return server
  }

  /// What the connection's task awaits elsewhere sees the cancellation. A cancelled task serves no further connection.
  func cancel() { task?.cancel() }

  /// Lets a task that rests end. On the loop.
  func dismiss() { wake() }

  private func wake() {
    let waiting = continuation
    continuation = nil
    waiting?.resume()
  }

  private func run() async {
    while let connection {
      loop.stall.setLabel(connection.label)
      await connection.serve()
      self.connection = nil
      if Task.isCancelled || loop.isStopping || loop.restingTasks.count >= Self.mostResting { break }
      loop.restingTasks.append(self)
      await suspend { continuation = $0 }
    }
    task = nil
  }
}
