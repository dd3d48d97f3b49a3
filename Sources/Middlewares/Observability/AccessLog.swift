public import Pipeline
internal import Synchronization

/// Writes one structured line for every exchange, when it is over.
///
/// ```swift
/// AccessLog(.json, to: LogWriter(path: "/var/log/sluice/access.log"))
/// ```
/// Requests that an HTTP listener refuses before any chain runs have their line, too, where it stands above every
/// authenticator and route: no method, host and target unless they were understood.
///
/// Where it stands decides what it sees: at the top every exchange, refused ones included; below a retry one line an attempt;
/// below an authenticator only who has passed it. It changes nothing for the client and refuses nobody; where the sink is
/// full, lines are dropped and counted by the sink.
///
/// A line holds no secret: no password, no header but `host`, no query, no payload. What a client chose (user name, host, path of a socket) is
/// escaped, so that it can neither end the line nor forge a field. Once warm a line costs no allocation; a refused
/// exchange's error is the only thing that may build text.
public struct AccessLog: ImmediateMiddleware, ArrivalObserver {
  /// How a line looks.
  public struct Format: Hashable, Sendable {
    let style: LogLine.Style

    /// `2026-11-21T13:27:28.123Z id=42 listener=socks … outcome=ok ended=client`: time, then `name=value`.
    public static var text: Self { Self(style: .text) }
    /// One JSON object (RFC 8259) with the same fields; what is not known is `null`.
    public static var json: Self { Self(style: .json) }
  }

  private let format: Format
  private let isJSON: Bool
  private let sink: any LogSink
  private let clock: WallClock
  private let lines: LineBuffers

  /// - Parameters:
  ///   - format: `.text` or `.json`.
  ///   - sink: takes the lines; never waits.
  ///   - clock: for the time stamp.
  public init(_ format: Format = .text, to sink: any LogSink, clock: WallClock = .system) {
    self.format = format
    isJSON = format == .json
    self.sink = sink
    self.clock = clock
    lines = LineBuffers()
  }

  public func before(_ exchange: Exchange) {}

  public func after(_ exchange: Exchange, _ held: Void, _ summary: Summary) {
    write(exchange, traffic: exchange.finalTraffic(summary), endedBy: summary.endedBy, nil)
  }

  public func failed(_ exchange: Exchange, _ held: Void, _ error: any Error) -> any Error {
    let rejection = Rejection(error)
    write(exchange, traffic: exchange.traffic, endedBy: Party(rejection.source), rejection)
    return error
  }

  public func noteRefusal(of exchange: Exchange, isRead: Bool, _ rejection: Rejection) {
    write(exchange, traffic: exchange.traffic, endedBy: .proxy, rejection, isRead: isRead)
  }

  public var parameters: [Parameter] { [Parameter("format", format == .json ? "json" : "text")] }

  private func write(
    _ exchange: Exchange, traffic: Traffic, endedBy: Party, _ rejection: Rejection?, isRead: Bool = true
  ) {
    let time = clock.now
    lines.withLine(for: exchange.shard, format.style, isJSON: isJSON) { line in
      line.begin(time)
      line.name(" id=", ",\"id\":")
      line.bytes.append(exchange.id)
      line.listener(exchange.listener)
      line.name(" client=", ",\"client\":")
      line.bytes.append(exchange.client, style: format.style)
      line.name(" identity=", ",\"identity\":")
      line.text(exchange.principal?.id)
      line.name(" destination=", ",\"destination\":")
      if let destination = exchange.requestedDestination {
        line.bytes.append(destination, style: format.style)
      } else {
        line.nothing()
      }
      line.name(" upstream=", ",\"upstream\":")
      line.upstream(exchange.upstreamAddress)
      if let exchange = exchange as? HTTPExchange {
        let status = exchange.status ?? rejection.map(exchange.status(for:))
        if isRead { line.request(of: exchange, status: status) } else { line.unreadRequest(status: status) }
        line.id(exchange[RequestIDKey.self])
      }
      line.name(" attempt=", ",\"attempt\":")
      line.bytes.append(exchange.attempt)
      line.name(" up=", ",\"up\":")
      line.bytes.append(traffic.up)
      line.name(" down=", ",\"down\":")
      line.bytes.append(traffic.down)
      line.name(" ms=", ",\"ms\":")
      line.bytes.append(milliseconds: exchange.now - exchange.startedAt)
      line.end(rejection, endedBy)
      line.bytes.withBytes { _ = sink.append($0.bytes, shard: exchange.shard) }
    }
  }
}

/// One line under construction for each loop. A lock is never waited for: only its own loop takes it.
private final class LineBuffers: Sendable {
  private final class Buffer: Sendable {
    let line = Mutex(FieldLine())
  }

  private let buffers = (0..<64).map { _ in Buffer() }

  func withLine(for shard: Int, _ style: LogLine.Style, isJSON: Bool, _ body: (inout FieldLine) -> Void) {
    buffers[shard & 63].line.withLock { line in
      line.style = style
      line.isJSON = isJSON
      body(&line)
    }
  }
}

/// A line of named fields in either format.
private struct FieldLine: ~Copyable, Sendable {
  var bytes = LogLine()
  var style = LogLine.Style.text
  /// The same, asked once a field.
  var isJSON = false
  /// The fields of the listener that the last line was for: nearly always those of the next one.
  private var known: ListenerInfo?
  private var knownFields: [UInt8] = []
  /// The upstream of the last line: one of few.
  private var knownUpstream: (address: IPAddress, port: UInt16)?
  private var knownUpstreamText: [UInt8] = []

  mutating func begin(_ time: UnixTime) {
    bytes.clear()
    name("", "{\"time\":\"")
    bytes.append(time)
    name("", "\"")
  }

  /// What stands before a value, in text and in JSON.
  @inline(__always)
  mutating func name(_ text: StaticString, _ json: StaticString) {
    // Not `isJSON ? json : text`: each of the two has a length that the compiler knows.
    if isJSON { bytes.append(json) } else { bytes.append(text) }
  }

  mutating func text(_ value: String?) {
    if let value { bytes.append(value: value, style: style) } else { nothing() }
  }

  mutating func nothing() { name("-", "null") }

  mutating func listener(_ listener: ListenerInfo) {
    if known !== listener {
      let start = bytes.count
      name(" listener=", ",\"listener\":")
      text(listener.name)
      name(" transport=", ",\"transport\":")
      text(listener.transport)
      known = listener
      knownFields = bytes.copy(from: start)
    } else {
      bytes.append(knownFields)
    }
  }

  /// An answer to what was no request.
  mutating func unreadRequest(status: Int?) {
    name(" method=- host=- target=-", ",\"method\":null,\"host\":null,\"target\":null")
    name(" status=", ",\"status\":")
    if let status { bytes.append(status) } else { nothing() }
  }

  mutating func upstream(_ address: SocketAddress?) {
    guard let address else { return nothing() }
    guard case .ip(let ip, let port) = address else { return bytes.append(address, style: style) }
    if let knownUpstream, knownUpstream == (ip, port) { return bytes.append(knownUpstreamText) }
    let start = bytes.count
    bytes.append(address, style: style)
    knownUpstream = (ip, port)
    knownUpstreamText = bytes.copy(from: start)
  }

  /// What was asked and answered. The query and the fields stay out: they may hold what is secret.
  mutating func request(of exchange: HTTPExchange, status: Int?) {
    let style = style
    exchange.withRequest { request in
      name(" method=", ",\"method\":")
      request.method.withName { bytes.append(value: $0, style: style) }
      name(" host=", ",\"host\":")
      request.withAuthority { authority in
        if let authority { bytes.append(value: authority, style: style) } else { nothing() }
      }
      name(" target=", ",\"target\":")
      request.withTargetBeforeQuery { bytes.append(value: $0, style: style) }
    }
    name(" status=", ",\"status\":")
    if let status { bytes.append(status) } else { nothing() }
  }

  /// What ``RequestID`` gave, where there is one. It holds nothing that has to be escaped.
  mutating func id(_ id: RequestIdentifier?) {
    guard let id else { return }
    name(" request=", ",\"request\":\"")
    id.append(to: &bytes)
    name("", "\"")
  }

  /// How it ended. Words of our own need no escaping.
  mutating func end(_ rejection: Rejection?, _ endedBy: Party) {
    if let rejection {
      name(" outcome=", ",\"outcome\":")
      text(rejection.kind.rawValue)
    } else {
      name(" outcome=ok", ",\"outcome\":\"ok\"")
    }
    switch endedBy {
    case .client: name(" ended=client", ",\"ended\":\"client\"")
    case .upstream: name(" ended=upstream", ",\"ended\":\"upstream\"")
    case .proxy: name(" ended=proxy", ",\"ended\":\"proxy\"")
    }
    if let detail = rejection?.detail, !detail.isEmpty {
      name(" detail=", ",\"detail\":")
      text(detail)
    }
    name("", "}")
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
