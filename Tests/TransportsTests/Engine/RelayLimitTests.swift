import CShim
import Glibc
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// A meter that grants what a closure says and keeps a record.
final class RecordingMeter: ByteMeter {
  struct Record: Sendable {
    var moved: Traffic
    /// What had been granted when these bytes moved.
    var lease: Lease
    var at: Instant
    var isLast: Bool
  }

  private struct State {
    var lease = Lease(up: 0, down: 0)
    var records: [Record] = []
    var total = Traffic()
  }

  private let state = Mutex(State())
  private let grant: @Sendable (_ total: Traffic, _ now: Instant) throws -> Lease

  init(_ grant: @escaping @Sendable (_ total: Traffic, _ now: Instant) throws -> Lease) { self.grant = grant }

  var records: [Record] { state.withLock { $0.records } }

  var total: Traffic { state.withLock { $0.total } }

  func account(_ moved: Traffic, on exchange: Exchange, isLast: Bool) throws -> Lease {
    let now = exchange.now
    state.withLock { state in
      state.records.append(Record(moved: moved, lease: state.lease, at: now, isLast: isLast))
      state.total = Traffic(up: state.total.up + moved.up, down: state.total.down + moved.down)
    }
    let lease = try grant(total, now)
    state.withLock { $0.lease = lease }
    return lease
  }
}

@Suite struct RelayLimitTests {
  @Test(arguments: RelayMode.allCases)
  func noMoreMovesThanTheLeaseGrants(mode: RelayMode) async throws {
    let origin = try BlockingOrigin()
    let random = Mutex(FastRandom(state: (1 << 60, 1 << 61, 1 << 62, 1 << 63)))
    let meter = RecordingMeter { _, _ in
      // Of every size, from a byte to more than a pipe holds.
      random.withLock { random in
        Lease(
          up: Int.random(in: 1...(1 << Int.random(in: 6...21, using: &random)), using: &random),
          down: Int.random(in: 1...(1 << Int.random(in: 6...21, using: &random)), using: &random))
      }
    }
    let results = Mailbox<Summary>()
    let fixture = try await mode.tunnel(to: origin.address, results: results) { $0.attach(meter) }
    let proxy = fixture.address
    let up = noise(3_000_000, seed: 1)
    let down = noise(4_000_000, seed: 2)
    async let atOrigin: [UInt8] = onThread { try origin.accept().exchange(down) }
    let atClient = try await onThread { try BlockingPeer.connect(proxy).exchange(up) }
    #expect(try await atOrigin == up)
    #expect(atClient == down)
    _ = await results.next()
    for record in meter.records {
      #expect(record.moved.up <= UInt64(record.lease.up))
      #expect(record.moved.down <= UInt64(record.lease.down))
    }
    #expect(meter.records.count > 3)
    await fixture.stopAndExpectNothingLeft()
  }

  @Test(arguments: RelayMode.allCases)
  func aMeterThatThrowsCutsTheTunnelAtItsByte(mode: RelayMode) async throws {
    let origin = try BlockingOrigin()
    let quota: UInt64 = 100_000
    let meter = RecordingMeter { total, _ in
      if total.down >= quota { throw Rejection(.quotaExhausted) }
      return Lease(down: Int(quota - total.down))
    }
    let fixture = try await mode.tunnel(to: origin.address) { $0.attach(meter) }
    let proxy = fixture.address
    async let served: Int32? = onThread {
      let peer = try origin.accept()
      do {
        try peer.send(noise(8_000_000, seed: 3))
      } catch let error as SystemError {
        return error.code
      }
      return peer.errorOfNextReceive()
    }
    let received = try await onThread {
      let client = try BlockingPeer.connect(proxy)
      return (try? client.receive(exactly: 1_000_000).count) ?? 0
    }
    let end = try #require(await fixture.ended.next())
    let rejection = #expect(throws: Rejection.self) { try end.get() }
    #expect(rejection?.kind == .quotaExhausted)
    #expect(meter.total.down == quota)
    #expect(received <= Int(quota))
    // The upstream is told that its stream was broken off.
    #expect(try await served == ECONNRESET)
    await fixture.stopAndExpectNothingLeft()
  }

  @Test(arguments: RelayMode.allCases)
  func aLeaseThatSaysWaitShapesTheRate(mode: RelayMode) async throws {
    let origin = try BlockingOrigin()
    let piece = 50_000
    let pause = Duration.milliseconds(5)
    let granted = Mutex((count: 0, next: Instant(nanoseconds: 0)))
    let meter = RecordingMeter { _, now in
      granted.withLock { granted in
        if now < granted.next { return Lease(up: 0, down: 0, renewBy: granted.next) }
        granted.count += 1
        granted.next = now + pause
        return Lease(up: piece, down: piece, renewBy: granted.next)
      }
    }
    let results = Mailbox<Summary>()
    let fixture = try await mode.tunnel(to: origin.address, results: results) { $0.attach(meter) }
    let proxy = fixture.address
    let bytes = noise(500_000, seed: 8)
    async let served: [UInt8] = onThread { try origin.accept().exchange(bytes) }
    let received = try await onThread { try BlockingPeer.connect(proxy).exchange([1]) }
    #expect(received == bytes)
    #expect(try await served == [1])
    _ = await results.next()
    // Ten pieces need ten grants, and each grant is a pause after the one before.
    let records = meter.records
    let first = try #require(records.first)
    let last = try #require(records.last)
    #expect(granted.withLock { $0.count } >= 10)
    #expect(last.at - first.at >= pause * 9)
    await fixture.stopAndExpectNothingLeft()
  }

  /// A direction that rests does not listen for bytes. It must begin to again: whether its source has sent more meanwhile, sends
  /// more much later, or only ends.
  @Test(arguments: RelayMode.allCases)
  func aDirectionThatHasRestedHearsWhatComesLater(mode: RelayMode) async throws {
    let origin = try BlockingOrigin()
    let granted = Mutex((count: 0, next: Instant(nanoseconds: 0)))
    let meter = RecordingMeter { _, now in
      granted.withLock { granted in
        if now < granted.next { return Lease(up: 0, renewBy: granted.next) }
        granted.count += 1
        granted.next = now + .milliseconds(2)
        return Lease(up: 1000)
      }
    }
    let results = Mailbox<Summary>()
    let fixture = try await mode.tunnel(to: origin.address, results: results) { $0.attach(meter) }
    let proxy = fixture.address
    let bytes = noise(5500, seed: 9)
    try await onThread {
      let client = try BlockingPeer.connect(proxy)
      let peer = try origin.accept()
      // More than a lease, so that it rests with bytes at hand; then one by one, each after the last has arrived.
      try client.send(Array(bytes[..<5000]))
      #expect(try peer.receive(exactly: 5000) == Array(bytes[..<5000]))
      for place in 5000..<5500 {
        try client.send([bytes[place]])
        #expect(try peer.receive(exactly: 1) == [bytes[place]])
      }
      client.finishWriting()
      #expect(try peer.receiveToEnd().isEmpty)
      peer.close()
    }
    #expect(await results.next()?.traffic.up == 5500)
    #expect(granted.withLock { $0.count } >= 5)
    await fixture.stopAndExpectNothingLeft()
  }

  @Test(arguments: RelayMode.allCases)
  func aTunnelInWhichNothingMovesEndsAtItsIdleLimit(mode: RelayMode) async throws {
    let origin = try BlockingOrigin()
    var options = ListenerOptions()
    options.idleTimeout = .milliseconds(20)
    let fixture = try await mode.tunnel(to: origin.address, options: options)
    let client = try BlockingPeer.connect(fixture.address)
    let began = Loop.preciseNow
    let end = try #require(await fixture.ended.next())
    let rejection = #expect(throws: Rejection.self) { try end.get() }
    #expect(rejection?.kind == .idleTimeout)
    #expect(Loop.preciseNow - began >= .milliseconds(20))
    client.close()
    await fixture.stopAndExpectNothingLeft()
  }

  @Test func aClientThatResetsWhileItsDirectionRestsIsNoticed() async throws {
    let origin = try BlockingOrigin()
    // Nothing may go up, for as long as anybody asks.
    let meter = RecordingMeter { _, now in Lease(up: 0, renewBy: now + .seconds(3600)) }
    let results = Mailbox<Summary>()
    let fixture = try await EngineFixture.tunnel(to: origin.address, results: results) { $0.attach(meter) }
    let client = try BlockingPeer.connect(fixture.address)
    let peer = try await onThread { try origin.accept() }
    try client.send([1, 2, 3])
    await fixture.parked()
    client.reset()
    #expect(await results.next() == Summary(traffic: Traffic(), endedBy: .client, ending: .reset))
    peer.close()
    await fixture.stopAndExpectNothingLeft()
  }

  @Test func everyMoveBeginsTheIdleTimeAnew() async throws {
    let origin = try BlockingOrigin()
    var options = ListenerOptions()
    // Long enough for a machine that runs all the other tests at the same time.
    options.idleTimeout = .seconds(2)
    options.lifetime = .seconds(5)
    let fixture = try await EngineFixture.tunnel(to: origin.address, options: options)
    let proxy = fixture.address
    async let served: Void = onThread {
      let peer = try origin.accept()
      while let bytes = try? peer.receive(), !bytes.isEmpty { try? peer.send(bytes) }
    }
    // A ping-pong without a pause: longer than the idle limit in all, never in between.
    try await onThread {
      let client = try BlockingPeer.connect(proxy)
      while (try? client.send([1])) != nil, let echo = try? client.receive(), !echo.isEmpty {}
    }
    let end = try #require(await fixture.ended.next())
    let rejection = #expect(throws: Rejection.self) { try end.get() }
    #expect(rejection?.kind == .lifetimeExceeded)
    try await served
    await fixture.stopAndExpectNothingLeft()
  }

  @Test func theExchangesDeadlineEndsATunnel() async throws {
    let origin = try BlockingOrigin()
    let fixture = try await EngineFixture.tunnel(to: origin.address) { exchange in
      exchange.deadline = exchange.now + .milliseconds(20)
    }
    let client = try BlockingPeer.connect(fixture.address)
    let end = try #require(await fixture.ended.next())
    #expect(throws: DeadlineExceeded.self) { try end.get() }
    client.close()
    await fixture.stopAndExpectNothingLeft()
  }

  @Test func aCutEndsATunnel() async throws {
    let origin = try BlockingOrigin()
    let fixture = try await EngineFixture.tunnel(to: origin.address)
    let client = try BlockingPeer.connect(fixture.address)
    let peer = try await onThread { try origin.accept() }
    await fixture.parked()
    await fixture.engine.onEveryLoop { $0.connections.cutAll() }
    let end = try #require(await fixture.ended.next())
    let rejection = #expect(throws: Rejection.self) { try end.get() }
    #expect(rejection?.kind == .draining)
    #expect(try await onThread { peer.errorOfNextReceive() } == ECONNRESET)
    client.close()
    await fixture.stopAndExpectNothingLeft()
  }

  @Test func metersHearOfAMovingTunnelEverySecond() async throws {
    let origin = try BlockingOrigin()
    let meter = RecordingMeter { _, _ in .unlimited }
    let fixture = try await EngineFixture.tunnel(to: origin.address) { $0.attach(meter) }
    let client = try BlockingPeer.connect(fixture.address)
    let peer = try await onThread { try origin.accept() }
    try client.send([1, 2, 3])
    #expect(try await onThread { try peer.receive(exactly: 3) } == [1, 2, 3])
    // Nothing is used up, and the meter is told all the same.
    let patience = Loop.preciseNow + .seconds(10)
    while meter.total.up != 3, Loop.preciseNow < patience { await fixture.parked() }
    #expect(meter.total.up == 3)
    client.close()
    peer.close()
    _ = await fixture.ended.next()
    await fixture.stopAndExpectNothingLeft()
  }
}
