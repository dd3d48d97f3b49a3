import CShim
import Glibc
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// Everything that a connection's task can be parked on.
enum Park: CaseIterable, Sendable {
  case readable, writable, sleep, offload, resolve, dial, race, signal

  /// Waits for something that does not come.
  func wait(_ connection: Connection, _ far: FarSide) async throws {
    switch self {
    case .readable:
      let stream = try await connection.connect(to: approved(far.silent.address), timeout: .seconds(5))
      defer { stream.close() }
      try await connection.wait(for: stream, .readable)
    case .writable:
      let stream = try await connection.connect(to: approved(far.silent.address), timeout: .seconds(5))
      defer { stream.close() }
      let block = [UInt8](repeating: 0, count: 65536)
      while true {
        if try stream.write(block.span.bytes) == 0 { try await connection.wait(for: stream, .writable) }
      }
    case .sleep:
      try await connection.sleep(until: connection.now + .seconds(60))
    case .offload:
      let gate = far.gate
      try await connection.offload { gate.wait() }
    case .resolve:
      _ = try await connection.resolve(DomainName("slow.example")!)
    case .dial:
      _ = try await connection.connect(to: approved(far.full.address), timeout: .seconds(60))
    case .race:
      _ = try await connection.connect(to: approved(far.full.address, far.full.address6), timeout: .seconds(60))
    case .signal:
      try await connection.wait(for: Signal())
    }
  }
}

/// A gate that blocks threads until it is opened.
final class Gate: Sendable {
  private let condition = Condition()
  private let opened = Atomic<Bool>(false)

  var isOpen: Bool { opened.load(ordering: .sequentiallyConsistent) }

  func open() {
    condition.lock()
    opened.store(true, ordering: .relaxed)
    condition.wakeAll()
    condition.unlock()
  }

  func wait() {
    condition.lock()
    while !opened.load(ordering: .relaxed) { condition.wait() }
    condition.unlock()
  }
}

/// Origins that answer nothing, and what blocks threads.
final class FarSide: Sendable {
  /// A listener whose backlog is full: further connections hang.
  final class Full: Sendable {
    let origin: BlockingOrigin
    let origin6: BlockingOrigin?
    private let fillers: [BlockingPeer]

    init() throws {
      origin = try BlockingOrigin(backlog: 0)
      origin6 = try? BlockingOrigin(backlog: 0, .ip(.loopbackV6, port: origin.address.port))
      fillers = try ([origin, origin6].compactMap { $0?.address }).flatMap { address in
        // Connections that nobody accepts, until one hangs.
        try (0..<4).map { _ in try BlockingPeer.begin(address) }
      }
    }

    var address: SocketAddress { origin.address }
    var address6: SocketAddress { .ip(.loopbackV6, port: origin.address.port) }
  }

  let silent: BlockingOrigin
  let full: Full
  let gate = Gate()

  init() throws {
    silent = try BlockingOrigin()
    full = try Full()
  }

  /// A look-up that ends when the gate opens.
  struct Lookup: NameLookup {
    let gate: Gate

    func addresses(of name: DomainName) throws(LookupFailure) -> LookupAnswer {
      gate.wait()
      return LookupAnswer(addresses: [.loopbackV4])
    }
  }

  var engine: EngineOptions { EngineOptions(loops: 1, lookup: Lookup(gate: gate)) }
}

@Suite struct ParkingTests {
  @Test(arguments: Park.allCases)
  func theDeadlineEndsEveryKindOfWait(park: Park) async throws {
    let far = try FarSide()
    let fixture = try await EngineFixture(far.engine) { connection in
      let deadline = connection.now + .milliseconds(30)
      connection.deadline = deadline
      do {
        try await park.wait(connection, far)
        Issue.record("the wait ended by itself")
      } catch let error as DeadlineExceeded {
        #expect(error.deadline == deadline)
        #expect(connection.now >= deadline)
      }
      // A connection whose deadline has passed waits for nothing more.
      await #expect(throws: DeadlineExceeded.self) { try await connection.sleep(until: .distantFuture) }
    }
    let client = try BlockingPeer.connect(fixture.address)
    try await #require(fixture.ended.next()).get()
    far.gate.open()
    client.close()
    await fixture.stop()
    #expect(fixture.counters.sockets.value == 0)
    #expect(fixture.counters.timers.value == 0)
  }

  @Test(arguments: Park.allCases)
  func aClientsResetEndsEveryKindOfWait(park: Park) async throws {
    let far = try FarSide()
    let fixture = try await EngineFixture(far.engine) { connection in
      do {
        try await park.wait(connection, far)
        Issue.record("the wait ended by itself")
      } catch let error as Rejection {
        #expect(error.kind == .clientGone)
      }
    }
    let client = try BlockingPeer.connect(fixture.address)
    await fixture.parked()
    client.reset()
    try await #require(fixture.ended.next()).get()
    far.gate.open()
    await fixture.stop()
    #expect(fixture.counters.sockets.value == 0)
    #expect(fixture.counters.timers.value == 0)
  }

  @Test(arguments: Park.allCases)
  func aCutEndsEveryKindOfWait(park: Park) async throws {
    let far = try FarSide()
    let fixture = try await EngineFixture(far.engine) { connection in
      do {
        try await park.wait(connection, far)
        Issue.record("the wait ended by itself")
      } catch let error as Rejection {
        #expect(error.kind == .draining)
        // What the task awaits elsewhere sees it, too.
        #expect(Task.isCancelled)
      }
      await #expect(throws: Rejection.self) { try await connection.sleep(until: .distantFuture) }
    }
    let client = try BlockingPeer.connect(fixture.address)
    await fixture.parked()
    await fixture.engine.onEveryLoop { $0.connections.cutAll() }
    try await #require(fixture.ended.next()).get()
    far.gate.open()
    client.close()
    await fixture.stop()
    #expect(fixture.counters.sockets.value == 0)
  }

  @Test func aClientsEndIsNoLossOfTheClient() async throws {
    let fixture = try await EngineFixture { connection in
      try await connection.wait(for: connection.client, .readable)
      #expect(try connection.client.readAll().isEmpty)
      // Its FIN has been seen, and it still waits for an answer.
      try await connection.sleep(until: connection.now + .milliseconds(5))
      #expect(try connection.client.write([7 as UInt8].span.bytes) == 1)
    }
    let proxy = fixture.address
    let answer = try await onThread {
      let client = try BlockingPeer.connect(proxy)
      client.finishWriting()
      return try client.receiveToEnd()
    }
    #expect(answer == [7])
    try await #require(fixture.ended.next()).get()
    await fixture.stop()
  }

  @Test func aSleepEndsAtItsTimeAndNotBefore() async throws {
    let fixture = try await EngineFixture { connection in
      for milliseconds in [0, 1, 3, 12] {
        let until = Loop.preciseNow + .milliseconds(milliseconds)
        try await connection.sleep(until: until)
        #expect(Loop.preciseNow >= until)
      }
    }
    let client = try BlockingPeer.connect(fixture.address)
    try await #require(fixture.ended.next()).get()
    client.close()
    await fixture.stop()
  }

  @Test func aSignalWakesConnectionsOfEveryLoop() async throws {
    let signal = Signal()
    let fixture = try await EngineFixture(EngineOptions(loops: 2)) { connection in
      try await connection.wait(for: signal)
      // It has fired: the next wait returns at once.
      try await connection.wait(for: signal)
    }
    let clients = try (0..<10).map { _ in try BlockingPeer.connect(fixture.address) }
    while signal.waiterCount < clients.count { await fixture.parked() }
    signal.fire()
    for _ in clients { try await #require(fixture.ended.next()).get() }
    #expect(signal.waiterCount == 0)
    await fixture.stop()
  }

  @Test func aWaitThatEndedEarlyHasLeftItsSignal() async throws {
    let signal = Signal()
    let fixture = try await EngineFixture { connection in
      connection.deadline = connection.now + .milliseconds(5)
      await #expect(throws: DeadlineExceeded.self) { try await connection.wait(for: signal) }
      #expect(signal.waiterCount == 0)
    }
    let client = try BlockingPeer.connect(fixture.address)
    try await #require(fixture.ended.next()).get()
    client.close()
    await fixture.stop()
  }

  @Test func aTaskThatAlwaysFindsItsStreamReadyLetsOthersRun() async throws {
    let othersRan = EngineCounters.Gauge()
    let fixture = try await EngineFixture { connection in
      let isFirst = try await connection.client.readByte(connection) == 1
      if isFirst {
        // The socket stays writable; only the other connection, on the same loop, ends this.
        while othersRan.value == 0 { try await connection.wait(for: connection.client, .writable) }
      } else {
        othersRan.add(1)
      }
    }
    let first = try BlockingPeer.connect(fixture.address)
    try first.send([1])
    let second = try BlockingPeer.connect(fixture.address)
    try second.send([2])
    for _ in 0..<2 { try await #require(fixture.ended.next()).get() }
    await fixture.stop()
  }

  @Test func anOffloadedErrorComesBackAndTheTaskStaysOnItsLoop() async throws {
    struct Broken: Error {}
    let fixture = try await EngineFixture { connection in
      let value = try await connection.offload { pthread_self() }
      #expect(connection.loop.isCurrent)
      #expect(value != pthread_self())
      await #expect(throws: Broken.self) { try await connection.offload { throw Broken() } }
      #expect(connection.loop.isCurrent)
    }
    let client = try BlockingPeer.connect(fixture.address)
    try await #require(fixture.ended.next()).get()
    client.close()
    await fixture.stop()
  }

  @Test func aFullOffloadQueueIsRefused() async throws {
    let gate = Gate()
    let started = Mailbox<Void>()
    let fixture = try await EngineFixture(EngineOptions(loops: 1, offloadThreads: 1, offloadQueue: 1)) { connection in
      try await connection.offload {
        started.put(())
        gate.wait()
      }
    }
    // One runs, one waits, the third is refused.
    var clients = [try BlockingPeer.connect(fixture.address)]
    await started.next()
    clients += try (0..<2).map { _ in try BlockingPeer.connect(fixture.address) }
    let end = try await #require(fixture.ended.next())
    let refused = #expect(throws: Rejection.self) { try end.get() }
    #expect(refused?.kind == .overloaded)
    gate.open()
    for _ in 0..<2 { try await #require(fixture.ended.next()).get() }
    clients.forEach { $0.close() }
    await fixture.stop()
  }
}
