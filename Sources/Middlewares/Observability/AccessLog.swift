public import Pipeline
internal import Synchronization

/// Writes one structured line for every exchange, when it is over.
///
/// ```swift
/// AccessLog(.json, to: LogWriter(path: "/var/log/sluice/access.log"))
/// ```
/// Where it stands decides what it sees: at the top every exchange, refused ones included; below a retry one line an attempt;
/// below an authenticator only who has passed it. It changes nothing for the client and refuses nobody; where the sink is
/// full, lines are dropped and counted by the sink.
///
/// A line holds no secret: no password, no header, no payload. What a client chose (user name, host, path of a socket) is
/// escaped, so that it can neither end the line nor forge a field. Once warm a line costs no allocation; a refused
/// exchange's error is the only thing that may build text.
public struct AccessLog: Middleware {
  /// How a line looks.
  public struct Format: Hashable, Sendable {
    let style: LogLine.Style

    /// `2026-11-21T13:27:28.123Z id=42 listener=socks … outcome=ok ended=client`: time, then `name=value`.
    public static var text: Self { Self(style: .text) }
    /// One JSON object (RFC 8259) with the same fields; what is not known is `null`.
    public static var json: Self { Self(style: .json) }
  }

  private let format: Format
  private let sink: any LogSink
  private let clock: WallClock
  private let lines: LineBuffers

  /// - Parameters:
  ///   - format: `.text` or `.json`.
  ///   - sink: takes the lines; never waits.
  ///   - clock: for the time stamp.
  public init(_ format: Format = .text, to sink: any LogSink, clock: WallClock = .system) {
    self.format = format
    self.sink = sink
    self.clock = clock
    lines = LineBuffers()
  }

  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    do {
      let summary = try await next()
      write(exchange, traffic: exchange.finalTraffic(summary), endedBy: summary.endedBy, nil)
      return summary
    } catch {
      let rejection = Rejection(error)
      write(exchange, traffic: exchange.traffic, endedBy: Party(rejection.source), rejection)
      throw error
    }
  }

  public var parameters: [Parameter] { [Parameter("format", format == .json ? "json" : "text")] }

  private func write(_ exchange: Exchange, traffic: Traffic, endedBy: Party, _ rejection: Rejection?) {
    let time = clock.now
    lines.withLine(for: exchange.shard) { line in
      line.begin(time, format.style)
      line.field("id", exchange.id)
      line.field("listener", text: exchange.listener.name)
      line.field("transport", text: exchange.listener.transport)
      line.name("client")
      line.bytes.append(exchange.client, style: format.style)
      line.field("identity", text: exchange.principal?.id)
      line.name("destination")
      line.value(exchange.requestedDestination) { $0.append($1, style: $2) }
      line.name("upstream")
      line.value(exchange.upstreamAddress) { $0.append($1, style: $2) }
      line.field("attempt", exchange.attempt)
      line.field("up", traffic.up)
      line.field("down", traffic.down)
      line.name("ms")
      line.bytes.append(milliseconds: exchange.now - exchange.startedAt)
      line.field("outcome", text: rejection?.kind.rawValue ?? "ok")
      line.field("ended", text: endedBy.rawValue)
      if let detail = rejection?.detail, !detail.isEmpty { line.field("detail", text: detail) }
      line.end()
      sink.append(line.bytes.bytes.span.bytes, shard: exchange.shard)
    }
  }
}

/// One line under construction for each loop. A lock is never waited for: only its own loop takes it.
private final class LineBuffers: Sendable {
  private final class Buffer: Sendable {
    let line = Mutex(FieldLine())
  }

  private let buffers = (0..<64).map { _ in Buffer() }

  func withLine(for shard: Int, _ body: (inout FieldLine) -> Void) {
    buffers[shard & 63].line.withLock { body(&$0) }
  }
}

/// A line of named fields in either format.
private struct FieldLine: Sendable {
  var bytes = LogLine()
  private var style = LogLine.Style.text

  mutating func begin(_ time: UnixTime, _ style: LogLine.Style) {
    self.style = style
    bytes.clear()
    if style == .json {
      bytes.append("{\"time\":\"")
      bytes.append(time)
      bytes.append(UInt8(ascii: "\""))
    } else {
      bytes.append(time)
    }
  }

  mutating func name(_ name: String) {
    if style == .json {
      bytes.append(",\"")
      bytes.append(name)
      bytes.append("\":")
    } else {
      bytes.append(UInt8(ascii: " "))
      bytes.append(name)
      bytes.append(UInt8(ascii: "="))
    }
  }

  mutating func field(_ name: String, _ value: some BinaryInteger) {
    self.name(name)
    bytes.append(value)
  }

  mutating func field(_ name: String, text: String?) {
    self.name(name)
    value(text) { $0.append(value: $1, style: $2) }
  }

  /// A value, or what stands for none.
  mutating func value<Value>(_ value: Value?, _ append: (inout LogLine, Value, LogLine.Style) -> Void) {
    if let value {
      append(&bytes, value, style)
    } else {
      bytes.append(style == .json ? "null" : "-")
    }
  }

  mutating func end() {
    if style == .json { bytes.append(UInt8(ascii: "}")) }
  }
}

extension Party {
  fileprivate init(_ source: Rejection.Source) {
    switch source {
    case .client: self = .client
    case .upstream: self = .upstream
    case .proxy: self = .proxy
    }
  }
}

extension Exchange {
  /// Payload bytes of an exchange that has ended. A destination that answers itself reports them in its summary alone.
  func finalTraffic(_ summary: Summary) -> Traffic {
    Traffic(up: max(traffic.up, summary.traffic.up), down: max(traffic.down, summary.traffic.down))
  }
}
