import Foundation
import LedgerTesting
import Middlewares
import Pipeline
import PostgreSQLLedger
import Testing

@Suite struct PostgreSQLLedgerTests {
  let database: String
  let time = UnixTime(seconds: 1_795_262_430)
  let anna = UsageAccount.identity(Principal("anna"))

  init() throws { database = try PostgreSQLServer.makeDatabase() }

  func ledger(
    port: UInt16? = nil, access: PostgreSQLLedger.Access = .readWrite, limit: Duration = .seconds(20)
  ) throws -> PostgreSQLLedger {
    try PostgreSQLLedger(PostgreSQLServer.url(database, port: port), access: access, limit: limit)
  }

  func batch(_ sequence: UInt64, _ names: [String] = ["anna"], writer: UInt64 = 1) -> LedgerBatch {
    var batch = LedgerBatch(writer: LedgerWriterID(high: 0, low: writer), sequence: sequence)
    batch.usage = names.map {
      LedgerUsage(
        account: .identity(Principal($0)), total: UsageChange(requests: 1), firstSeen: time, lastSeen: time,
        windows: [
          LedgerWindow(
            unit: .hour, start: UnixTime(seconds: time.seconds - 30), end: UnixTime(seconds: time.seconds + 3570),
            usage: UsageChange(requests: 1))
        ])
    }
    return batch
  }

  func requests(_ ledger: PostgreSQLLedger) throws -> Int? { try ledger.account(anna, at: time)?.totals.requests }

  func failure(_ body: () throws -> Void) -> String {
    do {
      try body()
      return "no error"
    } catch {
      return "\(error)"
    }
  }

  @Test(arguments: LedgerConformance.all) func doesWhatEveryLedgerMust(_ fact: LedgerConformance) throws {
    try fact.check(ledger())
  }

  // MARK: Secrets and refusals

  @Test func thePasswordIsInNoNameAndNoError() throws {
    let right = try ledger()
    #expect(right.name == "postgres sluice@127.0.0.1:\(try PostgreSQLServer.port())/\(database)")
    let wrong = try PostgreSQLLedger(PostgreSQLServer.url(database, password: "not-the-kennwort"))
    let error = failure { try wrong.add(batch(1)) }
    #expect(error.hasPrefix("the ledger is not available: postgres sluice@127.0.0.1:"))
    #expect(error.contains("password authentication failed for user \"sluice\""))
    #expect(!error.contains("kennwort"))
    for url in ["postgres://u:kennwort%zz@h/d", "mysql://u:kennwort@h/d", "postgres://u:kennwort@[::1/d"] {
      let refused = failure { _ = try PostgreSQLLedger(url) }
      #expect(
        refused
          == "the ledger refuses: the URL of the ledger is none of the form postgres://user:password@host:port/database"
      )
    }
  }

  @Test func aServerThatIsNotThereIsSaid() throws {
    let error = failure { try ledger(port: 1).add(batch(1)) }
    #expect(error.hasPrefix("the ledger is not available: postgres sluice@127.0.0.1:1/\(database): "))
    #expect(error.contains("Connection refused"))
  }

  @Test func newerTablesAreRefused() throws {
    try ledger().add(batch(1))
    try PostgreSQLServer.sql("UPDATE sluice.version SET version = 7", in: database)
    #expect(
      failure { try ledger().add(batch(2)) }.hasSuffix(
        "/\(database) has version 7 of the tables; this program knows versions up to 1"))
  }

  @Test func aReaderMakesAndAddsNothing() throws {
    let reader = try ledger(access: .readOnly)
    #expect(
      failure { _ = try reader.global(at: time) }.hasSuffix(
        "holds no ledger, or an older one: a server that writes to it makes it"))
    try ledger().add(batch(1))
    #expect(try requests(reader) == 1)
    #expect(failure { try reader.add(batch(2)) }.hasSuffix("was opened for reading only"))
  }

  // MARK: Outages

  @Test func aConnectionThatIsLostIsMadeAnewAndTheBatchFits() throws {
    let ledger = try ledger()
    try ledger.add(batch(1))
    #expect(try requests(ledger) == 1)
    try PostgreSQLServer.sql(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '\(database)' AND pid <> pg_backend_pid()"
    )
    #expect(failure { try ledger.add(batch(2)) }.hasPrefix("the ledger is not available: "))
    try ledger.add(batch(2))
    #expect(failure { _ = try requests(ledger) }.hasPrefix("the ledger is not available: "))
    #expect(try requests(ledger) == 2)
  }

  @Test func aBatchWhoseAnswerWasLostIsNotCountedTwice() throws {
    let thief = try AnswerThief(to: PostgreSQLServer.port(), thefts: 0)
    defer { thief.stop() }
    try ledger(port: thief.port).add(batch(1))
    let stealing = try AnswerThief(to: PostgreSQLServer.port(), thefts: 3)
    defer { stealing.stop() }
    let ledger = try ledger(port: stealing.port)
    var failures = 0
    for sequence in 2...5 as ClosedRange<UInt64> {
      while failure({ try ledger.add(batch(sequence)) }) != "no error" { failures += 1 }
    }
    #expect(failures == 3)
    #expect(try requests(self.ledger()) == 5)
  }

  @Test func theSameBatchOnTwoConnectionsAtOnceIsCountedOnce() async throws {
    let ledgers = [try ledger(), try ledger()]
    for ledger in ledgers { _ = try requests(ledger) }
    for sequence in 1...20 as ClosedRange<UInt64> {
      try await withThrowingTaskGroup { group in
        for ledger in ledgers {
          let batch = batch(sequence, ["anna", "bob"])
          group.addTask { try await onThread { try ledger.add(batch) } }
        }
        try await group.waitForAll()
      }
    }
    #expect(try requests(ledgers[0]) == 20)
    #expect(try ledgers[1].global(at: time)?.totals.requests == 40)
  }

  @Test func severalProcessesAddEverythingOnceAndStandInNobodysWay() async throws {
    try await withThrowingTaskGroup { group in
      for writer in 1...4 as ClosedRange<UInt64> {
        // Also the tables are made by several at once. The same accounts, each in another order.
        let ledger = try ledger()
        let batches = (1...10 as ClosedRange<UInt64>).map { sequence in
          batch(sequence, (0..<50).map { "user\((Int(writer) * 13 + $0 * 7) % 50)" }, writer: writer)
        }
        group.addTask { try await onThread { for batch in batches { try ledger.add(batch) } } }
      }
      try await group.waitForAll()
    }
    let sum = try ledger().global(at: time)
    #expect(sum?.totals.requests == 2000)
    #expect(sum?.windows.map(\.usage.requests) == [2000])
    #expect(try ledger().account(.identity(Principal("user17")), at: time)?.totals.requests == 40)
  }

  @Test func aTableThatIsLockedIsWaitedForAndThenReportedAndTheBatchFitsLater() throws {
    let ledger = try ledger(limit: .seconds(1))
    try ledger.add(batch(1))
    let holder = try LockHolder("LOCK TABLE sluice.accounts", in: database)
    #expect(failure { try ledger.add(batch(2)) }.hasPrefix("the ledger is not available: "))
    try holder.release()
    while failure({ try ledger.add(batch(2)) }) != "no error" {}
    #expect(try requests(self.ledger()) == 2)
  }

  @Test func aServerThatHangsIsGivenUp() throws {
    let silent = try AnswerThief.silent()
    defer { silent.stop() }
    let ledger = try ledger(port: silent.port, limit: .seconds(1))
    #expect(failure { try ledger.add(batch(1)) }.hasSuffix("/\(database) does not answer within 1.0 seconds"))
  }

  @Test func aServerThatOnlyReadsIsOutUntilItWrites() throws {
    try ledger().add(batch(1))
    try PostgreSQLServer.sql("ALTER DATABASE \(database) SET default_transaction_read_only = on")
    let ledger = try ledger()
    let error = failure { try ledger.add(batch(2)) }
    #expect(error.hasPrefix("the ledger is not available: "))
    #expect(error.contains("read-only transaction"))
    try PostgreSQLServer.sql("SET default_transaction_read_only = off; ALTER DATABASE \(database) RESET ALL")
    try ledger.add(batch(2))
    #expect(try requests(ledger) == 2)
  }
}

/// Runs a body on a thread of its own.
private func onThread(_ body: @escaping @Sendable () throws -> Void) async throws {
  try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
    Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
  }
}
