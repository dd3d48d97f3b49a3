internal import Glibc
public import Pipeline

extension Server {
  /// As ``run()``, and SIGTERM or SIGINT asks for an orderly stop; a second one cuts at once. Says in the log what it does.
  ///
  /// One server of a process at a time can do so: signals are the process's.
  ///
  /// - Parameters:
  ///   - announce: called when the signals are taken, before the first connection is served: the place to say that the
  ///     server is there, so that whoever reads it may stop it at once.
  ///   - reload: what a SIGHUP asks for, one at a time; several that come meanwhile are one more. `nil`: a SIGHUP ends the
  ///     process, as the system has it.
  /// - Throws: ``ConfigurationError``, and what `announce` throws.
  public func runUntilTerminated(
    announcing announce: () throws -> Void = {}, reloading reload: (@Sendable () async -> Void)? = nil
  ) async throws -> StopReport {
    let (hangUps, hangUp) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let hungUp: @Sendable () -> Void = { _ = hangUp.yield() }
    let signals: TerminationSignals
    do {
      signals = try TerminationSignals(hungUp: reload == nil ? nil : hungUp) { [self] in stop() }
    } catch {
      throw ConfigurationError(messages: ["signals cannot be received: \(error)"])
    }
    try announce()
    let reloads = Task {
      if let reload { for await _ in hangUps { await reload() } }
    }
    let report: StopReport
    do {
      report = try await run(taking: signals)
    } catch {
      hangUp.finish()
      throw error
    }
    hangUp.finish()
    // Not waited for: one that is under way speaks to loops that have ended.
    reloads.cancel()
    return report
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
