import Pipeline
import ScryptPasswords
import Transports

/// The reverse proxy that a settings file describes.
struct ProxyCommand: Command {
  static let name = "proxy"
  static let summary = "the reverse proxy that a settings file, the environment or flags describe"
  static let flags: [Flag] = [SettingsSource.configFlag] + SettingsSource.flagsOfSettings
  static let examples = [
    "ExampleApp init proxy.yaml && ExampleApp check --config proxy.yaml && ExampleApp proxy --config proxy.yaml",
    "ExampleApp proxy --listen 127.0.0.1:8080 --backend http://127.0.0.1:9001 --backend http://127.0.0.1:9002",
    "ExampleApp proxy --listen :5433 --backend tcp://10.0.0.7:5432",
    "kill -HUP PID      # or: ExampleApp reload   # after a change of the file: checked first, no connection is lost",
  ]
  static var details: String? { SettingsText.help(head: flags.prefix(1)) }

  private let source: SettingsSource
  private let settings: ProxySettings
  private let adminHTTP: AdminListener.Place?

  init(_ flags: ParsedFlags) throws { try self.init(flags, .process) }

  init(_ flags: ParsedFlags, _ environment: Environment, directory: String = "") throws {
    source = SettingsSource(flags, environment, directory: directory)
    settings = try ProxySettings(source.read())
    _ = try AdminSettings.path(settings.adminSocket, makesDirectory: false)
    switch settings.adminAddress {
    case .off: adminHTTP = nil
    case .ip(let address): adminHTTP = .http(address, names: settings.adminHosts.map(\.text))
    }
  }

  func run() async throws -> Int32 {
    for note in settings.notes { printError("note: \(note)") }
    if let warning = AdminSettings.warning(about: adminHTTP) { printError("warning: \(warning)") }
    var options = LogWriter.Options()
    options.notice = settings.log == .json ? .json : .text
    let log = LogWriter.standardOutput(options: options)
    let defaults = try ParsedFlags([String](), declared: QuotaSettings.flags)
    let desk = AdminDesk(
      Accounting(try QuotaSettings(defaults), ledger: nil), users: try UserSettings([], verifier: Scrypt()),
      sources: [log])
    var admin: [any Proxy] = []
    if let path = try AdminSettings.path(settings.adminSocket, makesDirectory: true) {
      admin.append(AdminListener(place: .socket(path), desk: desk).body)
    }
    if let adminHTTP { admin.append(AdminListener(place: adminHTTP, desk: desk).body) }
    let operation = ProxyOperation(source, settings, log: log, desk: desk, admin: Proxies(admin))
    desk.setOperation(operation)
    defer { desk.setOperation(nil) }
    let backends = settings.backends.map { "\($0.address)" }.joined(separator: ", ")
    do {
      return try await serve(operation.app(), settings.server, log: log, desk: desk) { listening in
        for listener in listening where listener.name == ReverseProxy.name {
          printError("proxy listens on \(listener.address), to \(backends)")
        }
      } onHangUp: {
        await operation.hangUp()
      }
    } catch let error as ConfigurationError {
      throw ReverseProxy.problems(with: error)
    }
  }
}
