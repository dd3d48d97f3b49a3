import Pipeline
import Transports

/// Runs an app until SIGTERM or SIGINT. The server itself says what was cut.
///
/// - Parameter onListening: called when every address is bound, before the first connection is served.
/// - Returns: exit status 0; connections that had to be cut are no failure of the server.
func serve(
  _ app: some Proxy, _ settings: ServiceSettings, log: LogWriter, onListening: ([ListenerInfo]) throws -> Void
) async throws -> Int32 {
  let server = try Server(app, options: settings.server)
  _ = try await server.runUntilTerminated { try onListening(server.listeners) }
  if !log.stop(within: .seconds(2)) {
    printError("the access log could not be written to its end: \(log.lastError ?? "its reader does not take it")")
  }
  if log.dropped > 0 { printError("\(log.dropped) lines of the access log were dropped") }
  return 0
}
