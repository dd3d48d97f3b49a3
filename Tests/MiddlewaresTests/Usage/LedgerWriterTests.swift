import LedgerTesting
import Middlewares
import Pipeline
import PipelineTesting
import Testing

@Suite struct LedgerWriterTests {
  let ledger = MemoryLedger()
  let services = ManualServices()
  let source = CountingSource()
  let now = CountingSource.start

  func makeWriter(
    batch: Int = 100, loadWithin: Duration = .zero, flushWithin: Duration = .seconds(10)
  ) -> LedgerWriter {
    let time = now
    let writer = LedgerWriter(
      ledger, batch: batch, loadWithin: loadWithin, flushWithin: flushWithin, clock: WallClock { time })
    writer.register(source)
    return writer
  }

  func written(_ name: String) throws -> Int {
    try ledger.account(.identity(Principal(name)), at: now)?.totals.requests ?? 0
  }

  @Test(arguments: LedgerConformance.all) func theLedgerOfTheseTestsDoesWhatEveryLedgerMust(
    _ fact: LedgerConformance
  ) throws {
    try fact.check(MemoryLedger())
  }

  // MARK: Pace

  @Test func itWritesOnceAnIntervalWhatWasCountedInIt() async throws {
    let writer = makeWriter()
    let task = Task { try await writer.run(services) }
    await services.clock.sleepers(1)
    for round in 1...3 {
      source.count("anna", 2)
      #expect(try written("anna") == (round - 1) * 2)
      services.clock.advance(by: .seconds(1))
      await services.clock.sleepers(1)
      #expect(try written("anna") == round * 2)
    }
    #expect(writer.status.batches == 3)
    #expect(writer.status.rows == 3)
    // An interval in which nothing was counted costs no transaction.
    services.clock.advance(by: .seconds(1))
    await services.clock.sleepers(1)
    #expect(ledger.batches.count == 3)
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  @Test func manyDirtyAccountsGoInSeveralBatchesOfOneInterval() async throws {
    let writer = makeWriter(batch: 10)
    for number in 0..<25 { source.count("user\(number)") }
    #expect(await writer.flush(services))
    #expect(ledger.batches.map(\.usage.count) == [10, 10, 5])
    #expect(ledger.batches.map(\.sequence) == [1, 2, 3])
    #expect(try ledger.global(at: now)?.totals.requests == 25)
  }

  // MARK: Outages

  @Test(arguments: [MemoryLedger.Fate.fails, .losesAnswer, .rejects])
  func aBatchThatFailedIsRepeatedAsItWas(_ fate: MemoryLedger.Fate) async throws {
    let writer = makeWriter()
    #expect(await writer.flush(services))
    source.count("anna", 5)
    ledger.script([fate, fate])
    #expect(await !writer.flush(services))
    // Counted meanwhile: the repeated batch does not change.
    source.count("anna", 1)
    source.count("bob", 1)
    #expect(await !writer.flush(services))
    #expect(writer.status.pending == 1)
    #expect(await writer.flush(services))
    #expect(ledger.batches.map(\.sequence) == [1, 1, 1, 2])
    #expect(ledger.batches[0] == ledger.batches[2])
    #expect(try written("anna") == 6)
    #expect(try written("bob") == 1)
    let status = writer.status
    #expect([status.batches, status.rows, status.failures, status.pending] == [2, 3, 2, 0])
    #expect(status.isLoaded && status.problem == nil)
  }

  @Test func anOutageIsSaidOnceAndItsEndOnceAndThePausesGrow() async throws {
    let writer = makeWriter()
    let task = Task { try await writer.run(services) }
    await services.clock.sleepers(1)
    ledger.always = .fails
    source.count("anna")
    var attempts = 0
    // 1 s until the first attempt, then pauses of 1, 2, 4, 8, 16, 30, 30 s.
    for pause in [1, 1, 2, 4, 8, 16, 30, 30] {
      services.clock.advance(by: .seconds(pause) - .milliseconds(1))
      #expect(ledger.batches.count == attempts, "\(pause) s")
      services.clock.advance(by: .milliseconds(1))
      await services.clock.sleepers(1)
      attempts += 1
      #expect(ledger.batches.count == attempts, "\(pause) s")
    }
    ledger.always = .works
    services.clock.advance(by: .seconds(30))
    await services.clock.sleepers(1)
    #expect(
      services.log.text == [
        "ledger memory: the ledger is not available: scripted; what is counted is kept in memory, one row for each account, and tried again",
        "ledger memory: works again after 121 s and 8 failed attempts",
      ])
    #expect(services.log.lines.map(\.level) == [.error, .notice])
    task.cancel()
    _ = await task.result
  }

  @Test func anOutageKeepsOneRowForEachAccountHoweverLongItLasts() async throws {
    let writer = makeWriter(batch: 10)
    #expect(await writer.flush(services))
    ledger.always = .fails
    for _ in 0..<1000 {
      for number in 0..<20 { source.count("user\(number)") }
      #expect(await !writer.flush(services))
    }
    // One batch is under way; the sources hold the rest, a row for each.
    #expect(writer.status.pending == 10)
    #expect(source.dirtyCount == 20)
    ledger.always = .works
    #expect(await writer.flush(services))
    #expect(try ledger.global(at: now)?.totals.requests == 20_000)
    // 10 rows of the first batch, and the 20 that were counted on.
    #expect(writer.status.rows == 30)
  }

  @Test func randomFailuresAndRestartsCountEverythingOnce() async throws {
    for seed in 1...100 as ClosedRange<UInt64> {
      var random = SeededRandom(seed: seed)
      let ledger = MemoryLedger()
      let time = now
      var truth: [String: Int] = [:]
      for _ in 0..<4 {
        // A process: it loads, counts and fails, and ends in order.
        let source = CountingSource()
        let writer = LedgerWriter(ledger, batch: 1 + Int(random.next() % 5), clock: WallClock { time })
        writer.register(source)
        for _ in 0..<40 {
          if random.next() % 3 == 0 {
            ledger.script([[.fails, .losesAnswer, .rejects, .works][Int(random.next() % 4)]])
            await writer.flush(services)
          } else {
            let name = "user\(random.next() % 7)"
            let requests = Int(random.next() % 5) + 1
            truth[name, default: 0] += requests
            source.count(name, requests)
          }
        }
        while await !writer.flush(services) {}
        for (name, requests) in truth { #expect(source.requests(name) == requests, "seed \(seed): \(name)") }
      }
      for (name, requests) in truth {
        let found = try ledger.account(.identity(Principal(name)), at: now)
        #expect(found?.totals.requests == requests, "seed \(seed): \(name)")
        #expect(found?.windows.first?.usage.requests == requests, "seed \(seed): \(name), window")
      }
      #expect(try ledger.global(at: now)?.totals.requests == truth.values.reduce(0, +), "seed \(seed)")
    }
  }

  @Test func whileTheLedgerHangsCountingGoesOnAndNothingElseIsAsked() async throws {
    let gated = GatedServices(services)
    let writer = makeWriter()
    #expect(await writer.flush(gated))
    gated.hold()
    source.count("anna")
    async let first = writer.flush(gated)
    await gated.held()
    async let second = writer.flush(gated)
    source.count("anna")
    source.count("bob")
    #expect(ledger.batches.isEmpty)
    gated.release()
    #expect(await first)
    #expect(await second)
    #expect(try written("anna") == 2)
    #expect(try written("bob") == 1)
    #expect(ledger.batches.count == 2)
  }

  // MARK: The start

  /// What an earlier process left behind.
  func leaveBehind() async {
    let earlier = LedgerWriter(ledger)
    let source = CountingSource()
    earlier.register(source)
    source.count("anna", 7)
    source.count("bob", 3)
    #expect(await earlier.flush(services))
  }

  @Test func atTheStartTheSourcesLearnWhatTheLedgerKnows() async throws {
    await leaveBehind()
    let writer = makeWriter(loadWithin: .seconds(5))
    let task = Task { try await writer.run(services) }
    // The interval, and the limit of the load.
    await services.clock.sleepers(2)
    #expect(writer.ready.hasFired)
    #expect(writer.status.isLoaded)
    #expect(source.requests("anna") == 7)
    source.count("anna")
    task.cancel()
    _ = await task.result
    #expect(try written("anna") == 8)
    #expect(services.log.text.isEmpty)
  }

  @Test func aLedgerThatIsOutAtTheStartIsMergedWhenItIsBack() async throws {
    await leaveBehind()
    ledger.always = .fails
    let writer = makeWriter(loadWithin: .seconds(5))
    let task = Task { try await writer.run(services) }
    await services.clock.sleepers(2)
    source.count("anna")
    #expect(!writer.ready.hasFired)
    // Attempts after 1 and 2 s more, and at 5 s the limit.
    for pause in [1, 2] {
      services.clock.advance(by: .seconds(pause))
      await services.clock.sleepers(2)
    }
    services.clock.advance(by: .seconds(2))
    await services.clock.sleepers(1)
    while !writer.ready.hasFired { await Task.yield() }
    #expect(!writer.status.isLoaded)
    ledger.script([.losesAnswer])
    ledger.always = .works
    services.clock.advance(by: .seconds(2))
    await services.clock.sleepers(1)
    // The load broke off after some rows; the next attempt hands over the rest, and none twice.
    #expect(!writer.status.isLoaded)
    services.clock.advance(by: .seconds(8))
    await services.clock.sleepers(1)
    #expect(writer.status.isLoaded)
    #expect(source.requests("anna") == 8)
    #expect(source.requests("bob") == 3)
    #expect(try written("anna") == 8)
    #expect(
      services.log.text == [
        "ledger memory: the ledger is not available: scripted; what is counted is kept in memory, one row for each account, and tried again",
        "ledger memory: what it knows could not be loaded within 5.0 seconds; serving without, it is merged later",
        "ledger memory: works again after 15 s and 4 failed attempts",
      ])
    task.cancel()
    _ = await task.result
  }

  @Test func aSourceThatComesLaterIsLoadedBeforeItIsWritten() async throws {
    let writer = makeWriter()
    source.count("anna", 4)
    #expect(await writer.flush(services))
    let late = CountingSource()
    late.count("anna", 1)
    writer.register(late)
    #expect(await writer.flush(services))
    #expect(late.requests("anna") == 5)
    // The first source was loaded before, and is not again.
    #expect(source.requests("anna") == 4)
    #expect(try written("anna") == 5)
  }

  // MARK: The end

  @Test func theEndWritesWhatIsLeft() async throws {
    let writer = makeWriter(batch: 3)
    let task = Task { try await writer.run(services) }
    await services.clock.sleepers(1)
    for number in 0..<10 { source.count("user\(number)") }
    // The ledger stumbles once more.
    ledger.script([.losesAnswer])
    task.cancel()
    await services.clock.sleepers(2)
    services.clock.advance(by: .milliseconds(100))
    _ = await task.result
    #expect(try ledger.global(at: now)?.totals.requests == 10)
    #expect(writer.status.pending == 0)
  }

  @Test func whatTheEndCannotWriteIsSaid() async throws {
    let writer = makeWriter(batch: 2, flushWithin: .seconds(3))
    let task = Task { try await writer.run(services) }
    await services.clock.sleepers(1)
    source.count("anna", 5)
    source.count("bob", 2)
    source.count("carol", 1)
    ledger.always = .fails
    task.cancel()
    await services.clock.sleepers(2)
    services.clock.advance(by: .seconds(3))
    _ = await task.result
    #expect(
      services.log.text.last
        == "ledger memory: NOT WRITTEN within 3.0 seconds: 3 rows, usage of 3 accounts (requests 8, connections 0, refused 0, failed 0, up 80, down 0): the ledger is not available: scripted"
    )
  }

  @Test func theEndWaitsForAHangingLedgerOnlyForItsTime() async throws {
    let gated = GatedServices(services)
    let writer = makeWriter(flushWithin: .seconds(3))
    let task = Task { try await writer.run(gated) }
    await services.clock.sleepers(1)
    source.count("anna", 5)
    gated.hold()
    task.cancel()
    await gated.held()
    await services.clock.sleepers(1)
    services.clock.advance(by: .seconds(3))
    _ = await task.result
    #expect(services.log.text.count == 1)
    #expect(services.log.text.first?.hasSuffix("it does not answer") == true)
    gated.release()
  }

  @Test func severalMayRunItAndTheNextTakesOver() async throws {
    let writer = makeWriter()
    let first = Task { try await writer.run(services) }
    await services.clock.sleepers(1)
    let second = Task { try await writer.run(services) }
    source.count("anna")
    first.cancel()
    _ = await first.result
    #expect(try written("anna") == 1)
    await services.clock.sleepers(1)
    source.count("anna")
    services.clock.advance(by: .seconds(1))
    await services.clock.sleepers(1)
    #expect(try written("anna") == 2)
    second.cancel()
    _ = await second.result
  }

  @Test func whenOneOfTwoStopsBeforeTheLoadTheOtherStillLoads() async throws {
    await leaveBehind()
    ledger.always = .fails
    let writer = makeWriter()
    let first = Task { try await writer.run(services) }
    await services.clock.sleepers(1)
    let second = Task { try await writer.run(services) }
    source.count("anna")
    first.cancel()
    _ = await first.result
    await services.clock.sleepers(1)
    ledger.always = .works
    services.clock.advance(by: .seconds(30))
    await services.clock.sleepers(1)
    #expect(source.requests("anna") == 8)
    #expect(try written("anna") == 8)
    second.cancel()
    _ = await second.result
  }

  @Test func onceAnHourTheLedgerForgetsWhatIsOver() async throws {
    let writer = makeWriter()
    let task = Task { try await writer.run(services) }
    await services.clock.sleepers(1)
    #expect(ledger.prunes == 1)
    services.clock.advance(by: .seconds(1))
    await services.clock.sleepers(1)
    #expect(ledger.prunes == 1)
    services.clock.advance(by: .seconds(3600))
    await services.clock.sleepers(1)
    #expect(ledger.prunes == 2)
    task.cancel()
    _ = await task.result
  }
}
