import Middlewares
import Pipeline
import Synchronization
import Transports

/// A running proxy and the settings that it runs by: starts, and takes others.
final class ProxyOperation: Sendable {
  private let source: SettingsSource
  private let settings: Mutex<ProxySettings>
  private let shelf = CacheShelf()
  private let log: LogWriter
  private let desk: AdminDesk
  private let admin: (any Proxy)?
  /// One reload after another: a signal that comes while one is under way is not lost.
  private let turn = SharedRun()

  /// - Parameter admin: the listeners beside the proxy, which no setting changes.
  init(_ source: SettingsSource, _ settings: ProxySettings, log: LogWriter, desk: AdminDesk, admin: (any Proxy)?) {
    self.source = source
    self.settings = Mutex(settings)
    self.log = log
    self.desk = desk
    self.admin = admin
  }

  /// What the server runs at its start.
  func app() -> Proxies {
    let first = settings.withLock { $0 }
    let pages = shelf.store(for: first.caching)
    shelf.keep(pages, for: first.caching)
    return app(first, pages)
  }

  private func app(_ settings: ProxySettings, _ pages: CacheStore?) -> Proxies {
    var parts: [any Proxy] = [ReverseProxy(settings: settings, log: log, pages: pages).body]
    if let admin { parts.append(admin) }
    return Proxies(parts)
  }

  /// SIGHUP: as `reload`, and says in the log how it went.
  func hangUp() async {
    do {
      tell(try await reload { try $0() })
    } catch {
      tell(error)
    }
  }

  /// Reads the settings again, and lets the server run by them.
  ///
  /// - Parameter reading: runs what blocks, where blocking is allowed.
  /// - Returns: what has changed.
  /// - Throws: ``SettingsProblems`` or `ConfigurationError`; then everything goes on as it was.
  func reload(
    reading: (@Sendable @escaping () throws -> ProxySettings) async throws -> ProxySettings
  ) async throws -> ReloadOutcome {
    var outcome = ReloadOutcome()
    try await turn.run {
      guard let server = desk.server.current else {
        throw ConfigurationError(messages: ["the server is starting; try again"])
      }
      let source = source
      let new = try await reading { try ProxySettings(source.read()) }
      let pages = shelf.store(for: new.caching)
      do {
        try await server.reload(app(new, pages))
      } catch let error as ConfigurationError {
        throw ReverseProxy.problems(with: error)
      }
      shelf.keep(pages, for: new.caching)
      let old = settings.withLock { settings in
        defer { settings = new }
        return settings
      }
      outcome = ReloadOutcome(from: old, to: new)
    }
    return outcome
  }

  private func tell(_ outcome: ReloadOutcome) {
    for line in outcome.lines { ServerOptions.logToStandardError(.notice, "reload: \(line)") }
  }

  private func tell(_ error: any Error) {
    for line in sentences(of: error) {
      ServerOptions.logToStandardError(.error, "reload: nothing has changed: \(line)")
    }
  }
}

/// What a reload has changed.
struct ReloadOutcome: Sendable, Equatable {
  struct Change: Sendable, Equatable {
    var setting: String
    var before: String
    var after: String
    /// It takes effect at the next start.
    var isLater: Bool
  }

  var changes: [Change] = []
  var notes: [String] = []

  init() {}

  init(from old: ProxySettings, to new: ProxySettings) {
    let later = Set(ProxySettings.lasting.map { $0.key })
    for setting in ProxySetting.all {
      let (before, after) = (old.values.shown(setting), new.values.shown(setting))
      if before != after {
        changes.append(
          Change(setting: setting.key, before: before, after: after, isLater: later.contains(setting.key)))
      }
    }
    notes = new.notes
  }

  /// For the log.
  var lines: [String] {
    let changed = changes.map { change in
      "\(change.setting): \(change.before) -> \(change.after)\(change.isLater ? ", at the next start" : "")"
    }
    return (changed.isEmpty ? ["the settings are as they were"] : changed) + notes
  }

  var json: JSON {
    .object([
      "changed": .array(
        changes.map { change in
          .object([
            "setting": .string(change.setting), "before": .string(change.before), "after": .string(change.after),
            "atNextStart": .bool(change.isLater),
          ])
        }), "said": .array(lines.map { .string($0) }),
    ])
  }
}

/// One sentence for each mistake.
func sentences(of error: any Error) -> [String] {
  switch error {
  case let error as SettingsProblems: error.sentences
  case let error as ConfigurationError:
    error.messages.map { message in error.listener.map { "\($0): \(message)" } ?? message }
  case _: ["\(error)"]
  }
}
