import Middlewares
import Pipeline
import PipelineTesting
import Testing

@Suite struct TokenBucketTests {
  @Test func refusesWhenTheBucketIsEmptyAndAdmitsAgainAtItsRate() async throws {
    let harness = try ChainHarness(.tcp) { TokenBucket(.perSecond(2, burst: 3), per: .clientAddress) }
    for _ in 0..<3 { #expect(await harness.run() == .served()) }
    #expect(await harness.run() == .refused(.rateLimited))
    harness.clock.advance(by: .milliseconds(499))
    #expect(await harness.run() == .refused(.rateLimited))
    harness.clock.advance(by: .milliseconds(1))
    #expect(await harness.run() == .served())
    #expect(await harness.run() == .refused(.rateLimited))
  }

  @Test func aRefusalSaysInWholeSecondsWhenToComeBack() async throws {
    let harness = try ChainHarness(.tcp) { TokenBucket(.perMinute(4, burst: 1), per: .global) }
    #expect(await harness.run() == .served())
    let soon = await harness.start()
    #expect(soon.rejection?.retryAfter == .seconds(15))
    harness.clock.advance(by: .milliseconds(14_900))
    let late = await harness.start()
    #expect(late.rejection?.retryAfter == .seconds(1))
    #expect(late.rejection?.detail == "4 per minute, burst 1, per global")
  }

  @Test func eachIPv4AddressHasABucketOfItsOwn() async throws {
    let harness = try ChainHarness(.tcp) { TokenBucket(.perSecond(1), per: .clientAddress) }
    #expect(await harness.run(MockClient(ip: "192.0.2.1")) == .served())
    #expect(await harness.run(MockClient(ip: "192.0.2.2")) == .served())
    #expect(await harness.run(MockClient(ip: "192.0.2.1")) == .refused(.rateLimited))
    // The same client, mapped into IPv6.
    #expect(await harness.run(MockClient(ip: "::ffff:192.0.2.2")) == .refused(.rateLimited))
  }

  @Test func allAddressesOfAnIPv6NetworkOf64BitsShareABucket() async throws {
    let harness = try ChainHarness(.tcp) { TokenBucket(.perSecond(1), per: .clientAddress) }
    #expect(await harness.run(MockClient(ip: "2001:db8:0:1::1")) == .served())
    #expect(await harness.run(MockClient(ip: "2001:db8:0:1:ffff::2")) == .refused(.rateLimited))
    #expect(await harness.run(MockClient(ip: "2001:db8:0:2::1")) == .served())
  }

  @Test func unixPeersAreKnownByTheirUserID() async throws {
    let harness = try ChainHarness(.tcp) { TokenBucket(.perSecond(1), per: .clientAddress) }
    #expect(await harness.run(.unix(uid: 1)) == .served())
    #expect(await harness.run(.unix(uid: 2)) == .served())
    #expect(await harness.run(.unix(uid: 1)) == .refused(.rateLimited))
    // No address is taken for a user id.
    #expect(await harness.run(MockClient(ip: "0.0.0.1")) == .served())
  }

  @Test func anIdentityHasOneBucketWhateverItsAddress() async throws {
    let harness = try ChainHarness(.socks5) {
      NamedByClient()
      TokenBucket(.perSecond(1), per: .identity)
    }
    #expect(await harness.run(MockClient(ip: "192.0.2.1", user: "ada")) == .served())
    #expect(await harness.run(MockClient(ip: "192.0.2.2", user: "ada")) == .refused(.rateLimited))
    #expect(await harness.run(MockClient(ip: "192.0.2.1", user: "grace")) == .served())
  }

  @Test func aDestinationIsHostAndPort() async throws {
    let harness = try ChainHarness(.socks5) { TokenBucket(.perSecond(1), per: .destination) }
    #expect(await harness.run(MockClient(destination: "a.example:443")) == .served())
    #expect(await harness.run(MockClient(destination: "A.example:443")) == .refused(.rateLimited))
    #expect(await harness.run(MockClient(destination: "a.example:80")) == .served())
  }

  @Test func aClosureChoosesTheKeyOrExempts() async throws {
    let harness = try ChainHarness(.tcp) {
      TokenBucket(.perSecond(1), per: .custom("office") { $0.client.ip?.isPrivate == true ? nil : $0.listener.name })
    }
    for _ in 0..<3 { #expect(await harness.run(MockClient(ip: "10.0.0.1")) == .served()) }
    #expect(await harness.run(MockClient(ip: "192.0.2.1")) == .served())
    #expect(await harness.run(MockClient(ip: "192.0.2.2")) == .refused(.rateLimited))
  }

  @Test func aFullTableRefusesOrAdmitsNewKeysAsItIsTold() async throws {
    let strict = try ChainHarness(.socks5) { TokenBucket(.perHour(1), per: .destination, maxKeys: 1) }
    let lenient = try ChainHarness(.socks5) {
      TokenBucket(.perHour(1), per: .destination, maxKeys: 1, whenFull: .admit)
    }
    var turnedAway = 0
    for port in 1...1000 {
      let client = MockClient(destination: "a.example:\(port)")
      if await strict.run(client) == .refused(.overloaded) { turnedAway += 1 }
      #expect(await lenient.run(client) == .served())
    }
    #expect(turnedAway > 400)
  }

  @Test func saysThatNewKeysFoundNoRoom() async throws {
    let bucket = TokenBucket(.perHour(1), per: .destination, maxKeys: 1)
    let harness = try ChainHarness(.socks5) { bucket }
    for port in 1...1000 { _ = await harness.run(MockClient(destination: "a.example:\(port)")) }
    let services = ManualServices(clock: harness.clock)
    let task = Task { try await bucket.run(services) }
    await services.clock.sleepers(1)
    #expect(services.log.text == [])
    _ = await harness.run(MockClient(destination: "b.example:1"))
    let more = await refusals(of: harness, 2000...2100)
    services.clock.advance(by: .seconds(60))
    await services.clock.sleepers(1)
    #expect(more > 0)
    #expect(services.log.text.count == 1)
    #expect(services.log.text.first?.hasPrefix("token-bucket (1 per hour, burst 1): no room") == true)
    task.cancel()
    _ = await task.result
  }

  private func refusals(of harness: ChainHarness<SOCKS5Exchange>, _ ports: ClosedRange<Int>) async -> Int {
    var count = 0
    for port in ports where await harness.run(MockClient(destination: "c.example:\(port)")) != .served() { count += 1 }
    return count
  }

  @Test func aReloadKeepsTheBalances() async throws {
    let old = try ChainHarness(.tcp) { TokenBucket(.perSecond(1, burst: 3), per: .clientAddress) }
    for _ in 0..<2 { #expect(await old.run() == .served()) }
    let new = try ChainHarness(.tcp, clock: old.clock, replacing: old.service.placement) {
      TokenBucket(.perSecond(1, burst: 3), per: .clientAddress)
    }
    #expect(await new.run() == .served())
    #expect(await new.run() == .refused(.rateLimited))
    // The chain that drains counts in the same buckets.
    #expect(await old.run() == .refused(.rateLimited))
  }

  @Test func aReloadWithAnotherRateDoesNotRefill() async throws {
    let old = try ChainHarness(.tcp) { TokenBucket(.perSecond(1, burst: 2), per: .clientAddress) }
    for _ in 0..<2 { #expect(await old.run() == .served()) }
    let new = try ChainHarness(.tcp, clock: old.clock, replacing: old.service.placement) {
      TokenBucket(.perSecond(10, burst: 20), per: .clientAddress)
    }
    #expect(await new.run() == .refused(.rateLimited))
    new.clock.advance(by: .milliseconds(100))
    #expect(await new.run() == .served())
    #expect(await new.run() == .refused(.rateLimited))
  }

  @Test(arguments: [
    (Rate.perSecond(0), "token-bucket: a rate of 0: 1 to 1,000,000,000 tokens per period are allowed"),
    (.perSecond(-5, burst: 1), "token-bucket: a rate of -5: 1 to 1,000,000,000 tokens per period are allowed"),
    (.perSecond(1, burst: 0), "token-bucket: a burst of 0: 1 to 1,000,000,000 tokens are allowed"),
    (.perSecond(.max), "token-bucket: a rate of \(Int.max): 1 to 1,000,000,000 tokens per period are allowed"),
    (.per(.zero, 1), "token-bucket: a period of 0.0 seconds: 1 ms to 366 days are allowed"),
    (
      .perHour(1, burst: 1_000_000),
      "token-bucket: 1 per hour, burst 1000000: an empty bucket would take more than 366 days to fill"
    ),
  ])
  func numbersOutOfRangeAreRefusedByName(_ rate: Rate, _ message: String) {
    #expect(complaints { _ = try ChainHarness(.tcp) { TokenBucket(rate, per: .global) } } == [message])
  }

  @Test func aDestinationLimitAboveAPasswordIsRefusedOnSOCKS5() {
    let found = complaints {
      _ = try ChainHarness(.socks5) {
        TokenBucket(.perSecond(1), per: .destination)
        NamedByClient()
      }
    }
    #expect(
      found == [
        "named-by-client: token-bucket above it uses the destination, which a SOCKS5 client names only after "
          + "authentication: move it below the authenticator"
      ])
  }
}
