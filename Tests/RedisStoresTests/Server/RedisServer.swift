import Glibc
import Pipeline
import RealPrograms
import RedisStores
import Synchronization
import Testing

@testable import Transports

/// A real redis-server of the test's own, on a loopback port, without persistence.
final class RedisServer: Sendable {
  let port: UInt16
  private let program = Mutex<RealProgram?>(nil)

  /// - Parameters:
  ///   - arguments: as on the command line of redis-server.
  init(_ arguments: String...) throws {
    port = try Self.freePort()
    try start(arguments)
  }

  var url: String { "redis://127.0.0.1:\(port)" }

  /// A loopback port that nobody uses at the moment.
  static func freePort() throws -> UInt16 {
    // Closed when it goes away.
    try SilentListener().port
  }

  private func start(_ arguments: [String]) throws {
    let settings = [
      "--port", "\(port)", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/tmp", "--daemonize",
      "no",
    ]
    let started = try RealProgram(
      ["redis-server"] + settings + arguments, ready: "eady to accept connections")
    program.withLock { $0 = started }
  }

  /// SIGKILL, and waits until it is gone. Safe to call more than once.
  func kill() { program.withLock { $0 }?.kill() }

  /// After `kill()`: an empty server on the same port.
  func restart() throws { try start([]) }
}

/// An engine of the test's own, with what background tasks get from it, and a log.
final class RedisWorld: Sendable {
  let engine: Engine
  let services: ServerBackground
  private let tasks = Mutex<[Task<Void, any Error>]>([])

  init(loops: Int = 2) throws {
    var options = EngineOptions(loops: loops)
    let log = LineLog()
    options.log = { _, text in log.add(text) }
    engine = try Engine(options)
    services = ServerBackground(engine)
    self.log = log
  }

  let log: LineLog

  /// Runs it until the end of the test.
  func run(_ body: @escaping @Sendable (ServerBackground) async throws -> Void) {
    let services = services
    let task = Task { try await body(services) }
    tasks.withLock { $0.append(task) }
  }

  func takeTasks() -> [Task<Void, any Error>] {
    tasks.withLock { tasks in
      defer { tasks = [] }
      return tasks
    }
  }

  /// Ends what runs, in order, and waits for it.
  func stop() async {
    for task in takeTasks() {
      task.cancel()
      _ = await task.result
    }
    await engine.stopped()
  }
}

final class LineLog: Sendable {
  private let state = Mutex<[String]>([])
  func add(_ line: String) { state.withLock { $0.append(line) } }
  var lines: [String] { state.withLock { $0 } }
}

/// Runs a body with an engine, which is stopped on every path.
func withWorld(loops: Int = 2, _ body: (RedisWorld) async throws -> Void) async throws {
  let world = try RedisWorld(loops: loops)
  do {
    try await body(world)
  } catch {
    await world.stop()
    throw error
  }
  await world.stop()
}
