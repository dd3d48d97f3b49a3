import Glibc
import Middlewares
import Pipeline

/// Where usage lasts: `--ledger PATH|postgres://…|off`.
struct LedgerSettings {
  static let flag = Flag.value(
    "ledger", "PATH|postgres://…|off",
    "where usage lasts (default: sluice/usage.db in $XDG_STATE_HOME or ~/.local/state)")

  private enum Place {
    case off
    case file(String)
  }

  private let place: Place

  var isOff: Bool { if case .off = place { true } else { false } }

  init(_ flags: ParsedFlags) throws {
    switch flags.text("ledger") {
    case "off": place = .off
    case .some(let text) where text.hasPrefix("postgres://") || text.hasPrefix("postgresql://"):
      // The value may hold a password.
      throw SettingsError(
        "--ledger: this program was built without PostgreSQL; name a file, or build it with the trait")
    case .some(let text):
      guard !text.isEmpty, !text.utf8.contains(0) else {
        throw SettingsError("--ledger", value: text, allowed: "the path of a file, postgres://…, or off")
      }
      place = .file(text)
    case nil:
      guard let directory = Self.standardDirectory else {
        throw SettingsError(
          "neither $XDG_STATE_HOME nor $HOME is set; name a ledger with --ledger PATH, or say --ledger off")
      }
      place = .file("\(directory)/usage.db")
    }
  }

  private static var standardDirectory: String? {
    if let state = environment("XDG_STATE_HOME"), state.hasPrefix("/") { return "\(state)/sluice" }
    return environment("HOME").map { "\($0)/.local/state/sluice" }
  }

  /// For a command: `nil` when it is off, or when nothing has been written to it yet.
  func openForCommand() throws -> (any UsageLedger)? {
    switch place {
    case .off: return nil
    case .file: return nil
    }
  }
}

/// What an operator does to an account.
enum LedgerChange {
  case block(Bool)
  /// `nil`: the plan for everybody.
  case plan(String?)
  /// Its quotas begin anew.
  case reset
}

extension UsageLedger {
  /// For a command, while no server runs that would write over it.
  ///
  /// - Parameter isKnown: whether somebody else than the ledger knows the user.
  /// - Returns: false when nobody does.
  func apply(_ change: LedgerChange, to user: String, isKnown: Bool) throws -> Bool {
    let account = UsageAccount.identity(Principal(user))
    let known = try self.account(account, at: WallClock.system.now)
    guard known != nil || isKnown else { return false }
    var batch = LedgerBatch(
      writer: LedgerWriterID(high: .random(in: .min ... .max), low: .random(in: .min ... .max)), sequence: 1)
    var state = known?.state ?? LedgerState(account: account, isBlocked: false)
    switch change {
    case .block(let isBlocked):
      state.isBlocked = isBlocked
      batch.states = [state]
    case .plan(let plan):
      state.plan = plan
      batch.states = [state]
    case .reset:
      batch.counters = (known?.counters ?? []).map { counter in
        var back = counter
        back.used = -counter.used
        return back
      }
    }
    if batch.count > 0 { try add(batch) }
    return true
  }
}
