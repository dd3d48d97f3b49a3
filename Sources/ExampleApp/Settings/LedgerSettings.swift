import Glibc
import Middlewares
import Pipeline
import SQLiteLedger

#if PostgreSQL
  import PostgreSQLLedger
#endif

/// Where usage lasts: `--ledger PATH|postgres://…|off`.
struct LedgerSettings {
  static let flag = Flag.value(
    "ledger", "PATH|postgres://…|off",
    "where usage lasts (default: sluice/usage.db in $XDG_STATE_HOME or ~/.local/state)")
  /// For what shall leave nothing behind.
  static let demoFlag = Flag.value("ledger", "PATH|postgres://…|off", "where usage lasts", default: "off")

  private enum Place {
    case off
    /// The URL, which may hold a password.
    case server(Secret<String>)
    /// - Parameter isStandard: nobody has named it.
    case file(String, isStandard: Bool)
  }

  private let place: Place

  var isOff: Bool { if case .off = place { true } else { false } }

  init(_ flags: ParsedFlags) throws {
    switch flags.text("ledger") {
    case "off": place = .off
    case .some(let text) where text.hasPrefix("postgres://") || text.hasPrefix("postgresql://"):
      #if PostgreSQL
        do {
          _ = try PostgreSQLLedger(text)
        } catch {
          throw SettingsError("--ledger: \(error)")
        }
        place = .server(Secret(text))
      #else
        throw SettingsError(
          "--ledger: this program was built without PostgreSQL; build it with --traits PostgreSQL, or name a file")
      #endif
    case .some(let text):
      guard !text.isEmpty, !text.utf8.contains(0) else {
        throw SettingsError("--ledger", value: text, allowed: "the path of a file, postgres://…, or off")
      }
      place = .file(text, isStandard: false)
    case nil:
      guard let directory = Self.standardDirectory else {
        throw SettingsError(
          "neither $XDG_STATE_HOME nor $HOME is set; name a ledger with --ledger PATH, or say --ledger off")
      }
      place = .file("\(directory)/usage.db", isStandard: true)
    }
  }

  private static var standardDirectory: String? {
    if let state = environment("XDG_STATE_HOME"), state.hasPrefix("/") { return "\(state)/sluice" }
    return environment("HOME").map { "\($0)/.local/state/sluice" }
  }

  /// For a server; it is opened when it is first used.
  func makeForServer() throws -> (any UsageLedger)? {
    switch place {
    case .off: nil
    case .server(let url): try Self.postgres(url, changes: true)
    case .file(let path, _): SQLiteLedger(path)
    }
  }

  private static func postgres(_ url: Secret<String>, changes: Bool) throws -> (any UsageLedger)? {
    #if PostgreSQL
      return try PostgreSQLLedger(url.reveal(), access: changes ? .readWrite : .readOnly)
    #else
      preconditionFailure("a URL was refused")
    #endif
  }

  /// Makes the directory of a ledger that nobody has named.
  ///
  /// - Throws: ``SettingsError`` where there is no directory for the file.
  func prepare() throws {
    guard case .file(let path, let isStandard) = place else { return }
    let directory = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    if isStandard { Self.make(directory) }
    var status = stat()
    guard stat(directory, &status) == 0 else {
      throw SettingsError(
        "--ledger: the directory \(directory) cannot be reached: \(String(cString: strerror(errno))); make it, name another ledger, or say --ledger off"
      )
    }
    guard status.st_mode & S_IFMT == S_IFDIR else { throw SettingsError("--ledger: \(directory) is no directory") }
  }

  /// For a command: `nil` when it is off, or when nothing has been written to it yet.
  func openForCommand(changes: Bool = false) throws -> (any UsageLedger)? {
    switch place {
    case .off: return nil
    case .server(let url): return try Self.postgres(url, changes: changes)
    case .file(let path, _):
      return access(path, F_OK) == 0 ? SQLiteLedger(path, access: changes ? .readWrite : .readOnly) : nil
    }
  }

  /// With those above it, each for the owner alone. What goes wrong shows when the directory is used.
  private static func make(_ directory: String) {
    var path = ""
    for part in directory.split(separator: "/") {
      path += "/" + part
      mkdir(path, 0o700)
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
