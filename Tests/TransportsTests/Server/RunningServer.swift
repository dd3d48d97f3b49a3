import CShim
import Glibc
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// A server that runs for the length of a test.
struct RunningServer: Sendable {
  let server: Server
  /// Operational lines, in the order in which they were written.
  let log: Mailbox<LogLine>

  /// Where the listener with this name listens; the only one, if no name is given.
  func address(_ name: String? = nil) -> SocketAddress {
    let listener = server.listeners.first { name == nil || $0.name == name }
    return listener?.address ?? .unix("no such listener")
  }
}

/// Runs an app on real sockets, and `body` beside it; cuts what is left and returns when everything is closed.
///
/// ```swift
/// try await withServer {
///   Listener(.socks5, on: "127.0.0.1:0") {} to: { Direct() }
/// } body: { server in
///   let client = try BlockingPeer.connect(server.address())
/// }
/// ```
@discardableResult
func withServer(
  options edit: (inout ServerOptions) -> Void = { _ in }, @ProxyBuilder app: () -> some Proxy,
  body: (RunningServer) async throws -> Void
) async throws -> StopReport {
  let log = Mailbox<LogLine>()
  var options = ServerOptions()
  options.workers = 2
  options.log = { log.put(LogLine(level: $0, text: $1)) }
  edit(&options)
  let server = try Server(app(), options: options)
  let running = Task { try await server.run() }
  do {
    try await body(RunningServer(server: server, log: log))
  } catch {
    running.cancel()
    _ = await running.result
    throw error
  }
  running.cancel()
  return try await running.value
}

/// A blocking server on an ephemeral port, with a thread for each connection.
final class TestOrigin: @unchecked Sendable {
  // Sound as Sendable: both are set once.
  private let origin: BlockingOrigin
  let address: SocketAddress

  init(
    _ address: SocketAddress = .ip(.loopbackV4, port: 0), serve: @escaping @Sendable (BlockingPeer) throws -> Void
  ) throws {
    let origin = try BlockingOrigin(backlog: 512, address)
    self.origin = origin
    self.address = origin.address
    let accepting = startThread(named: "origin") {
      // Ends when nothing was accepted for a minute, or when the process ends.
      while let peer = try? origin.accept() {
        let serving = startThread(named: "origin peer") {
          // A client that goes away in the middle is what many tests are about.
          try? serve(peer)
          peer.close()
        }
        pthread_detach(serving)
      }
    }
    pthread_detach(accepting)
  }

  deinit {
    if case .unix(let path) = address { unlink(path) }
  }

  /// Sends back what comes, and finishes when the other side has.
  static func echo(_ address: SocketAddress = .ip(.loopbackV4, port: 0)) throws -> TestOrigin {
    try TestOrigin(address) { peer in
      while case let bytes = try peer.receive(), !bytes.isEmpty { try peer.send(bytes) }
    }
  }
}

/// A thread that nobody waits for.
func detachedThread(_ body: @escaping @Sendable () -> Void) { pthread_detach(startThread(named: "test", body)) }

/// Waits on a thread of a test, which may block.
func blockingWait<Value: Sendable>(_ value: @escaping @Sendable () async -> Value) -> Value {
  let result = Mutex<Value?>(nil)
  let done = Condition()
  Task {
    let value = await value()
    done.lock()
    result.withLock { $0 = value }
    done.wakeAll()
    done.unlock()
  }
  done.lock()
  defer { done.unlock() }
  while true {
    if let value = result.withLock({ $0 }) { return value }
    done.wait()
  }
}

/// Begins to connect and does not wait for it: what fills a backlog.
func beginConnecting(_ address: SocketAddress) throws -> BlockingPeer {
  let fd = shim_stream_socket(address.family)
  guard fd >= 0 else { throw SystemError("socket", errno) }
  _ = address.withSockaddr { Glibc.connect(fd, $0, $1) }
  return BlockingPeer(fd)
}

extension RunningServer {
  /// The next line of the operational log that is meant; others are passed over.
  func nextLine(_ isMeant: (String) -> Bool) async -> LogLine? {
    while let line = await log.next() {
      if isMeant(line.text) { return line }
    }
    return nil
  }
}
