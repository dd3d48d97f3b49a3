import Glibc
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// A server takes a new configuration while it serves.
@Suite struct ReloadTests {
  /// Counts exchanges in a state object that a reload carries over.
  private struct Counter: Middleware {
    final class Count: Sendable {
      let value = Atomic<Int>(0)
    }

    var count = Count()
    var state: AnyObject? { count }

    func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
      count.value.add(1, ordering: .relaxed)
      return try await next()
    }

    mutating func adopt(from old: Counter) { count = old.count }
  }

  /// What a connection through `proxy` receives first.
  private func greeting(_ proxy: SocketAddress) async throws -> (BlockingPeer, [UInt8]) {
    try await onThread {
      let client = try BlockingPeer.connect(proxy)
      return (client, try client.receive(exactly: 1))
    }
  }

  private func greeter(_ byte: UInt8) throws -> TestOrigin {
    try TestOrigin { peer in
      try peer.send([byte])
      while case let bytes = try peer.receive(), !bytes.isEmpty { try peer.send(bytes) }
    }
  }

  @Test func newConnectionsTakeTheNewChainAndOldOnesKeepTheirs() async throws {
    let (first, second) = (try greeter(1), try greeter(2))
    let counter = Counter()
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0", name: "in") {
        counter
      } to: {
        Upstream("\(first.address)")
      }
    } body: { server in
      let proxy = server.address()
      let (old, before) = try await greeting(proxy)
      #expect(before == [1])
      try await server.server.reload(
        Listener(.tcp, on: "127.0.0.1:0", name: "in") {
          Counter()
        } to: {
          Upstream("\(second.address)")
        })
      #expect(server.address() == proxy)
      let (_, after) = try await greeting(proxy)
      #expect(after == [2])
      try await onThread {
        try old.send([9])
        let echoed = try old.receive(exactly: 1)
        #expect(echoed == [9])
      }
      // The new chain counts on in the state of the old one.
      #expect(counter.count.value.load(ordering: .relaxed) == 2)
    }
  }

  @Test func listenersComeAndGo() async throws {
    let origin = try greeter(1)
    var kept: BlockingPeer?
    let report = try await withServer {
      Listener(.tcp, on: "127.0.0.1:0", name: "stays") {
      } to: {
        Upstream("\(origin.address)")
      }
      Listener(.tcp, on: "127.0.0.1:0", name: "goes") {
      } to: {
        Upstream("\(origin.address)")
      }
    } body: { server in
      let (stays, goes) = (server.address("stays"), server.address("goes"))
      let (old, _) = try await greeting(goes)
      kept = old
      try await server.server.reload(
        Proxies([
          Listener(.tcp, on: "\(stays)", name: "stays") {
          } to: {
            Upstream("\(origin.address)")
          },
          Listener(.tcp, on: "127.0.0.1:0", name: "comes") {
          } to: {
            Upstream("\(origin.address)")
          },
        ]))
      #expect(server.server.listeners.map(\.name) == ["stays", "comes"])
      let (_, seen1) = try await greeting(stays)
      #expect(seen1 == [1])
      let (_, seen2) = try await greeting(server.address("comes"))
      #expect(seen2 == [1])
      await #expect(throws: SystemError.self) { try await greeting(goes) }
      try await onThread {
        try old.send([5])
        let echoed = try old.receive(exactly: 1)
        #expect(echoed == [5])
      }
    }
    #expect(report.listeners.first { $0.name == "goes" }?.cut == 1)
    kept?.close()
  }

  @Test func whatIsCutIsCountedOnceThoughItsListenerHasMoved() async throws {
    let origin = try greeter(1)
    var tunnels: [BlockingPeer] = []
    func app(_ address: String) -> some Proxy {
      Listener(.tcp, on: address, name: "in") {
      } to: {
        Upstream("\(origin.address)")
      }
    }
    let report = try await withServer {
      app("127.0.0.1:0")
    } body: { server in
      for _ in 1...2 { tunnels.append(try await greeting(server.address()).0) }
      try await server.server.reload(app("127.0.0.2:0"))
      tunnels.append(try await greeting(server.address()).0)
    }
    #expect(report.listeners.map(\.cut) == [1, 2])
    for tunnel in tunnels { tunnel.close() }
  }

  /// Has a stop begin, and its listeners close, while a reload looks at its elements.
  private struct StopsMeanwhile: Middleware {
    let stop: @Sendable () -> Void
    func validate(into problems: inout Problems) { stop() }
    func handle(_ exchange: Exchange, next: Next) async throws -> Summary { try await next() }
  }

  @Test func whatAReloadAddsAtTheLastMomentOfAStopAcceptsNothing() async throws {
    let origin = try greeter(1)
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0", name: "in") {
      } to: {
        Upstream("\(origin.address)")
      }
    } body: { server in
      let proxy = server.address()
      // Holds the stop up.
      let (tunnel, _) = try await greeting(proxy)
      let stop: @Sendable () -> Void = {
        server.server.stop()
        // Here nothing can be awaited. Where the listener is not closed in time, less is seen, and nothing wrong.
        let end = Loop.preciseNow + .seconds(10)
        while Loop.preciseNow < end, let late = try? BlockingPeer.connect(proxy) {
          late.close()
          sched_yield()
        }
      }
      try await server.server.reload(
        Proxies([
          Listener(.tcp, on: "127.0.0.1:0", name: "in") {
            StopsMeanwhile(stop: stop)
          } to: {
            Upstream("\(origin.address)")
          },
          Listener(.tcp, on: "127.0.0.1:0", name: "added") {
          } to: {
            Upstream("\(origin.address)")
          },
        ]))
      let added = server.address("added")
      await #expect(throws: SystemError.self) { try await greeting(added) }
      tunnel.close()
    }
  }

  @Test func aReloadThatCannotBeChangesNothing() async throws {
    let origin = try greeter(1)
    let taken = try BlockingOrigin()
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0", name: "in") {
      } to: {
        Upstream("\(origin.address)")
      }
    } body: { server in
      let proxy = server.address()
      for (broken, why) in [
        ("nowhere", "in: upstream: \"nowhere\" is no address: write host:port, 1.2.3.4:port, [::1]:port or unix:/path"),
        ("127.0.0.1:9", "second: address in use: \(taken.address)"),
      ] {
        var message = ""
        do {
          try await server.server.reload(
            Proxies([
              Listener(.tcp, on: "127.0.0.1:0", name: "in") {
              } to: {
                Upstream(broken)
              },
              Listener(.tcp, on: "\(taken.address)", name: "second") {
              } to: {
                Upstream("127.0.0.1:9")
              },
            ]))
        } catch {
          message = "\(error)"
        }
        #expect(message == why)
        let (_, seen3) = try await greeting(proxy)
        #expect(seen3 == [1])
      }
    }
  }
}
