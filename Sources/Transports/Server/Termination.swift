internal import Glibc
public import Pipeline

extension Server {
  /// As ``run()``, and SIGTERM or SIGINT asks for an orderly stop; a second one cuts at once. Says in the log what it does.
  ///
  /// One server of a process at a time can do so: signals are the process's.
  ///
  /// - Parameter announce: called when the signals are taken, before the first connection is served: the place to say that the
  ///   server is there, so that whoever reads it may stop it at once.
  /// - Throws: ``ConfigurationError``, and what `announce` throws.
  public func runUntilTerminated(announcing announce: () throws -> Void = {}) async throws -> StopReport {
    let signals: TerminationSignals
    do {
      signals = try TerminationSignals { [self] in stop() }
    } catch {
      throw ConfigurationError(messages: ["signals cannot be received: \(error)"])
    }
    try announce()
    return try await run(taking: signals)
  }
}

extension ProxyApp {
  /// Says what listens where and runs the app until SIGTERM or SIGINT; exit status 0 after an orderly end, 1 when it cannot
  /// start (one sentence for each reason on standard error).
  @MainActor public static func main() async {
    do {
      let server = try Server(Self().body)
      _ = try await server.runUntilTerminated {
        for listener in server.listeners {
          ServerOptions.logToStandardError(.notice, "\(listener.name) listens on \(listener.address)")
        }
      }
    } catch {
      ServerOptions.logToStandardError(.error, "\(error)")
      exit(1)
    }
  }
}
