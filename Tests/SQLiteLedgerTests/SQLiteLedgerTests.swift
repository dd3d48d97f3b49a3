import Glibc
import LedgerTesting
import Middlewares
import Pipeline
import SQLiteLedger
import Testing

@Suite struct SQLiteLedgerTests {
  let directory: TemporaryDirectory
  let path: String

  init() throws {
    directory = try TemporaryDirectory()
    path = directory.file()
  }

  func requests(_ name: String, in ledger: SQLiteLedger) throws -> Int? {
    try ledger.account(identity(name), at: time)?.totals.requests
  }

  /// What a call ends in.
  func failure(_ body: () throws -> Void) -> String {
    do {
      try body()
      return "no error"
    } catch {
      return "\(error)"
    }
  }

  @Test(arguments: LedgerConformance.all) func doesWhatEveryLedgerMust(_ fact: LedgerConformance) throws {
    try fact.check(SQLiteLedger(path))
  }

  // MARK: The file

  @Test func theFileIsTheOwnersAloneAndSurvivesAPowerCut() throws {
    let ledger = SQLiteLedger(path)
    try ledger.add(batch(1))
    #expect(try permissions(of: path) == 0o600)
    #expect(try permissions(of: path + "-wal") == 0o600)
    let other = try PlainSQLite(path)
    #expect(try other.run("PRAGMA journal_mode") == "wal")
    #expect(try other.run("PRAGMA application_id") == "1399616867")
    #expect(try other.run("PRAGMA integrity_check") == "ok")
  }

  @Test func whatWasAddedIsThereAfterReopening() throws {
    let first = SQLiteLedger(path)
    try first.add(batch(1, requests: 5))
    first.close()
    // The last to close leaves one file.
    #expect(access(path + "-wal", F_OK) != 0)
    let second = SQLiteLedger(path)
    // Also which batches were added.
    try second.add(batch(1, requests: 5))
    #expect(try requests("anna", in: second) == 5)
  }

  @Test func aReaderSeesWhatAServerWritesAndAddsNothing() throws {
    let reader = SQLiteLedger(path, access: .readOnly)
    #expect(
      failure { _ = try reader.global(at: time) }
        == "the ledger is not available: \(path) cannot be opened: the file does not exist")
    let server = SQLiteLedger(path)
    try server.add(batch(1))
    #expect(try requests("anna", in: reader) == 1)
    try server.add(batch(2))
    #expect(try requests("anna", in: reader) == 2)
    #expect(
      failure { try reader.add(batch(3)) } == "the ledger is not available: \(path) was opened for reading only")
    server.close()
    #expect(try requests("anna", in: SQLiteLedger(path, access: .readOnly)) == 2)
  }

  @Test func aMissingDirectoryIsNamed() {
    let ledger = SQLiteLedger("\(directory.path)/none/usage.db")
    #expect(
      failure { try ledger.add(batch(1)) }
        == "the ledger is not available: \(directory.path)/none/usage.db cannot be made: the directory \(directory.path)/none does not exist"
    )
  }

  @Test func aFileThatIsNoDatabaseIsRefusedAndKept() throws {
    let text = Array(String(repeating: "a list of shopping\n", count: 100).utf8)
    try write(text, to: path)
    let ledger = SQLiteLedger(path)
    #expect(failure { try ledger.add(batch(1)) } == "the ledger refuses: \(path) is no SQLite database")
    // Somebody takes it away.
    unlink(path)
    try ledger.add(batch(1))
    #expect(try requests("anna", in: ledger) == 1)
  }

  @Test func aDatabaseOfAnotherProgramIsRefusedAndNotChanged() throws {
    let other = try PlainSQLite(path)
    try other.run("CREATE TABLE recipes (name TEXT)")
    #expect(
      failure { try SQLiteLedger(path).add(batch(1)) }
        == "the ledger refuses: \(path) is a database of another program")
    #expect(try other.run("PRAGMA journal_mode") == "delete")
    #expect(try other.run("SELECT count(*) FROM sqlite_schema") == "1")
  }

  @Test func newerTablesAreRefused() throws {
    try SQLiteLedger(path).add(batch(1))
    try PlainSQLite(path).run("PRAGMA user_version = 7")
    #expect(
      failure { try SQLiteLedger(path).add(batch(2)) }
        == "the ledger refuses: \(path) has version 7 of the tables; this program knows versions up to 1")
    #expect(
      failure { _ = try SQLiteLedger(path, access: .readOnly).global(at: time) }
        == "the ledger refuses: \(path) has version 7 of the tables; this program knows versions up to 1")
  }

  @Test func aDamagedFileIsCalledDamaged() throws {
    let ledger = SQLiteLedger(path)
    try ledger.add(batch(1, (0..<500).map { "user\($0)" }))
    ledger.close()
    var status = stat()
    #expect(stat(path, &status) == 0)
    let file = open(path, O_RDWR)
    let noise = [UInt8](repeating: 0x5a, count: 4096)
    // Every page but the first, which says what file it is.
    for page in 1..<Int(status.st_size) / 4096 { #expect(pwrite(file, noise, 4096, page * 4096) == 4096) }
    close(file)
    let error = failure { try SQLiteLedger(path).add(batch(2)) }
    #expect(error.hasPrefix("the ledger refuses: \(path) is damaged ("))
  }

  @Test func aFileThatIsDeletedMeanwhileIsNotWrittenToInTheDark() throws {
    let ledger = SQLiteLedger(path)
    try ledger.add(batch(1))
    for suffix in ["", "-wal", "-shm"] { unlink(path + suffix) }
    #expect(
      failure { try ledger.add(batch(2)) }
        == "the ledger is not available: \(path) was moved or deleted; the next attempt opens it anew")
    try ledger.add(batch(2))
    #expect(try PlainSQLite(path).run("SELECT requests FROM accounts WHERE name = 'anna'") == "1")
  }

  // MARK: Outages

  @Test func aLockedFileIsWaitedForAndThenReportedAndTheBatchFitsLater() throws {
    let ledger = SQLiteLedger(path, busyTimeout: .milliseconds(20))
    try ledger.add(batch(1))
    let other = try PlainSQLite(path)
    try other.run("BEGIN EXCLUSIVE")
    for _ in 0..<3 {
      #expect(
        failure { try ledger.add(batch(2)) }
          == "the ledger is not available: \(path) is locked by another program, for longer than 0.02 seconds")
    }
    // Reading goes on: that is what WAL is for.
    #expect(try requests("anna", in: ledger) == 1)
    try other.run("COMMIT")
    try ledger.add(batch(2))
    #expect(try requests("anna", in: ledger) == 2)
  }

  @Test func aFileThatThisUserMayOnlyReadIsOutUntilItIsWritable() async throws {
    let path = path
    let directory = directory
    // The thread gives up being root for files, which would be allowed everything.
    let (refused, later) = try await onThread {
      try withExtendedLifetime(directory) {
        try SQLiteLedger(path).add(batch(1))
        chmod(path, 0o444)
        chmod(directory.path, 0o555)
        typealias SetID = @convention(c) (uid_t) -> Int32
        let nobody = unsafeBitCast(dlsym(nil, "setfsuid"), to: SetID.self)
        let isRoot = geteuid() == 0
        if isRoot { _ = nobody(65534) }
        let ledger = SQLiteLedger(path)
        var refused = "no error"
        do { try ledger.add(batch(2)) } catch { refused = "\(error)" }
        if isRoot { _ = nobody(0) }
        chmod(directory.path, 0o700)
        chmod(path, 0o600)
        try ledger.add(batch(2))
        return (refused, try ledger.account(identity("anna"), at: time)?.totals.requests)
      }
    }
    #expect(refused.hasPrefix("the ledger is not available: \(path) is read-only for this user: the file and its"))
    #expect(later == 2)
  }

  @Test func aFullDiskIsReportedNothingIsHalfWrittenAndTheBatchFitsLater() throws {
    let ledger = SQLiteLedger(path, maxBytes: 200_000)
    var sequence: UInt64 = 0
    var error = ""
    while error.isEmpty {
      sequence += 1
      do {
        try ledger.add(batch(sequence, (0..<200).map { "user\(sequence)-\($0)" }))
      } catch let failure {
        error = "\(failure)"
      }
    }
    #expect(
      error
        == "the ledger is not available: there is no room for \(path): the disk is full, or the ledger as large as it may be"
    )
    #expect(sequence > 2)
    #expect(try ledger.global(at: time)?.totals.requests == Int(sequence - 1) * 200)
    ledger.close()
    let larger = SQLiteLedger(path)
    try larger.add(batch(sequence, (0..<200).map { "user\(sequence)-\($0)" }))
    #expect(try larger.global(at: time)?.totals.requests == Int(sequence) * 200)
  }

  // MARK: Several at once

  @Test func severalConnectionsAddEverythingOnce() async throws {
    let path = path
    try await withThrowingTaskGroup { group in
      for writer in 1...4 as ClosedRange<UInt64> {
        group.addTask {
          try await onThread {
            // Making and opening one file at the same time, and a reader in between.
            let ledger = SQLiteLedger(path, busyTimeout: .seconds(60))
            for sequence in 1...20 as ClosedRange<UInt64> {
              try ledger.add(batch(sequence, ["anna", "user\(writer)"], writer: writer))
              // The answer was lost.
              if sequence % 3 == 0 { try ledger.add(batch(sequence, ["anna", "user\(writer)"], writer: writer)) }
              _ = try ledger.account(identity("anna"), at: time)
            }
          }
        }
      }
      try await group.waitForAll()
    }
    let ledger = SQLiteLedger(path)
    #expect(try requests("anna", in: ledger) == 80)
    #expect(try requests("user3", in: ledger) == 20)
    let sum = try ledger.global(at: time)
    #expect(sum?.totals.requests == 160)
    #expect(sum?.windows.first?.usage.requests == 160)
  }

  @Test func aProcessThatIsKilledInTheMidstLosesNothingThatItWasToldIsThere() throws {
    var next: UInt64 = 1
    for round in 0..<6 {
      let child = try LedgerChildProcess(path, from: next)
      // It is killed after some answers, wherever it is then in its next batch.
      for _ in 0...round * 3 { next = try child.nextAnswer() + 1 }
      // What it had said before it died.
      for answer in child.kill() { next = answer + 1 }
      // As a command looks while no server runs: it finds the journal that the dead process has left.
      let ledger = SQLiteLedger(path, access: .readOnly)
      let added = try ledger.global(at: time)?.totals.requests ?? 0
      // The last batch may be in, without its answer: then the next child repeats it, and it is not counted again.
      #expect(added == Int(next - 1) * 200 || added == Int(next) * 200, "round \(round)")
      #expect(try requests("user7", in: ledger) == added / 200)
    }
    #expect(try PlainSQLite(path).run("PRAGMA integrity_check") == "ok")
  }
}
