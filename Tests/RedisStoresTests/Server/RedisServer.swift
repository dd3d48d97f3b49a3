import Glibc
import Pipeline
import RedisStores
import Synchronization
import Testing

@testable import Transports

/// A real redis-server of the test's own, on a loopback port, without persistence.
///
/// It runs behind a shell that waits for the end of its input: so the server is killed when the test says so, and also when
/// the test's process dies in whatever way.
final class RedisServer: Sendable {
  let port: UInt16
  private let process: Mutex<(pid: pid_t, input: Int32)?>

  /// - Parameters:
  ///   - arguments: as on the command line of redis-server.
  init(_ arguments: String...) throws {
    port = try Self.freePort()
    process = Mutex(nil)
    try start(arguments)
  }

  deinit { kill() }

  var url: String { "redis://127.0.0.1:\(port)" }

  /// A loopback port that nobody uses at the moment.
  static func freePort() throws -> UInt16 {
    // Closed when it goes away.
    try SilentListener().port
  }

  private func start(_ arguments: [String]) throws {
    let script = #"redis-server "$@" & child=$!; read -r _; kill -9 $child; wait $child 2>/dev/null"#
    let settings = [
      "--port", "\(port)", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/tmp", "--daemonize",
      "no",
    ]
    var input: [Int32] = [0, 0]
    var output: [Int32] = [0, 0]
    guard pipe(&input) == 0, pipe(&output) == 0 else { throw SystemError("pipe", errno) }
    for descriptor in input + output { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, input[0], 0)
    posix_spawn_file_actions_adddup2(&actions, output[1], 1)
    // Threads of the pool block every signal, and a shell that does not hear SIGCHLD waits for ever.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    let words = ["/bin/sh", "-c", script, "sh"] + settings + arguments
    let pointers = words.map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    var pid: pid_t = 0
    let code = posix_spawn(&pid, "/bin/sh", &actions, &attributes, pointers, environ)
    close(input[0])
    close(output[1])
    defer { close(output[0]) }
    guard code == 0 else { throw SystemError("posix_spawn", code) }
    process.withLock { $0 = (pid, input[1]) }
    try Self.awaitReady(output[0])
  }

  /// The server says when it accepts connections.
  private static func awaitReady(_ output: Int32) throws {
    var said = ""
    var buffer = [UInt8](repeating: 0, count: 4096)
    while !said.contains("eady to accept connections") {
      let count = read(output, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw ServerFailure(description: "redis-server ended: \(said.suffix(400))") }
      said += String(decoding: buffer[..<count], as: UTF8.self)
    }
  }

  /// SIGKILL, and waits until it is gone. Safe to call more than once.
  func kill() {
    let taken = process.withLock { process in
      defer { process = nil }
      return process
    }
    guard let (pid, input) = taken else { return }
    close(input)
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
  }

  /// After `kill()`: an empty server on the same port.
  func restart() throws { try start([]) }
}

struct ServerFailure: Error, CustomStringConvertible { let description: String }

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
