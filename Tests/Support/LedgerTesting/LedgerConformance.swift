public import Middlewares
internal import Pipeline

/// Something that every ledger must do, as a check of an empty one.
///
/// ```swift
/// @Test(arguments: LedgerConformance.all) func keeps(_ fact: LedgerConformance) throws {
///   try fact.check(MyLedger())
/// }
/// ```
public struct LedgerConformance: Sendable, CustomStringConvertible {
  public let description: String
  private let body: @Sendable (any UsageLedger) throws -> Void

  init(_ description: String, _ body: @escaping @Sendable (any UsageLedger) throws -> Void) {
    self.description = description
    self.body = body
  }

  /// - Parameter ledger: empty.
  /// - Throws: ``LedgerNonconformance``, or what the ledger throws.
  public func check(_ ledger: any UsageLedger) throws { try body(ledger) }

  public static let all: [LedgerConformance] = counting + reading + forgetting
}

/// A ledger did something else than every ledger must.
public struct LedgerNonconformance: Error, CustomStringConvertible {
  public let description: String
}

/// Compares, and says what was there.
func expectEqual<Value: Equatable>(_ found: Value, _ expected: Value, _ what: String) throws {
  if found != expected { throw LedgerNonconformance(description: "\(what): \(found) instead of \(expected)") }
}

/// The account, which must be there.
func known(_ account: LedgerAccount?, _ what: String) throws -> LedgerAccount {
  guard let account else { throw LedgerNonconformance(description: "\(what) is not there") }
  return account
}

/// Times and rows of the checks.
enum Sample {
  /// 2026-11-21T12:00:30Z.
  static let now = UnixTime(seconds: 1_795_262_430, nanoseconds: 5)
  static let writer = LedgerWriterID(high: .max, low: 1)
  static let anna = UsageAccount.identity(Principal("anna"))

  static func ago(_ seconds: Int64) -> UnixTime { UnixTime(seconds: now.seconds - seconds) }

  static func batch(_ sequence: UInt64, _ usage: [LedgerUsage] = [], writer: LedgerWriterID = writer) -> LedgerBatch {
    var batch = LedgerBatch(writer: writer, sequence: sequence)
    batch.usage = usage
    return batch
  }

  static func usage(_ account: UsageAccount, requests: Int, windows: [LedgerWindow] = []) -> LedgerUsage {
    LedgerUsage(
      account: account, total: change(requests), firstSeen: ago(10), lastSeen: now, windows: windows)
  }

  static func change(_ requests: Int) -> UsageChange {
    UsageChange(requests: requests, connections: 1, refused: 2, failed: 3, up: requests * 1000, down: requests * 2000)
  }

  static let hour = window(.hour, from: 1830, until: -1770, requests: 0)

  static func window(_ unit: CalendarUnit, from: Int64, until: Int64, requests: Int) -> LedgerWindow {
    LedgerWindow(unit: unit, start: ago(from), end: ago(until), usage: change(requests))
  }
}

extension LedgerConformance {
  fileprivate static let counting = [
    LedgerConformance("a batch is added to totals, windows and the sum") { ledger in
      let hour = Sample.window(.hour, from: 1830, until: -1770, requests: 2)
      let day = Sample.window(.day, from: 43_230, until: -43_170, requests: 4)
      try ledger.add(Sample.batch(1, [Sample.usage(Sample.anna, requests: 5, windows: [hour, day])]))
      try ledger.add(
        Sample.batch(
          2, [Sample.usage(Sample.anna, requests: 1, windows: [hour]), Sample.usage(.anonymous, requests: 7)]))
      let anna = try known(ledger.account(Sample.anna, at: Sample.now), "anna")
      try expectEqual(anna.totals.sum, Sample.change(5) + Sample.change(1), "totals")
      try expectEqual(anna.totals.firstSeen, Sample.ago(10), "first seen")
      try expectEqual(anna.totals.lastSeen, Sample.now, "last seen")
      try expectEqual(anna.windows.map(\.unit), [.hour, .day], "windows")
      try expectEqual(anna.windows.map(\.usage), [hour.usage + hour.usage, day.usage], "usage of the windows")
      try expectEqual(anna.windows.map(\.end), [hour.end, day.end], "ends of the windows")
      let sum = try known(ledger.global(at: Sample.now), "the sum")
      try expectEqual(sum.totals.requests, 13, "requests in all")
      try expectEqual(sum.windows.map(\.usage), anna.windows.map(\.usage), "windows of the sum")
    },
    LedgerConformance("a batch that is repeated is not counted twice") { ledger in
      let batch = Sample.batch(1, [Sample.usage(Sample.anna, requests: 5)])
      try ledger.add(batch)
      try ledger.add(batch)
      try ledger.add(Sample.batch(2, [Sample.usage(Sample.anna, requests: 1)]))
      try ledger.add(batch)
      try expectEqual(ledger.account(Sample.anna, at: Sample.now)?.totals.requests, 6, "requests")
      try expectEqual(ledger.global(at: Sample.now)?.totals.requests, 6, "requests in all")
    },
    LedgerConformance("what several writers count is added") { ledger in
      for low in 1...3 as ClosedRange<UInt64> {
        let writer = LedgerWriterID(high: 0, low: low)
        try ledger.add(Sample.batch(1, [Sample.usage(Sample.anna, requests: 5)], writer: writer))
      }
      try expectEqual(ledger.account(Sample.anna, at: Sample.now)?.totals.requests, 15, "requests")
    },
    LedgerConformance("an account that stands twice in a batch is added up") { ledger in
      let minute = Sample.window(.minute, from: 30, until: -30, requests: 1)
      let twice = [
        Sample.usage(Sample.anna, requests: 5, windows: [minute, minute]),
        Sample.usage(Sample.anna, requests: 2, windows: [minute]),
      ]
      try ledger.add(Sample.batch(1, twice))
      let anna = try known(ledger.account(Sample.anna, at: Sample.now), "anna")
      try expectEqual(anna.totals.requests, 7, "requests")
      try expectEqual(anna.windows.map(\.usage.requests), [3], "of the minute")
    },
    LedgerConformance("negative changes take back") { ledger in
      try ledger.add(Sample.batch(1, [Sample.usage(Sample.anna, requests: 5)]))
      var back = Sample.usage(Sample.anna, requests: 0)
      back.total = UsageChange() - Sample.change(5)
      try ledger.add(Sample.batch(2, [back]))
      try expectEqual(ledger.account(Sample.anna, at: Sample.now)?.totals.sum, UsageChange(), "what is left")
    },
    LedgerConformance("counters add up, also for ever, and may be taken back") { ledger in
      var batch = Sample.batch(1)
      let ever = UnixTime(seconds: 0)
      batch.counters = [
        LedgerCounter(
          name: "requests/day", account: Sample.anna, start: Sample.ago(100), end: Sample.ago(-100), used: 9),
        LedgerCounter(name: "requests", account: Sample.anna, start: ever, end: nil, used: 4),
      ]
      try ledger.add(batch)
      batch.sequence = 2
      batch.counters[0].used = -2
      try ledger.add(batch)
      let anna = try known(ledger.account(Sample.anna, at: Sample.now), "anna")
      try expectEqual(anna.counters.map(\.name), ["requests", "requests/day"], "counters")
      try expectEqual(anna.counters.map(\.used), [8, 7], "used")
      try expectEqual(anna.counters.map(\.start), [ever, Sample.ago(100)], "starts")
      try expectEqual(anna.counters.map(\.end), [nil, Sample.ago(-100)], "ends")
      try expectEqual(anna.totals.requests, 0, "requests of who has only a counter")
    },
    LedgerConformance("sums beyond 2^53 are exact") { ledger in
      var large = Sample.usage(Sample.anna, requests: 0)
      large.total.down = (1 << 60) + 1
      try ledger.add(Sample.batch(1, [large]))
      large.total.down = 2
      try ledger.add(Sample.batch(2, [large]))
      try expectEqual(ledger.account(Sample.anna, at: Sample.now)?.totals.down, (1 << 60) + 3, "down")
    },
    LedgerConformance("a batch without rows is added") { ledger in
      try ledger.add(Sample.batch(1))
      try expectEqual(ledger.global(at: Sample.now), nil, "the sum")
    },
  ]

  fileprivate static let reading = [
    LedgerConformance("nobody is known to an empty ledger") { ledger in
      try expectEqual(ledger.account(Sample.anna, at: Sample.now), nil, "anna")
      try expectEqual(ledger.global(at: Sample.now), nil, "the sum")
      try expectEqual(ledger.accounts(after: nil, limit: 10, at: Sample.now), [], "accounts")
      try ledger.load(at: Sample.now) { row in throw LedgerNonconformance(description: "\(row) was loaded") }
    },
    LedgerConformance("any name is kept as it is, and apart from the accounts without one") { ledger in
      let names = ["", "others", "anonymous", "a'b\"c\\d;--", "tab\tline\n", "zero\0byte", "zero", "Ünïcode 🦊", "\\0"]
      let accounts = names.map { UsageAccount.identity(Principal($0)) } + [.anonymous, .unauthenticated, .others]
      let usage = accounts.enumerated().map { Sample.usage($1, requests: $0 + 1) }
      try ledger.add(Sample.batch(1, usage))
      for (index, account) in accounts.enumerated() {
        let found = try known(ledger.account(account, at: Sample.now), "\(account)")
        try expectEqual(found.totals.requests, index + 1, "requests of \(account)")
        try expectEqual(found.account, account, "the name")
      }
      let listed = try ledger.accounts(after: nil, limit: 100, at: Sample.now).map(\.account)
      try expectEqual(Set(listed), Set(accounts), "accounts")
      try expectEqual(listed.count, accounts.count, "how many accounts")
    },
    LedgerConformance("accounts come in the order of their names, page after page, none twice and none left out") {
      ledger in
      let names = (0..<25).map { "user\($0)" } + ["A", "Z", "a", "z", "ä", "others"]
      let accounts = names.map { UsageAccount.identity(Principal($0)) } + [.others, .anonymous, .unauthenticated]
      try ledger.add(Sample.batch(1, accounts.map { Sample.usage($0, requests: 1, windows: [Sample.hour]) }))
      let sorted = accounts.sorted { $0.precedesInLedger($1) }
      for limit in [1, 7, 100] {
        var found: [UsageAccount] = []
        while true {
          let page = try ledger.accounts(after: found.last, limit: limit, at: Sample.now)
          if page.isEmpty { break }
          try expectEqual(page.count <= limit, true, "a page of at most \(limit)")
          try expectEqual(page.allSatisfy { $0.windows.map(\.unit) == [.hour] }, true, "each has its window")
          found += page.map(\.account)
        }
        try expectEqual(found, sorted, "in pages of \(limit)")
      }
    },
    LedgerConformance("what an operator said last holds") { ledger in
      func say(_ sequence: UInt64, _ state: LedgerState) throws {
        var batch = Sample.batch(sequence)
        batch.states = [LedgerState(account: state.account, isBlocked: true, plan: "overruled"), state]
        try ledger.add(batch)
      }
      try say(1, LedgerState(account: Sample.anna, isBlocked: true, plan: "gold"))
      let blocked = try known(ledger.account(Sample.anna, at: Sample.now), "who was blocked before using anything")
      try expectEqual(blocked.state, LedgerState(account: Sample.anna, isBlocked: true, plan: "gold"), "state")
      try expectEqual(ledger.global(at: Sample.now), nil, "the sum, when nobody used anything")
      try say(2, LedgerState(account: Sample.anna, isBlocked: false, plan: "gold"))
      try expectEqual(ledger.account(Sample.anna, at: Sample.now)?.state?.isBlocked, false, "blocked")
      try say(3, LedgerState(account: Sample.anna, isBlocked: false))
      try expectEqual(ledger.account(Sample.anna, at: Sample.now)?.state, nil, "state of who has none")
      try ledger.add(Sample.batch(4, [Sample.usage(Sample.anna, requests: 1)]))
      try expectEqual(ledger.account(Sample.anna, at: Sample.now)?.totals.firstSeen, Sample.ago(10), "first seen")
    },
    LedgerConformance(
      "at the start states, open windows, open counters and the sum are loaded, and nothing that is over"
    ) {
      ledger in
      let open = Sample.window(.hour, from: 1830, until: -1770, requests: 2)
      let over = Sample.window(.minute, from: 90, until: 30, requests: 2)
      var batch = Sample.batch(
        1,
        [
          Sample.usage(Sample.anna, requests: 5, windows: [open, over]),
          Sample.usage(.identity(Principal("bob")), requests: 3, windows: [over]),
        ])
      let running = LedgerCounter(
        name: "day", account: Sample.anna, start: Sample.ago(100), end: Sample.ago(-100), used: 9)
      let ever = LedgerCounter(name: "ever", account: .anonymous, start: UnixTime(seconds: 0), end: nil, used: 4)
      let ended = LedgerCounter(name: "day", account: .anonymous, start: Sample.ago(100), end: Sample.ago(50), used: 1)
      batch.counters = [running, ended, ever]
      batch.states = [LedgerState(account: .identity(Principal("carol")), isBlocked: true)]
      try ledger.add(batch)
      var states: [LedgerState] = []
      var counters: [LedgerCounter] = []
      var usage: [LedgerUsage] = []
      var sums: [LedgerUsage] = []
      try ledger.load(at: Sample.now) { row in
        switch row {
        case .state(let row): states.append(row)
        case .counter(let row): counters.append(row)
        case .usage(let row): usage.append(row)
        case .global(let row): sums.append(row)
        }
      }
      try expectEqual(states, batch.states, "states")
      try expectEqual(counters.sorted { $0.name < $1.name }, [running, ever], "counters")
      try expectEqual(usage, [Sample.usage(Sample.anna, requests: 5, windows: [open])], "usage")
      try expectEqual(sums.map(\.total.requests), [8], "the sum")
      try expectEqual(sums.map(\.windows), [[open]], "windows of the sum")
    },
    LedgerConformance("a load ends with the error of who loads, and the ledger goes on") { ledger in
      try ledger.add(Sample.batch(1, [Sample.usage(Sample.anna, requests: 5, windows: [Sample.hour])]))
      do {
        try ledger.load(at: Sample.now) { _ in throw CancellationError() }
        throw LedgerNonconformance(description: "the load did not end with the error")
      } catch is CancellationError {}
      try ledger.add(Sample.batch(2, [Sample.usage(Sample.anna, requests: 1)]))
      try expectEqual(ledger.account(Sample.anna, at: Sample.now)?.totals.requests, 6, "requests")
    },
  ]

  fileprivate static let forgetting = [
    LedgerConformance("windows and counters that ended long ago are forgotten, totals are not") { ledger in
      let open = Sample.window(.minute, from: 30, until: -30, requests: 1)
      let recent = Sample.window(.minute, from: 120, until: 60, requests: 2)
      let old = Sample.window(.minute, from: 9000, until: 8940, requests: 4)
      let oldHour = Sample.window(.hour, from: 9000, until: 5400, requests: 8)
      var batch = Sample.batch(1, [Sample.usage(Sample.anna, requests: 5, windows: [open, recent, old, oldHour])])
      batch.counters = [
        LedgerCounter(name: "a", account: Sample.anna, start: Sample.ago(9000), end: Sample.ago(8000), used: 1),
        LedgerCounter(name: "b", account: Sample.anna, start: Sample.ago(90), end: Sample.ago(80), used: 1),
        LedgerCounter(name: "c", account: Sample.anna, start: UnixTime(seconds: 0), end: nil, used: 1),
      ]
      try ledger.add(batch)
      try ledger.prune(LedgerRetention(minutes: .seconds(3600), counters: .seconds(3600)), at: Sample.now)
      // As of a time before all of them, what has ended is seen, too.
      let anna = try known(ledger.account(Sample.anna, at: Sample.ago(100_000)), "anna")
      try expectEqual(anna.windows.map(\.usage.requests), [2, 1, 8], "windows that are left")
      try expectEqual(anna.counters.map(\.name), ["b", "c"], "counters that are left")
      try expectEqual(anna.totals.requests, 5, "requests")
      try ledger.prune(
        LedgerRetention(minutes: .zero, hours: .zero, days: .zero, months: .zero, counters: .zero), at: Sample.now)
      let sum = try known(ledger.global(at: Sample.ago(100_000)), "the sum")
      try expectEqual(sum.windows.map(\.usage.requests), [1], "windows that are left of the sum")
    },
    LedgerConformance("a ledger that is closed says so") { ledger in
      try ledger.add(Sample.batch(1))
      ledger.close()
      for call in [
        { try ledger.add(Sample.batch(2)) }, { _ = try ledger.global(at: Sample.now) },
        { try ledger.load(at: Sample.now) { _ in } },
      ] {
        do {
          try call()
          throw LedgerNonconformance(description: "a closed ledger did what it was asked")
        } catch LedgerError.closed {}
      }
    },
  ]
}
