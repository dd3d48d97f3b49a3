import Glibc
import Middlewares
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// A second backend that is asked when the first takes long.
@Suite struct HedgingTests {
  /// Two backends that are asked in turns: the first one first.
  ///
  /// - Returns: the group as it is when nothing runs any more.
  @discardableResult
  private func withPair(
    _ first: ScriptedBackend, _ second: SocketAddress, _ hedging: Hedging = .after(.milliseconds(30), atMost: 1),
    retries: Int = 1, edit: @escaping (inout ListenerOptions) -> Void = { _ in },
    body: @escaping @Sendable (SocketAddress, UpstreamGroup) throws -> Void
  ) async throws -> UpstreamGroup {
    let upstreams = Upstreams(
      .roundRobin, hedge: hedging,
      backends: [Backend(first.address.text, named: "first"), Backend(second.text, named: "second")])
    var options = ListenerOptions()
    edit(&options)
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Retry(attempts: retries, backoff: .none)
      } to: {
        upstreams
      }.options { $0 = options }
    } body: { server in
      let address = server.address()
      try await onThread { try body(address, upstreams.group) }
    }
    return upstreams.group
  }

  /// Answers when the mailbox says so; `ended` gets how it ended.
  private func patient(_ goOn: Mailbox<Void>, _ text: String = response("first")) throws -> ScriptedBackend {
    try ScriptedBackend { session in
      while try session.readHead() != nil {
        _ = blockingWait { await goOn.next() }
        try session.peer.send(text)
      }
    }
  }

  /// Never answers, and sees the end.
  private func silent() throws -> ScriptedBackend {
    try ScriptedBackend { session in
      while try session.readHead() != nil { if try session.peer.hasEnded() { return } }
    }
  }

  private func active(_ group: UpstreamGroup) -> [Int] { group.report().backends.map(\.active) }

  @Test func theSecondAnswersWhereTheFirstTakesLong() async throws {
    let first = try silent()
    let second = try ScriptedBackend.answering(response("second"))
    let group = try await withPair(first, second.address) { proxy, group in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get("/a")?.body == "second")
      // The other request is cut.
      #expect(blockingWait { await first.ended.next() } == 1)
      #expect(group.hedges == HedgeReport(asked: 1, won: 1, withoutSecond: 0))
    }
    #expect(active(group) == [0, 0])
    #expect(first.requests.map(\.head.target) == ["/a"])
    #expect(second.requests.map(\.head.target) == ["/a"])
  }

  @Test func theConnectionOfTheWinnerIsKept() async throws {
    let first = try silent()
    let second = try ScriptedBackend.answering(response("second"))
    try await withPair(first, second.address) { proxy, _ in
      let client = try HTTPPeer.connect(proxy)
      for _ in 1...6 { #expect(try client.get()?.body == "second") }
    }
    #expect(second.connections == 1)
  }

  @Test func theFirstAnswersWhereItIsFaster() async throws {
    let goOn = Mailbox<Void>()
    let first = try patient(goOn)
    let second = try silent()
    let group = try await withPair(first, second.address) { proxy, group in
      let client = try HTTPPeer.connect(proxy)
      try client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
      _ = blockingWait { await second.arrived.next() }
      goOn.put(())
      #expect(try client.readResponse()?.body == "first")
      #expect(blockingWait { await second.ended.next() } == 1)
      #expect(group.hedges == HedgeReport(asked: 1, won: 0, withoutSecond: 0))
    }
    #expect(active(group) == [0, 0])
  }

  @Test func aHeadThatComesInPiecesHoldsNobodyUp() async throws {
    let goOn = Mailbox<Void>()
    let halfIsSent = Mailbox<Void>()
    let half = Shared(Atomic<Bool>(false))
    let first = try ScriptedBackend { session in
      while let head = try session.readHead() {
        let text = response("first")
        if head.target == "/slow" {
          try session.peer.send(String(text.prefix(20)))
          half.value.store(true, ordering: .releasing)
          halfIsSent.put(())
          _ = blockingWait { await goOn.next() }
          try session.peer.send(String(text.dropFirst(20)))
        } else {
          try session.peer.send(text)
        }
      }
    }
    // Where the machine stands still, the second one is asked before the first has sent anything: it must not win then.
    let second = try ScriptedBackend.answering { head, _ in
      while head.target == "/slow", !half.value.load(ordering: .acquiring) { sched_yield() }
      return response("second")
    }
    let delay = Duration.milliseconds(50)
    try await withPair(first, second.address, .after(delay, atMost: 1)) { proxy, _ in
      let slow = try HTTPPeer.connect(proxy)
      try slow.send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n")
      _ = blockingWait { await halfIsSent.next() }
      // The same loop serves others, also when the time for a hedge is over.
      let other = try HTTPPeer.connect(proxy)
      let end = ContinuousClock.now + delay * 3
      while ContinuousClock.now < end { #expect(try other.get("/fast")?.status == 200) }
      goOn.put(())
      #expect(try slow.readResponse()?.status == 200)
    }
  }

  @Test func whoAnswersInTimeIsAskedAlone() async throws {
    let first = try ScriptedBackend.answering(response("first"))
    let second = try ScriptedBackend.answering(response("second"))
    try await withPair(first, second.address, .after(.seconds(60), atMost: 1)) { proxy, group in
      let client = try HTTPPeer.connect(proxy)
      for name in ["first", "second", "first"] { #expect(try client.get()?.body == name) }
      #expect(group.hedges == HedgeReport(asked: 0, won: 0, withoutSecond: 0))
    }
  }

  @Test(arguments: [
    "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc",
    "GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
  ]) func whatMayNotBeSentTwiceIsNot(request: String) async throws {
    let first = try silent()
    let second = try ScriptedBackend.answering(response("second"))
    try await withPair(first, second.address) {
      $0.http.responseTimeout = .milliseconds(300)
    } body: { proxy, group in
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.ask(request)?.status == 504)
      #expect(group.hedges?.asked == 0)
    }
    #expect(second.requests.isEmpty)
  }

  @Test func whereTheFirstEndsTheSecondGoesOn() async throws {
    let end = Mailbox<Void>()
    let first = try ScriptedBackend { session in
      _ = try session.readHead()
      _ = blockingWait { await end.next() }
    }
    let goOn = Mailbox<Void>()
    let second = try patient(goOn, response("second"))
    try await withPair(first, second.address) { proxy, _ in
      let client = try HTTPPeer.connect(proxy)
      try client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
      _ = blockingWait { await second.arrived.next() }
      end.put(())
      #expect(blockingWait { await first.ended.next() } == 1)
      goOn.put(())
      #expect(try client.readResponse()?.body == "second")
    }
  }

  @Test func aSecondThatCannotBeReachedChangesNothing() async throws {
    let seen = SeenGroup()
    let first = try ScriptedBackend.answering { _, _ in
      // Until the second one was tried and let go of.
      while !seen.isTrue({ $0.backends[1].totals.tries == 1 && $0.backends[1].active == 0 }) { sched_yield() }
      return response("first")
    }
    let dead = try BlockingOrigin().address
    let group = try await withPair(first, dead) { proxy, group in
      seen.group.withLock { $0 = group }
      let client = try HTTPPeer.connect(proxy)
      #expect(try client.get()?.body == "first")
    }
    #expect(active(group) == [0, 0])
  }

  @Test func aSecondThatEndsAtOnceChangesNothing() async throws {
    let goOn = Mailbox<Void>()
    let first = try patient(goOn)
    let second = try ScriptedBackend { session in _ = try session.readHead() }
    let group = try await withPair(first, second.address) { proxy, _ in
      let client = try HTTPPeer.connect(proxy)
      try client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
      #expect(blockingWait { await second.ended.next() } == 1)
      goOn.put(())
      #expect(try client.readResponse()?.body == "first")
    }
    #expect(active(group) == [0, 0])
  }

  @Test func whereBothEndARetryGoesOn() async throws {
    let end = Mailbox<Void>()
    let both = try (1...2).map { _ in
      try ScriptedBackend { session in
        guard try session.readHead() != nil else { return }
        if session.number == 1 {
          _ = blockingWait { await end.next() }
          return
        }
        try session.peer.send(response("again"))
      }
    }
    let group = try await withPair(both[0], both[1].address, retries: 2) { proxy, _ in
      let client = try HTTPPeer.connect(proxy)
      try client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
      for backend in both { _ = blockingWait { await backend.arrived.next() } }
      for _ in both { end.put(()) }
      #expect(try client.readResponse()?.body == "again")
    }
    #expect(active(group) == [0, 0])
  }

  @Test func aResponseThatComesInPiecesIsTheWinners() async throws {
    let first = try silent()
    let second = try ScriptedBackend { session in
      while try session.readHead() != nil {
        for byte in "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" {
          try session.peer.send(String(byte))
        }
        try session.peer.send("5\r\nhello\r\n0\r\n\r\n")
      }
    }
    try await withPair(first, second.address) { proxy, _ in
      let client = try HTTPPeer.connect(proxy)
      for _ in 1...3 { #expect(try client.get()?.body == "hello") }
    }
  }

  @Test func noMoreAreHedgedThanTheShare() async throws {
    let seen = SeenGroup()
    let (first, second) = try (patientUntilDecided(seen), patientUntilDecided(seen))
    try await withPair(first, second.address, .after(.milliseconds(1), atMost: 0.1)) { proxy, group in
      seen.group.withLock { $0 = group }
      let client = try HTTPPeer.connect(proxy)
      for number in 1...50 { #expect(try client.get("/\(number)")?.body == "slow") }
      // One is there from the beginning.
      #expect((1...6).contains(group.hedges?.asked ?? 0))
      #expect((group.hedges?.withoutSecond ?? 0) > 0)
    }
    #expect(first.requests.count + second.requests.count <= 56)
  }

  /// Answers request `/n` when n requests have waited long enough for a hedge, whether they got one or not.
  private func patientUntilDecided(_ seen: SeenGroup) throws -> ScriptedBackend {
    try ScriptedBackend.answering { head, _ in
      let number = Int(head.target.dropFirst()) ?? 0
      while seen.decided < number { sched_yield() }
      return response("slow")
    }
  }

  /// Whoever wins, each client gets its own answer, once.
  @Test func underLoadEveryAnswerIsTheRightOne() async throws {
    let backends = try (0..<2).map { index in
      try ScriptedBackend.answering { head, peer in
        if (head.target.utf8.count + index) % 2 == 0 { peer.dawdle(milliseconds: 3) }
        return response(head.target)
      }
    }
    let group = try await withPair(backends[0], backends[1].address, .after(.milliseconds(1), atMost: 1)) {
      proxy, group in
      let box = Shared(Atomic<Int>(0))
      blockingWait {
        await withTaskGroup { tasks in
          for worker in 0..<6 {
            tasks.addTask {
              do {
                try await onThread {
                  let client = try HTTPPeer.connect(proxy)
                  for number in 0..<60 {
                    let target = "/\(worker)/" + String(repeating: "x", count: number)
                    if try client.get(target)?.body != target { box.value.add(1, ordering: .relaxed) }
                  }
                }
              } catch {
                box.value.add(1000, ordering: .relaxed)
              }
            }
          }
        }
      }
      #expect(box.value.load(ordering: .relaxed) == 0)
      #expect((group.hedges?.asked ?? 0) > 0)
    }
    #expect(active(group) == [0, 0])
  }

  // MARK: Without a socket

  @Test func aSecondWhoseNameDoesNotResolveLeavesTheFirstAlone() async throws {
    let world = GroupWorld(
      hedge: .after(.milliseconds(1), atMost: 1), to: [Backend("127.0.0.1:1"), Backend("gone.test:2")])
    let exchange = world.exchange()
    let hedge = try #require(world.group.hedgedTry(world.group.seats[0], exchange))
    #expect(try await hedge.second(for: exchange) == nil)
    #expect(world.group.hedges == HedgeReport(asked: 0, won: 0, withoutSecond: 1))
    #expect(active(world.group) == [0, 0])
  }

  @Test(arguments: [0.5, 0.9, 0.95, 0.99]) func thePercentileIsLearnt(_ percentile: Double) {
    let desk = HedgeDesk(.slowest(1 - percentile))
    #expect(desk.patience > .seconds(3600))
    var random = FastRandom(state: (7, 8, 9, 10))
    for _ in 0..<20_000 { desk.note(.microseconds(Int(random.next() % 100_000))) }
    var below = 0
    for _ in 0..<20_000 {
      let latency = Duration.microseconds(Int(random.next() % 100_000))
      if latency <= desk.patience { below += 1 }
      desk.note(latency)
    }
    #expect(abs(Double(below) / 20_000 - percentile) < 0.02)
  }

  @Test func aPercentileIsNotBelowItsLeast() {
    let desk = HedgeDesk(.slowest(0.05, atLeast: .milliseconds(5)))
    for _ in 0..<5000 { desk.note(.microseconds(10)) }
    #expect(desk.patience == .milliseconds(5))
  }

  @Test func theShareIsEarnedAndSpent() {
    let desk = HedgeDesk(.after(.milliseconds(1), atMost: 0.25))
    #expect(desk.take())
    #expect(!desk.take())
    for _ in 0..<4 { desk.earn() }
    #expect(desk.take())
    #expect(!desk.take())
    for _ in 0..<1000 { desk.earn() }
    #expect((0..<100).count { _ in desk.take() } == 10)
  }

  private func found<Carrier>(_ transport: TransportKind<Carrier>, _ hedging: Hedging) -> [String] {
    do {
      let backends = [Backend("127.0.0.1:1"), Backend("127.0.0.1:2")]
      let listener = Listener(transport, on: ":1") {
      } to: {
        Upstreams(.roundRobin, hedge: hedging, backends: backends)
      }
      _ = try Service(listener, shards: 1)
      return []
    } catch {
      return (error as? ConfigurationError)?.messages ?? ["\(error)"]
    }
  }

  @Test func whatCannotWorkIsRefused() {
    #expect(found(.http, .after(.zero)) == ["upstreams: a hedge after 0.0 seconds: 1 ms to 1 hour are allowed"])
    #expect(
      found(.http, .after(.seconds(1), atMost: 1.5)) == [
        "upstreams: hedges for at most 1.5 of the requests: more than 0 and at most 1 is allowed"
      ])
    #expect(
      found(.http, .slowest(0.75)) == [
        "upstreams: a hedge of the slowest 0.75: more than 0 and at most 0.5 is allowed"
      ])
    #expect(found(.http, .slowest(0.05)) == [])
    #expect(
      found(.tcp, .after(.seconds(1))) == [
        "upstreams: a hedge is for HTTP requests: of a tunnel nothing can be asked twice"
      ])
    #expect(Hedging.slowest(0.05).description == "the slowest 5 %, after 0.001 seconds or more")
  }
}

/// What several threads look at.
/// The group of a test, for its backends.
private final class SeenGroup: Sendable {
  let group = Mutex<UpstreamGroup?>(nil)

  /// Requests that waited long enough for a hedge.
  var decided: Int {
    guard let hedges = group.withLock({ $0 })?.hedges else { return 0 }
    return hedges.asked + hedges.withoutSecond
  }

  func isTrue(_ condition: (UpstreamReport) -> Bool) -> Bool {
    guard let group = group.withLock({ $0 }) else { return false }
    return condition(group.report())
  }
}

private final class Shared<Value: ~Copyable & Sendable>: Sendable {
  let value: Value
  init(_ value: consuming Value) { self.value = value }
}
