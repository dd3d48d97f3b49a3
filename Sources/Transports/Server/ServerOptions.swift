internal import Glibc
public import Pipeline

/// What concerns a server as a whole; what concerns one listener stands at the listener.
public struct ServerOptions: Sendable {
  /// Event loops, one thread each, 1...1024. `nil`: one for each processor that the process may use.
  public var workers: Int?
  /// Connections that may be open at once, over all listeners; one more waits until one ends. `nil`: no limit.
  public var maxConnections: Int?
  /// How long exchanges may go on after a stop was asked for, before they are cut.
  public var grace: Duration = .seconds(30)
  /// What is counted per element of the chains.
  public var counting: Counting = .counts
  /// Where operational lines go. Called on any thread; must not block for long.
  public var log: @Sendable (LogLevel, String) -> Void = ServerOptions.logToStandardError
  /// How names are looked up and connections made.
  var engine = EngineOptions()

  public init() {}

  /// Writes lines of level `notice` and above to standard error.
  public static let logToStandardError: @Sendable (LogLevel, String) -> Void = { level, message in
    if level < .notice { return }
    var line = "\(level.rawValue): \(message)\n"
    // One write, so that lines of several threads do not mix. A log that cannot be written has nobody to tell.
    line.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }

  func check() throws {
    var wrong: [String] = []
    if let workers, !(1...1024).contains(workers) { wrong.append("workers: \(workers); allowed are 1...1024") }
    if let maxConnections, maxConnections < 1 {
      wrong.append("maxConnections: \(maxConnections); allowed is 1 or more")
    }
    if grace < .zero { wrong.append("grace: \(grace); allowed is 0 or more") }
    if !wrong.isEmpty { throw ConfigurationError(messages: wrong) }
  }
}
