import Middlewares
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// Upstreams behind real sockets.
@Suite struct UpstreamsServerTests {
  /// Backends that say their number, by HTTP.
  private func numbered(_ count: Int) throws -> [ScriptedBackend] {
    try (0..<count).map { number in try ScriptedBackend.answering(response("\(number)")) }
  }

  private func list(_ backends: [ScriptedBackend]) -> [Backend] { backends.map { Backend($0.address.text) } }

  @Test func rawTCPConnectionsGoRoundInTurn() async throws {
    let origins = try (0..<3).map { number in
      try TestOrigin { peer in
        try peer.send([UInt8(number)])
        _ = try peer.receiveToEnd()
      }
    }
    let upstreams = Upstreams(.roundRobin, backends: origins.map { Backend("\($0.address)") })
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
      } to: {
        upstreams
      }
    } body: { server in
      let address = server.address()
      var greetings: [UInt8] = []
      for _ in 0..<6 {
        greetings += try await onThread { try BlockingPeer.connect(address).receive(exactly: 1) }
      }
      #expect(greetings == [0, 1, 2, 0, 1, 2])
      // A tunnel has been counted as answered when it was connected, and is not over.
      #expect(upstreams.group.report().backends.map(\.totals.answered) == [2, 2, 2])
    }
  }

  @Test func socks5ClientsAreServedWhateverTheyAskFor() async throws {
    let origin = try TestOrigin.echo()
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
      } to: {
        Upstreams { Backend("\(origin.address)") }
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try SOCKS5Client(proxy)
        #expect(try client.greet(0) == 0)
        #expect(try client.request(ClientBytes.connect(name: "elsewhere.test", port: 443))?.code == 0)
        try client.peer.send([5])
        #expect(try client.peer.receive(exactly: 1) == [5])
      }
    }
  }

  @Test func aRetryFindsTheBackendThatIsThere() async throws {
    let backends = try numbered(1)
    let gone = try BlockingOrigin(backlog: 1)
    let upstreams = Upstreams(.roundRobin, backends: [Backend("\(gone.address)"), Backend(backends[0].address.text)])
    gone.stop()
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Retry(attempts: 2, backoff: .none)
      } to: {
        upstreams
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(proxy)
        for _ in 0..<20 { #expect(try client.get()?.body == "0") }
      }
      let report = upstreams.group.report()
      #expect(report.backends[0].state == .ejected)
      #expect(report.backends[0].totals.failures[.connect] == 5)
      #expect(report.backends[1].totals.answered == 20)
    }
  }

  @Test func theCookieOfAStickyClientIsSetOnce() async throws {
    let backends = try numbered(3)
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Upstreams(.sticky(StickyCookie("route"), otherwise: .roundRobin), backends: list(backends))
      }
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(proxy)
        let first = try client.get()
        let cookie = try #require(first?.head["set-cookie"].first?.prefix { $0 != ";" })
        for _ in 0..<4 {
          let next = try client.get("/", "Cookie: \(cookie)\r\n")
          #expect(next?.body == first?.body)
          #expect(next?.head["set-cookie"] == [])
        }
        // Nothing of it is left for the next request of the connection, which is another client's for all we know.
        #expect(try client.get()?.head["set-cookie"].count == 1)
      }
    }
  }

  @Test func oneMoreThanABackendTakesGoesElsewhereThenWaitsThenIsRefused() async throws {
    let (mayAnswer, arrived) = (Mailbox<Bool>(), Mailbox<Int>())
    let backends = try (0..<2).map { number in
      try ScriptedBackend.answering { _, _ in
        arrived.put(number)
        _ = blockingWait { await mayAnswer.next() }
        return response("\(number)")
      }
    }
    let upstreams = Upstreams(
      .roundRobin,
      backends: backends.map { Backend($0.address.text, maxConnections: 1, queue: 1, maxWait: .seconds(60)) })
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        upstreams
      }
    } body: { server in
      let proxy = server.address()
      @Sendable func ask() -> Task<Int?, any Error> {
        Task { try await onThread { try proxy.get()?.status } }
      }
      let running = [ask(), ask()]
      #expect(Set([await arrived.next(), await arrived.next()]) == [0, 1])
      let waiting = [ask(), ask()]
      while upstreams.group.report().backends.map(\.waiting).reduce(0, +) < 2 { await Task.yield() }
      let refused = try await ask().value
      #expect(refused == 503)
      for _ in 0..<4 { mayAnswer.put(true) }
      for task in running + waiting {
        let status = try await task.value
        #expect(status == 200)
      }
    }
    #expect(upstreams.group.report().refused == 1)
    #expect(upstreams.group.report().backends.map(\.active) == [0, 0])
  }

  @Test func aReloadKeepsTheConnectionsToBackendsThatStay() async throws {
    let backends = try numbered(2)
    func listener(_ upstreams: Upstreams) -> some Proxy {
      Listener(.http, on: "127.0.0.1:0", name: "in") {
      } to: {
        upstreams
      }
    }
    let first = Upstreams(.roundRobin, backends: list([backends[0]]))
    try await withServer(options: { $0.workers = 1 }) {
      listener(first)
    } body: { server in
      let proxy = server.address()
      let client = try await onThread {
        let client = try HTTPPeer.connect(proxy)
        #expect(try client.get()?.body == "0")
        return client
      }
      let second = Upstreams(.roundRobin, backends: list(backends))
      try await server.server.reload(listener(second))
      try await onThread {
        client.close()
        let next = try HTTPPeer.connect(proxy)
        let both = try (0..<2).map { _ in try next.get()?.body }
        #expect(Set(both) == ["0", "1"])
      }
      // The idle connection of the old chain served the new one.
      #expect(backends[0].connections == 1)
      #expect(second.group.report().backends.map(\.totals.answered) == [2, 1])
      // What cannot run changes nothing.
      await #expect(throws: ConfigurationError.self) {
        try await server.server.reload(
          listener(Upstreams(.roundRobin, backends: self.list(backends) + [Backend("nowhere")])))
      }
      let status = try await onThread { try proxy.get()?.status }
      #expect(status == 200)
      #expect(second.group.report().backends.count == 2)
    }
  }

  @Test func checksTakeABackendOutAndBringItBack() async throws {
    let isWell = Atomic(true)
    let events = Mailbox<String>()
    let flapping = try ScriptedBackend.answering { head, _ in
      head.target == "/health" && !isWell.load(ordering: .sequentiallyConsistent)
        ? response("no", status: "503 No") : response("0")
    }
    let steady = try ScriptedBackend.answering(response("1"))
    let upstreams = Upstreams(
      .roundRobin, health: .http(every: .milliseconds(20), rise: 2, fall: 2), backends: list([flapping, steady]))
    try await withServer(options: {
      $0.workers = 1
      $0.log = { _, text in if text.hasPrefix("upstreams") { events.put(text) } }
    }) {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        upstreams
      }
    } body: { server in
      let proxy = server.address()
      while upstreams.group.report().backends.contains(where: { $0.state != .healthy }) { await Task.yield() }
      isWell.store(false, ordering: .sequentiallyConsistent)
      #expect(await events.next()?.contains("unhealthy: 2 checks in a row failed, the last one: status 503") == true)
      let others = try await onThread { try (0..<4).map { _ in try proxy.get()?.body } }
      #expect(others == ["1", "1", "1", "1"])
      isWell.store(true, ordering: .sequentiallyConsistent)
      #expect(await events.next()?.contains("up: 2 checks passed in a row") == true)
      let both = try await onThread { try (0..<2).map { _ in try proxy.get()?.body } }
      #expect(Set(both) == ["0", "1"])
    }
  }
}
