import Pipeline
import Synchronization
import Testing

@testable import Transports

@Suite struct ResolverCacheTests {
  private let name = DomainName("example.com")!
  private let start = Instant(nanoseconds: 1_000_000_000)
  private let one = IPAddress("192.0.2.1")!
  private let two = IPAddress("192.0.2.2")!

  private func isLookUp(_ reply: ResolverCache<Int>.Reply) -> Bool {
    if case .lookUp = reply { true } else { false }
  }

  private func isJoined(_ reply: ResolverCache<Int>.Reply) -> Bool {
    if case .joined = reply { true } else { false }
  }

  @Test func manyQuestionsAtOnceAreOneLookUp() {
    var cache = ResolverCache<Int>()
    #expect(isLookUp(cache.ask(name, now: start, 1)))
    #expect(isJoined(cache.ask(name, now: start, 2)))
    #expect(isJoined(cache.ask(name, now: start, 3)))
    let (outcome, waiters) = cache.complete(name, .success(LookupAnswer(addresses: [one])), now: start)
    #expect(outcome == .success([one]))
    #expect(waiters == [1, 2, 3])
  }

  @Test func anAnswerHoldsForItsTimeWithinTheBounds() {
    let caching = ResolverCaching(
      usualTimeToLive: .seconds(60), leastTimeToLive: .seconds(5), mostTimeToLive: .seconds(100))
    let cases: [(said: Duration?, holds: Duration)] = [
      (nil, .seconds(60)), (.seconds(30), .seconds(30)), (.zero, .seconds(5)), (.seconds(86400), .seconds(100)),
    ]
    for (said, holds) in cases {
      var cache = ResolverCache<Int>(caching)
      _ = cache.ask(name, now: start, 1)
      _ = cache.complete(name, .success(LookupAnswer(addresses: [one], timeToLive: said)), now: start)
      #expect(cache.recall(name, now: start + (holds - .nanoseconds(1))) == .success([one]))
      #expect(cache.recall(name, now: start + holds) == nil)
      #expect(isLookUp(cache.ask(name, now: start + holds, 2)))
    }
  }

  @Test func aNameThatDoesNotExistIsRememberedShortly() {
    var cache = ResolverCache<Int>()
    _ = cache.ask(name, now: start, 1)
    #expect(cache.complete(name, .failure(.notFound), now: start).outcome == .failure(.notFound))
    #expect(cache.recall(name, now: start + .seconds(9)) == .failure(.notFound))
    #expect(isLookUp(cache.ask(name, now: start + .seconds(10), 2)))
  }

  @Test func anExpiredAnswerBridgesAFailureOfTheResolver() {
    var cache = ResolverCache<Int>()
    _ = cache.ask(name, now: start, 1)
    _ = cache.complete(name, .success(LookupAnswer(addresses: [one])), now: start)
    let later = start + .seconds(61)
    #expect(isLookUp(cache.ask(name, now: later, 2)))
    #expect(cache.complete(name, .failure(.temporary(-3)), now: later).outcome == .success([one]))
    // It is asked again soon, and a good answer replaces the old one.
    #expect(cache.recall(name, now: later + .seconds(4)) == .success([one]))
    #expect(isLookUp(cache.ask(name, now: later + .seconds(5), 3)))
    let fresh = cache.complete(name, .success(LookupAnswer(addresses: [two])), now: later + .seconds(5))
    #expect(fresh.outcome == .success([two]))
  }

  @Test func anAnswerThatIsTooOldBridgesNothing() {
    var cache = ResolverCache<Int>()
    _ = cache.ask(name, now: start, 1)
    _ = cache.complete(name, .success(LookupAnswer(addresses: [one])), now: start)
    let muchLater = start + .seconds(60 + 3600)
    _ = cache.ask(name, now: muchLater, 2)
    #expect(cache.complete(name, .failure(.temporary(-3)), now: muchLater).outcome == .failure(.temporary(-3)))
    // A failure is not remembered.
    #expect(isLookUp(cache.ask(name, now: muchLater, 3)))
  }

  @Test func aNameThatStoppedToExistIsNotBridged() {
    var cache = ResolverCache<Int>()
    _ = cache.ask(name, now: start, 1)
    _ = cache.complete(name, .success(LookupAnswer(addresses: [one])), now: start)
    _ = cache.ask(name, now: start + .seconds(61), 2)
    #expect(cache.complete(name, .failure(.notFound), now: start + .seconds(61)).outcome == .failure(.notFound))
  }

  @Test func theCacheIsBoundedAndKeepsWhatIsUsed() {
    var cache = ResolverCache<Int>(ResolverCaching(capacity: 10))
    let kept = DomainName("kept.example")!
    func learn(_ name: DomainName) {
      _ = cache.ask(name, now: start, 0)
      _ = cache.complete(name, .success(LookupAnswer(addresses: [one])), now: start)
    }
    learn(kept)
    for number in 0..<100 {
      learn(DomainName("n\(number).example")!)
      #expect(cache.recall(kept, now: start) != nil)
      #expect(cache.count <= 10)
    }
  }

  @Test func everybodyHearsOfALookUpThatCouldNotBegin() {
    var cache = ResolverCache<Int>()
    _ = cache.ask(name, now: start, 1)
    _ = cache.ask(name, now: start, 2)
    #expect(cache.abandon(name) == [1, 2])
    #expect(isLookUp(cache.ask(name, now: start, 3)))
  }
}

@Suite struct ResolverTests {
  /// Answers when the gate opens and counts how often it was asked.
  private struct GatedLookup: NameLookup {
    let gate: Gate
    let asked = EngineCounters.Gauge()

    func addresses(of name: DomainName) throws(LookupFailure) -> LookupAnswer {
      asked.add(1)
      gate.wait()
      if name.text == "missing.example" { throw .notFound }
      return LookupAnswer(addresses: [IPAddress("192.0.2.9")!])
    }
  }

  @Test func connectionsOfAllLoopsShareOneLookUp() async throws {
    let lookup = GatedLookup(gate: Gate())
    let results = Mailbox<[IPAddress]>()
    let fixture = try await EngineFixture(EngineOptions(loops: 2, lookup: lookup)) { connection in
      let addresses = try await connection.resolve(DomainName("example.com")!)
      #expect(connection.loop.isCurrent)
      results.put(addresses)
    }
    let clients = try (0..<8).map { _ in try BlockingPeer.connect(fixture.address) }
    while await fixture.connectionCount() < clients.count { await Task.yield() }
    lookup.gate.open()
    for _ in clients { #expect(await results.next() == [IPAddress("192.0.2.9")!]) }
    #expect(lookup.asked.value == 1)
    for _ in clients { try await #require(fixture.ended.next()).get() }
    await fixture.stopAndExpectNothingLeft()
  }

  @Test func aMissingNameIsARejection() async throws {
    let lookup = GatedLookup(gate: Gate())
    lookup.gate.open()
    let fixture = try await EngineFixture(EngineOptions(loops: 1, lookup: lookup)) { connection in
      for _ in 0..<2 {
        let rejection = await #expect(throws: Rejection.self) {
          try await connection.resolve(DomainName("missing.example")!)
        }
        #expect(rejection?.kind == .nameNotFound)
      }
    }
    let client = try BlockingPeer.connect(fixture.address)
    try await #require(fixture.ended.next()).get()
    #expect(lookup.asked.value == 1)
    client.close()
    await fixture.stopAndExpectNothingLeft()
  }

  @Test func localhostNeverLeavesTheMachine() {
    for text in ["localhost", "LOCALHOST.", "db.localhost"] {
      #expect(Resolver.withoutAsking(DomainName(text)!) == [.loopbackV4, .loopbackV6])
    }
    #expect(Resolver.withoutAsking(DomainName("localhost.example")!) == nil)
  }

  @Test func aFullOffloadQueueRefusesTheLookUp() async throws {
    let lookup = GatedLookup(gate: Gate())
    let options = EngineOptions(loops: 1, offloadThreads: 1, offloadQueue: 1, lookup: lookup)
    let fixture = try await EngineFixture(options) { connection in
      let number = try await connection.client.readByte(connection) ?? 0
      _ = try await connection.resolve(DomainName("n\(number).example")!)
    }
    let clients = try (0..<8).map { _ in try BlockingPeer.connect(fixture.address) }
    for (number, client) in clients.enumerated() { try client.send([UInt8(number)]) }
    let end = try #require(await fixture.ended.next())
    let rejection = #expect(throws: Rejection.self) { try end.get() }
    #expect(rejection?.kind == .overloaded)
    lookup.gate.open()
    for _ in 1..<clients.count { _ = await fixture.ended.next() }
    await fixture.stopAndExpectNothingLeft()
  }

  @Test func theSystemKnowsTheLoopbackNameOfTheHostsFile() throws {
    let answer = try SystemLookup().addresses(of: DomainName("localhost")!)
    #expect(answer.addresses.contains { $0.isLoopback })
    #expect(answer.timeToLive == nil)
  }
}
