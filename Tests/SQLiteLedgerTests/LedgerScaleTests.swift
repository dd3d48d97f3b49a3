import Glibc
import Middlewares
import Pipeline
import PipelineTesting
import SQLiteLedger
import Testing

@Suite struct LedgerScaleTests {
  /// A ledger with so many accounts, each with a month, a day and a counter.
  func fill(_ path: String, accounts: Int) throws {
    try SQLiteLedger(path).add(batch(1))
    let database = try PlainSQLite(path)
    try database.run("PRAGMA synchronous = OFF")
    try database.run("BEGIN")
    let numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < \(accounts))"
    try database.run(
      """
      INSERT INTO accounts (id, kind, name, requests, connections, refused, failed, up, down, first_seen, last_seen)
      \(numbers) SELECT 10 + i, 0, printf('user%07d', i), i, 1, 0, 0, i, i, 0, 0 FROM n
      """)
    try database.run(
      """
      INSERT INTO windows (account, unit, start, ends, requests, connections, refused, failed, up, down)
      \(numbers) SELECT 10 + i, 4, 0, 9000000000000000000, 1, 1, 0, 0, 1, 1 FROM n
      """)
    try database.run("COMMIT")
  }

  /// CPU time of a look-up, the least of several rounds.
  func cost(_ ledger: SQLiteLedger, accounts: Int, _ ask: (Int) throws -> Void) throws -> Double {
    var random = SeededRandom(seed: 7)
    var best = Double.infinity
    for _ in 0..<5 {
      let before = threadTime()
      for _ in 0..<400 { try ask(Int.random(in: 1...accounts, using: &random)) }
      best = min(best, Double(threadTime() - before) / 400)
    }
    return best
  }

  /// CPU time of a row of a batch of 1,000 accounts out of so many, the least of several.
  func writingCost(_ path: String, accounts: Int) throws -> Double {
    let ledger = SQLiteLedger(path)
    var random = SeededRandom(seed: 11)
    var best = Double.infinity
    for sequence in 2...7 as ClosedRange<UInt64> {
      let names = (0..<1000).map { _ in name(of: Int.random(in: 1...accounts, using: &random)) }
      let rows = batch(sequence, names)
      let before = threadTime()
      try ledger.add(rows)
      best = min(best, Double(threadTime() - before) / 1000)
    }
    return best
  }

  func name(of number: Int) -> String {
    let digits = "\(number)"
    return "user" + String(repeating: "0", count: 7 - digits.utf8.count) + digits
  }

  @Test func askingAMillionAccountsCostsAtMostThreeTimesAskingAThousand() async throws {
    let directory = try TemporaryDirectory()
    let ratios = try await onThread {
      try withExtendedLifetime(directory) {
        var costs: [[Double]] = []
        for accounts in [1_000, 1_000_000] {
          let path = directory.file("\(accounts).db")
          try fill(path, accounts: accounts)
          let ledger = SQLiteLedger(path, access: .readOnly)
          costs.append([
            try cost(ledger, accounts: accounts) { number in
              let name = name(of: number)
              let found = try ledger.account(identity(name), at: time)
              guard found?.totals.requests == number, found?.windows.count == 1 else {
                throw TestFailure(description: "\(name): \(String(describing: found))")
              }
            },
            try cost(ledger, accounts: accounts) { _ in _ = try ledger.global(at: time) },
            // A page of the list, as a command shows it.
            try cost(ledger, accounts: accounts) { _ in _ = try ledger.accounts(after: nil, limit: 20, at: time) },
            try writingCost(path, accounts: accounts),
          ])
        }
        return zip(costs[1], costs[0]).map { $0 / $1 }
      }
    }
    print(
      """
      CPU with 1,000,000 accounts beside 1,000: one account \(ratios[0])x, the sum \(ratios[1])x, a page of 20 \(ratios[2])x, \
      writing a row \(ratios[3])x
      """)
    #expect(ratios[0] <= 3, "one account")
    #expect(ratios[1] <= 3, "the sum")
    #expect(ratios[2] <= 3, "a page")
  }
}
