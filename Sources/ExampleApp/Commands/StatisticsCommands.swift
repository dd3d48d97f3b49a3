import Middlewares
import Pipeline

/// What one user has used.
struct FetchUserStatsCommand: Command {
  static let name = "fetchUserStats"
  static let summary = "what one user has used: from the running server, or else from the ledger"
  static let operands = [Operand(name: "USER_ID", help: "the user")]
  static let flags = StatisticsSource.flags
  static let examples = ["ExampleApp fetchUserStats ann", "ExampleApp fetchUserStats ann --json"]

  private let source: StatisticsSource
  private let user: String

  init(_ flags: ParsedFlags) throws {
    source = try StatisticsSource(flags)
    user = flags.operands[0]
  }

  func run() async throws -> Int32 {
    let found = try source.find("/users/\(AdminClient.segment(user))/stats") { ledger, time in
      try ledger.account(.identity(Principal(user)), at: time).map { AccountReport($0, user: user, at: time) }
    }
    guard let found else { throw UsersError("nobody is known by the name \(TerminalText.shown(user))") }
    source.show(found)
    return 0
  }
}

/// What all have used together.
struct FetchGlobalStatsCommand: Command {
  static let name = "fetchGlobalStats"
  static let summary = "what all have used together: from the running server, or else from the ledger"
  static let flags = StatisticsSource.flags
  static let examples = ["ExampleApp fetchGlobalStats", "ExampleApp fetchGlobalStats --json"]

  private let source: StatisticsSource

  init(_ flags: ParsedFlags) throws { source = try StatisticsSource(flags) }

  func run() async throws -> Int32 {
    let found = try source.find("/stats") { ledger, time in
      try ledger.global(at: time).map { AccountReport($0, user: nil, at: time) } ?? AccountReport(user: nil)
    }
    if let found { source.show(found) }
    return 0
  }
}

/// Where statistics come from: the admin socket of the running server, or else the ledger.
struct StatisticsSource {
  static let flags: [Flag] = [.toggle("json", "for machines"), AdminSettings.flag, LedgerSettings.flag]

  private let admin: AdminClient?
  private let ledger: LedgerSettings
  private let isForMachines: Bool

  init(_ flags: ParsedFlags) throws {
    admin = try AdminSettings.path(flags, makesDirectory: false).map { AdminClient(path: $0) }
    ledger = try LedgerSettings(flags)
    isForMachines = flags.has("json")
  }

  /// - Parameters:
  ///   - target: what the running server is asked.
  ///   - read: how the ledger is read where there is no server.
  /// - Returns: `nil` when nobody is known there.
  func find(
    _ target: String, in read: (any UsageLedger, UnixTime) throws -> AccountReport?
  ) throws -> StatisticsAnswer? {
    if let admin, let answer = try admin.send("GET", target) {
      if answer.status == 404 { return nil }
      return try AdminClient.value(StatisticsAnswer.self, of: answer)
    }
    guard let ledger = try ledger.openForCommand() else {
      throw UsersError(
        "no server runs\(admin.map { " at \($0.path)" } ?? ""), and there is no ledger to look into: name it with --ledger PATH"
      )
    }
    defer { ledger.close() }
    let time = WallClock.system.now
    guard let report = try read(ledger, time) else { return nil }
    let newest = try ledger.global(at: time)?.totals.lastSeen.rfc3339
    return StatisticsAnswer(source: "ledger", ledger: ledger.name, lastFlush: newest, zone: "UTC", account: report)
  }

  func show(_ answer: StatisticsAnswer) {
    print(isForMachines ? answer.json.text : StatisticsTable.drawn(answer))
  }
}
