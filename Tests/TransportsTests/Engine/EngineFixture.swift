import CShim
import Glibc
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// A raw exchange over an accepted socket.
final class TunnelExchange: TCPExchange {
  private let stream: any ByteStream

  init(_ connection: Connection, options: ListenerOptions) {
    stream = connection.client
    let info = ListenerInfo(
      name: "test", transport: "tcp", address: .ip(.loopbackV4, port: 0), options: options)
    let client = connection.client.clientAddress ?? ClientAddress(.ip(.loopbackV4, port: 1))
    super.init(id: 1, client: client, listener: info, runtime: connection)
  }

  override var clientStream: any ByteStream { stream }
}

/// A queue between the loops and the test: what happened, in order.
final class Mailbox<Item: Sendable>: Sendable {
  private let stream: AsyncStream<Item>
  private let continuation: AsyncStream<Item>.Continuation

  init() { (stream, continuation) = AsyncStream.makeStream(of: Item.self) }

  func put(_ item: Item) { continuation.yield(item) }

  /// The next item; waits for it.
  func next() async -> Item? {
    for await item in stream { return item }
    return nil
  }
}

/// One line of the operational log.
struct LogLine: Sendable, Equatable {
  var level: LogLevel
  var text: String
}

/// An engine that listens on an ephemeral loopback port and serves every connection with one closure.
final class EngineFixture: Sendable {
  typealias Handler = @Sendable (Connection) async throws -> Void

  let engine: Engine
  /// Counts of this engine alone, whatever other tests do.
  let counters = EngineCounters()
  let address: SocketAddress
  let logged = Mailbox<LogLine>()
  /// How each connection's handler ended.
  let ended = Mailbox<Result<Void, any Error>>()
  private let listening: Listening
  private let acceptors: Mutex<[Acceptor]>

  init(
    _ options: EngineOptions = EngineOptions(loops: 1), on address: SocketAddress = .ip(.loopbackV4, port: 0),
    handler: @escaping Handler
  ) async throws {
    var options = options
    let logged = self.logged
    options.counters = counters
    options.log = { logged.put(LogLine(level: $0, text: $1)) }
    engine = try Engine(options)
    listening = try Listening.open(address, count: engine.loops.count)
    self.address = listening.address
    let (engine, ended, listening) = (engine, ended, listening)
    let label = StallLabel.named("listener test")
    acceptors = Mutex([])
    for (loop, descriptor) in zip(engine.loops, listening.descriptors) {
      let acceptor = await loop.run { loop in
        let acceptor = Acceptor(
          descriptor, at: listening.address, on: loop, log: { logged.put(LogLine(level: $0, text: $1)) }
        ) { socket in
          Connection.serve(socket, on: engine, label: label) { connection in
            do {
              try await handler(connection)
              ended.put(.success(()))
            } catch {
              ended.put(.failure(error))
            }
          }
        }
        acceptor.start()
        return acceptor
      }
      acceptors.withLock { $0.append(acceptor) }
    }
  }

  func stop() async {
    for acceptor in acceptors.withLock({ $0 }) {
      await acceptor.loop.run { _ in acceptor.close() }
    }
    listening.removeFile()
    let engine = engine
    // The thread that stops an engine waits for its threads.
    try? await onThread { engine.stop() }
  }

  /// A tunnel from every client to `origin`.
  static func tunnel(
    to origin: SocketAddress, options: ListenerOptions = ListenerOptions(),
    engine: EngineOptions = EngineOptions(loops: 1), results: Mailbox<Summary>? = nil,
    prepare: @escaping @Sendable (TunnelExchange) -> Void = { _ in }
  ) async throws -> EngineFixture {
    try await EngineFixture(engine) { connection in
      let exchange = TunnelExchange(connection, options: options)
      prepare(exchange)
      let upstream = try await exchange.dial(approved(origin))
      let summary = try await exchange.tunnel(through: upstream)
      results?.put(summary)
    }
  }
}

/// Approves an address for dialling.
func approved(_ addresses: SocketAddress...) throws -> ApprovedDestination {
  guard case .ip(let first, let port)? = addresses.first else { return .unixSocket(addresses[0].unixPath) }
  let all = addresses.compactMap { address in
    if case .ip(let host, _) = address { host } else { nil }
  }
  return try AddressPolicy.anything.approve(Endpoint(.ip(first), port: port), resolved: all)
}

extension SocketAddress {
  var unixPath: String {
    if case .unix(let path) = self { path } else { "" }
  }
}

/// Bytes without a pattern that a shifted or repeated block could imitate.
func noise(_ count: Int, seed: UInt64) -> [UInt8] {
  var random = FastRandom(state: (seed, 2, 3, 4))
  return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
    // Words first; the last bytes are those of one more word.
    var offset = 0
    while offset < count {
      var word = random.next()
      memcpy(buffer.baseAddress! + offset, &word, min(8, count - offset))
      offset += 8
    }
    initialized = count
  }
}

extension EngineFixture {
  /// Returns when a connection has been accepted and its task has nothing left to do but to wait.
  func parked() async {
    while true {
      // A job behind every job that is ready.
      let count = await engine.loops[0].run { $0.connections.count }
      if count > 0 || engine.loops.count > 1 { break }
      await Task.yield()
    }
    for _ in 0..<20 { await engine.onEveryLoop { _ in } }
  }
}

extension Socket {
  /// Everything that is there now, up to 64 KiB.
  func readAll() throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = bytes.withUnsafeMutableBytes { buffer in receive(buffer.baseAddress!, buffer.count) }
    switch count {
    case .bytes(let count): return Array(bytes[..<count])
    case .end, .wouldBlock: return []
    case .failed(let code): throw Socket.streamError(code)
    }
  }

  /// Waits for one byte.
  func readByte(_ connection: Connection) async throws -> UInt8? {
    while true {
      try await connection.wait(for: self, .readable)
      var byte: UInt8 = 0
      switch receive(&byte, 1) {
      case .bytes: return byte
      case .end: return nil
      case .wouldBlock: continue
      case .failed(let code): throw Socket.streamError(code)
      }
    }
  }
}

extension SocketAddress {
  var port: UInt16 {
    if case .ip(_, let port) = self { port } else { 0 }
  }
}

extension EngineFixture {
  /// Stops, and expects that every scarce thing has been given back.
  func stopAndExpectNothingLeft(sourceLocation: SourceLocation = #_sourceLocation) async {
    await stop()
    #expect(counters.connections.value == 0, "connections", sourceLocation: sourceLocation)
    #expect(counters.sockets.value == 0, "sockets", sourceLocation: sourceLocation)
    #expect(counters.timers.value == 0, "timers", sourceLocation: sourceLocation)
    #expect(counters.pipesInFlight.value == 0, "pipes", sourceLocation: sourceLocation)
    #expect(counters.spilledBytes.value == 0, "spilled bytes", sourceLocation: sourceLocation)
  }
}

extension EngineFixture {
  /// The next line of the log that is meant; others are passed over.
  func nextLine(_ isMeant: (String) -> Bool) async -> LogLine? {
    while let line = await logged.next() {
      if isMeant(line.text) { return line }
    }
    return nil
  }

  /// Connections that live on all loops.
  func connectionCount() async -> Int {
    var count = 0
    for loop in engine.loops { count += await loop.run { $0.connections.count } }
    return count
  }
}
