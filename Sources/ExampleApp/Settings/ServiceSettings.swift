import Middlewares
import Pipeline
import Transports

/// What every serving command can be told.
struct ServiceSettings {
  static let flags: [Flag] = [
    .value("workers", "N", "event loops, 1...1024; one thread each (default: one for each processor)"),
    .value("log", "off|text|json", "one line for each exchange, on standard output", default: "text"),
    .value("handshake-timeout", "TIME", "for the client's part of the handshake", default: "10s"),
    .value("connect-timeout", "TIME", "for reaching the destination", default: "5s"),
    .value("idle-timeout", "TIME", "ends a tunnel in which nothing moves", default: "5m"),
    .value("max-connections", "N", "connections open at once, 1...1000000 (default: no limit)"),
    .value(
      "max-connections-per-client", "N",
      "connections that one client address may have open at once, 1...1000000 (default: no limit)"),
    .value(
      "bandwidth", "RATE",
      "bytes a second that one client address may move, each way: 500kB/s, 10MB/s, 1GB/s (default: no limit)"),
    .value("grace", "TIME", "after SIGTERM or SIGINT: how long exchanges may go on", default: "30s"),
  ]

  var workers: Int?
  var log: LogSetting
  var handshakeTimeout: Duration
  var connectTimeout: Duration
  var idleTimeout: Duration
  var maxConnections: Int?
  var maxConnectionsPerClient: Int?
  var bandwidth: ByteRate?
  var grace: Duration

  init(_ flags: ParsedFlags) throws {
    workers = try flags.parsed("workers", allowed: "1...1024") { readInt($0, in: 1...1024) }
    log = try flags.parsed("log", allowed: "off, text or json", LogSetting.init(rawValue:)) ?? .text
    handshakeTimeout = try flags.time("handshake-timeout")
    connectTimeout = try flags.time("connect-timeout")
    idleTimeout = try flags.time("idle-timeout")
    maxConnections = try flags.parsed("max-connections", allowed: "1...1000000") { readInt($0, in: 1...1_000_000) }
    maxConnectionsPerClient = try flags.parsed("max-connections-per-client", allowed: "1...1000000") {
      readInt($0, in: 1...1_000_000)
    }
    bandwidth = try flags.parsed("bandwidth", allowed: byteRateSyntax, readByteRate)
    grace = try flags.time("grace")
  }

  /// What concerns each listener.
  func apply(to options: inout ListenerOptions) {
    options.handshakeTimeout = handshakeTimeout
    options.connectTimeout = connectTimeout
    options.idleTimeout = idleTimeout
    options.maxConnectionsPerClient = maxConnectionsPerClient
  }

  /// The writer of the access log: standard output.
  func makeLog() -> LogWriter {
    var options = LogWriter.Options()
    options.notice = log == .json ? .json : .text
    return LogWriter.standardOutput(options: options)
  }

  /// What concerns the server as a whole.
  var server: ServerOptions {
    var options = ServerOptions()
    options.workers = workers
    options.maxConnections = maxConnections
    options.grace = grace
    return options
  }
}

/// Reads an address to listen on.
func listenAddress(_ text: String, flag: String) throws -> SocketAddress {
  guard let address = SocketAddress(text) else { throw SettingsError("--\(flag)", value: text, allowed: listenSyntax) }
  return address
}

/// Refuses what is neither `HOST:PORT` nor `unix:/path`.
func checkUpstream(_ text: String, flag: String) throws {
  let isUpstream = text.hasPrefix("unix:") ? SocketAddress(text) != nil : (Endpoint(text).map { $0.port != 0 } ?? false)
  guard isUpstream else {
    throw SettingsError("--\(flag)", value: text, allowed: "\(endpointSyntax) with a port of 1...65535, or unix:/path")
  }
}
