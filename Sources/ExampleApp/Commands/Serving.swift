import Middlewares
import Pipeline
import Transports

/// Runs an app until SIGTERM or SIGINT. The server itself says what was cut.
///
/// - Parameters:
///   - desk: what the admin socket shows the server through.
///   - onListening: called when every address is bound, before the first connection is served.
/// - Returns: exit status 0; connections that had to be cut are no failure of the server.
func serve(
  _ app: some Proxy, _ settings: ServiceSettings, log: LogWriter, desk: AdminDesk? = nil,
  onListening: ([ListenerInfo]) throws -> Void
) async throws -> Int32 {
  try await serve(app, settings.server, log: log, desk: desk, onListening: onListening)
}

/// As above, with the server's options themselves.
///
/// - Parameter onHangUp: what a SIGHUP does; `nil`: it ends the process.
func serve(
  _ app: some Proxy, _ options: ServerOptions, log: LogWriter, desk: AdminDesk? = nil,
  onListening: ([ListenerInfo]) throws -> Void, onHangUp: (@Sendable () async -> Void)? = nil
) async throws -> Int32 {
  let server: Server
  do {
    server = try Server(app, options: options)
  } catch let error as ConfigurationError where error.listener == AdminListener.httpName {
    throw SettingsError(
      "--admin-http: \(error.messages.joined(separator: "; ")); name another address with --admin-http ADDR, or say "
        + "--admin-http off")
  } catch let error as ConfigurationError where error.listener == AdminListener.socketName {
    throw SettingsError(
      "--admin: \(error.messages.joined(separator: "; ")); name another socket with --admin PATH, or say --admin off")
  }
  desk?.server.set(server)
  defer { desk?.server.set(nil) }
  _ = try await server.runUntilTerminated(
    announcing: { try onListening(server.listeners) }, reloading: onHangUp)
  if !log.stop(within: .seconds(2)) {
    printError("the access log could not be written to its end: \(log.lastError ?? "its reader does not take it")")
  }
  if log.dropped > 0 { printError("\(log.dropped) lines of the access log were dropped") }
  return 0
}

/// Serves one listener for those who log in, or for everybody where nobody is named, and says which.
func serve(
  _ name: String, for users: UserSettings, _ settings: ServiceSettings,
  withUsers: (UserTable, LogWriter) -> any Proxy, anonymous: (LogWriter) -> any Proxy
) async throws -> Int32 {
  for warning in users.warnings { printError("warning: \(warning)") }
  let log = settings.makeLog()
  let listener = users.table.map { withUsers($0, log) } ?? anonymous(log)
  return try await serve(Proxies([listener]), settings, log: log) { addresses in
    let who = users.table.map { "\($0.count) users" } ?? "anonymous"
    printError("\(name) listens on \(addresses[0].address), \(who)")
  }
}
