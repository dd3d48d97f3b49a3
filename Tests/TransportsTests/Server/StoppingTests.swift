import Glibc
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// Set once.
private final class Flag: Sendable {
  private let isSet = Atomic<Bool>(false)

  /// True for the first caller.
  func set() -> Bool { !isSet.exchange(true, ordering: .relaxed) }
}

private final class Turns: Sendable {
  let number = Atomic<Int>(0)
}

/// How a server ends: in order, late, at once.
@Suite struct StoppingTests {
  /// A tunnel through `proxy` that has carried a byte.
  private func openTunnel(_ proxy: SocketAddress, _ origin: SocketAddress) async throws -> BlockingPeer {
    try await onThread {
      let (client, reply) = try SOCKS5Client.connect(through: proxy, to: origin)
      #expect(reply?.code == 0)
      try client.peer.send([1])
      #expect(try client.peer.receive(exactly: 1) == [1])
      return client.peer
    }
  }

  /// Runs a server that the test stops itself.
  private func running(
    grace: Duration = .seconds(30), signals: Bool = false, reloading: (@Sendable () async -> Void)? = nil,
    _ body: (Server, SocketAddress) async throws -> Void
  ) async throws -> StopReport {
    var options = ServerOptions()
    options.workers = 2
    options.grace = grace
    options.log = { _, _ in }
    let server = try Server(
      Listener(.socks5, on: "127.0.0.1:0", name: "front") {
      } to: {
        Direct()
      }, options: options)
    let running = Task { try await signals ? server.runUntilTerminated(reloading: reloading) : server.run() }
    do {
      try await body(server, server.listeners[0].address)
    } catch {
      running.cancel()
      throw error
    }
    return try await running.value
  }

  private func isRefused(_ address: SocketAddress) async throws -> Bool {
    try await onThread {
      do {
        _ = try BlockingPeer.connect(address)
        return false
      } catch {
        return true
      }
    }
  }

  @Test func aStopLetsTunnelsEndAndAcceptsNoMore() async throws {
    let origin = try TestOrigin.echo()
    // Those that come between the request to stop and the stop: served, or met by a closed door.
    let latecomers = Mutex(0)
    let report = try await running { server, proxy in
      let client = try await openTunnel(proxy, origin.address)
      server.stop()
      while try await !isRefused(proxy) { latecomers.withLock { $0 += 1 } }
      try await onThread {
        try client.send([2])
        #expect(try client.receive(exactly: 1) == [2])
        client.finishWriting()
        #expect(try client.receiveToEnd() == [])
      }
    }
    let listener = try #require(report.listeners.first)
    #expect((1...1 + latecomers.withLock { $0 }).contains(listener.finished))
    #expect(listener.cut == 0)
    #expect(report.cutExchanges.isEmpty)
    #expect("\(report)".hasPrefix("front on 127.0.0.1:"))
    #expect("\(report)".hasSuffix(": \(listener.finished) finished, 0 cut"))
  }

  @Test func aSecondStopCutsAndSaysWhat() async throws {
    let origin = try TestOrigin.echo()
    var client: BlockingPeer?
    let report = try await running { server, proxy in
      client = try await openTunnel(proxy, origin.address)
      server.stop()
      server.stop()
    }
    #expect(report.listeners.map { [$0.finished, $0.cut] } == [[0, 1]])
    #expect(report.cut == 1)
    let exchange = try #require(report.cutExchanges.first)
    #expect(exchange.listener == "front")
    #expect(exchange.destination?.description == origin.address.description)
    #expect(exchange.upstream == origin.address)
    #expect(exchange.traffic == Traffic(up: 1, down: 1))
    // What was cut short is reset.
    #expect(throws: SystemError("recv", ECONNRESET)) { try client?.receive() }
  }

  @Test func theGraceEnds() async throws {
    let origin = try TestOrigin.echo()
    var client: BlockingPeer?
    let report = try await running(grace: .milliseconds(50)) { server, proxy in
      client = try await openTunnel(proxy, origin.address)
      server.stop()
    }
    #expect(report.cut == 1)
    #expect(throws: SystemError("recv", ECONNRESET)) { try client?.receive() }
  }

  @Test func aServerWithoutConnectionsStopsAtOnce() async throws {
    let report = try await running { server, _ in server.stop() }
    #expect(report.listeners.map { [$0.finished, $0.cut] } == [[0, 0]])
  }

  @Test func aHandshakeUnderWayIsCutWithAnAnswer() async throws {
    var client: BlockingPeer?
    let report = try await running { server, proxy in
      client = try await onThread {
        let client = try SOCKS5Client(proxy)
        #expect(try client.greet(0) == 0)
        return client.peer
      }
      server.stop()
      server.stop()
    }
    #expect(report.cut == 1)
    let answer = try client?.receiveToEnd()
    #expect(answer == [5, 1, 0, 1, 0, 0, 0, 0, 0, 0])
  }

  @Test(.timeLimit(.minutes(1))) func terminationSignalsStop() async throws {
    let origin = try TestOrigin.echo()
    var client: BlockingPeer?
    let (hangUps, hungUp) = AsyncStream<Void>.makeStream()
    let turns = Turns()
    let (neverEnding, keptOpen) = AsyncStream<Void>.makeStream()
    let reloading: @Sendable () async -> Void = {
      _ = hungUp.yield()
      guard turns.number.add(1, ordering: .relaxed).newValue == 3 else { return }
      // The last one is still under way when the server has ended, which does not wait for it but cancels it: that alone ends
      // this wait.
      for await _ in neverEnding {}
    }
    let report = try await running(signals: true, reloading: reloading) { server, proxy in
      client = try await openTunnel(proxy, origin.address)
      // Three of them, one after the other, and the server goes on.
      var heard = hangUps.makeAsyncIterator()
      for _ in 1...3 {
        kill(getpid(), SIGHUP)
        _ = await heard.next()
      }
      #expect(try await !isRefused(proxy))
      kill(getpid(), SIGTERM)
      while try await !isRefused(proxy) {}
      kill(getpid(), SIGINT)
    }
    keptOpen.finish()
    #expect(report.cut == 1)
    #expect(throws: SystemError("recv", ECONNRESET)) { try client?.receive() }
    // The process's own handling is back: this one does nothing to it.
    for signal in [SIGTERM, SIGHUP] {
      var action = sigaction()
      sigaction(signal, nil, &action)
      #expect(action.__sigaction_handler.sa_handler == nil)
    }
  }

  @Test func stoppingUnderLoadLosesNobody() async throws {
    let origin = try TestOrigin.echo()
    let isStopped = Flag()
    let report = try await running { server, proxy in
      try await withThrowingTaskGroup { group in
        for _ in 0..<8 {
          group.addTask {
            try await onThread {
              var served = 0
              while true {
                guard let client = try? SOCKS5Client(proxy) else { return served }
                // Refused by the kernel, or cut off in the backlog: nobody was served.
                guard let method = try? client.greet(0) else { return served }
                // From here on the exchange is ours, and goes on in spite of the stop.
                #expect(method == 0)
                #expect(try client.request(ClientBytes.connect(origin.address))?.code == 0)
                try client.peer.send([9, 9])
                client.peer.finishWriting()
                #expect(try client.peer.receiveToEnd() == [9, 9])
                served += 1
                // A second stop would cut.
                if served == 20, isStopped.set() { server.stop() }
              }
            }
          }
        }
        for try await _ in group {}
      }
    }
    #expect(report.cut == 0)
  }
}
