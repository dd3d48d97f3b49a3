import Glibc
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// Hundreds of exchanges, most of which go wrong in some way, leave nothing behind and are each accounted once.
@Suite struct FaultTests {
  enum Fault: CaseIterable {
    case none, refused, clientResets, clientLeaves, noSOCKS, wrongPassword, noPassword, upstreamResets, bind,
      silentClient
  }

  /// Performs one exchange. It ends on the client's side, however.
  private static func perform(
    _ fault: Fault, _ proxy: SocketAddress, echo: SocketAddress, resetting: SocketAddress, free: SocketAddress
  ) throws {
    let client = try SOCKS5Client(proxy)
    func logIn(_ password: String = "secretThicket") throws -> UInt8? {
      guard try client.greet(0, 2) == 2 else { return nil }
      return try client.logIn("fierceRabbit", password)
    }
    switch fault {
    case .none:
      guard try logIn() == 0, try client.request(ClientBytes.connect(echo))?.code == 0 else { return }
      try client.peer.send([1, 2, 3])
      client.peer.finishWriting()
      _ = try client.peer.receiveToEnd()
    case .refused:
      guard try logIn() == 0 else { return }
      _ = try client.request(ClientBytes.connect(free))
    case .clientResets:
      guard try logIn() == 0, try client.request(ClientBytes.connect(echo))?.code == 0 else { return }
      try client.peer.send([UInt8](repeating: 7, count: 20_000))
      client.peer.reset()
    case .clientLeaves:
      try client.peer.send([5])
    case .noSOCKS:
      try client.peer.send(Array("GET / HTTP/1.1\r\n\r\n".utf8))
      _ = try client.peer.receiveToEnd()
    case .wrongPassword:
      _ = try logIn("guess")
    case .noPassword:
      _ = try client.greet(0)
    case .upstreamResets:
      guard try logIn() == 0, try client.request(ClientBytes.connect(resetting))?.code == 0 else { return }
      _ = try client.peer.receiveToEnd()
    case .bind:
      guard try logIn() == 0 else { return }
      _ = try client.request(ClientBytes.connect(v4: [0, 0, 0, 0], port: 0, command: 2))
    case .silentClient:
      // Neither a word nor an end: the handshake's time ends it.
      _ = try client.peer.receiveToEnd()
    }
  }

  @Test(arguments: [false, true]) func everyExchangeIsAccountedOnceAndNothingIsLeft(stopsHalfway: Bool) async throws {
    let counters = EngineCounters()
    let ledger = Ledger()
    let echo = try TestOrigin.echo()
    let resetting = try TestOrigin { $0.reset() }
    let free = try BlockingOrigin().address
    var options = ServerOptions()
    options.workers = 2
    options.log = { _, _ in }
    options.engine.counters = counters
    let server = try Server(
      Listener(.socks5, on: "127.0.0.1:0") {
        ledger
        OneUser()
      } to: {
        Direct()
      }
      .handshakeTimeout(.milliseconds(200)).maxConnections(20), options: options)
    let running = Task { try await server.run() }
    let proxy = server.listeners[0].address
    let (rounds, workers) = (40, 12)
    await withTaskGroup { group in
      for worker in 0..<workers {
        group.addTask {
          // On one thread, one after the other; what goes wrong on the client's side is what is tested.
          try? await onThread {
            for round in 0..<rounds {
              let fault = Fault.allCases[(worker * 7 + round) % Fault.allCases.count]
              try? Self.perform(
                fault, proxy, echo: echo.address, resetting: resetting.address, free: free)
              if stopsHalfway, worker == 0, round == rounds / 2 {
                server.stop()
                server.stop()
              }
            }
          }
        }
      }
    }
    server.stop()
    let report = try await running.value
    let account = ledger.account
    #expect(account.ended == account.began)
    #expect(account.ids.count == account.began)
    if stopsHalfway {
      #expect(account.began >= 20)
    } else {
      #expect(account.began == rounds * workers)
      #expect(report.cut == 0)
      let each = rounds * workers / Fault.allCases.count
      // On a machine that is busy a client may be late with its handshake.
      let late = account.outcomes[.handshakeTimeout, default: 0] - each
      #expect(late >= 0)
      for kind in [Rejection.Kind.credentialsInvalid, .credentialsRequired, .unsupportedCommand, .malformed] {
        #expect((each - late...each).contains(account.outcomes[kind, default: 0]))
      }
      // An upstream that resets at once may do so before its connection is seen to be made.
      #expect(account.outcomes[.connectionRefused, default: 0] >= each - late)
    }
    #expect(server.openConnections == 0)
    #expect(counters.sockets.value == 0)
    #expect(counters.connections.value == 0)
    #expect(counters.timers.value == 0)
    let counted = try #require(server.counts().first?.elements.first)
    #expect(counted.entered == account.began)
  }

  /// Counts what begins and ends.
  struct Ledger: Middleware {
    struct Account {
      var began = 0
      var ended = 0
      var ids: Set<UInt64> = []
      var outcomes: [Rejection.Kind: Int] = [:]
    }

    private final class Book: Sendable {
      let account = Mutex(Account())
    }

    private let book = Book()

    var account: Account { book.account.withLock { $0 } }

    func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
      let id = exchange.id
      book.account.withLock { account in
        account.began += 1
        account.ids.insert(id)
      }
      do {
        let summary = try await next()
        book.account.withLock { $0.ended += 1 }
        return summary
      } catch {
        let kind = Rejection(error).kind
        book.account.withLock { account in
          account.ended += 1
          account.outcomes[kind, default: 0] += 1
        }
        throw error
      }
    }
  }
}
