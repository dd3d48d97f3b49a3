public import Pipeline

/// Asks every backend from time to time whether it is there.
///
/// ```swift
/// Upstreams(.leastConnections, health: .http("/health", every: .seconds(10))) { … }
/// Upstreams(.roundRobin, health: .tcp(every: .seconds(5), fall: 2)) { … }
/// ```
/// The first answer decides at once; after that it takes `fall` failures in a row to take a backend out, and `rise` successes
/// in a row to bring it back. Before the first answer a backend may be used. A check opens a connection of its own, with the
/// PROXY protocol where the backend wants it (as a local connection, which is about no client).
public struct HealthCheck: Sendable, Hashable {
  enum Question: Sendable, Hashable {
    /// A connection, and, where something is to be sent or expected, a short talk.
    case tcp(send: [UInt8], expect: [UInt8])
    case http(HTTPQuestion)
  }

  struct HTTPQuestion: Sendable, Hashable {
    var method: HTTPMethod
    var path: String
    var host: String?
    var statuses: ClosedRange<Int>
    var body: String?
  }

  let question: Question
  /// From the begin of a check to the begin of the next one.
  public var interval: Duration = .seconds(10)
  /// How much longer or shorter each interval is, at random, so that many proxies do not ask at once: 0...0.5 of it. 0.1.
  public var jitter = 0.1
  /// For one check, the connect included.
  public var timeout: Duration = .seconds(5)
  /// Successes in a row that bring a backend back, 1...100. 2.
  public var rise = 2
  /// Failures in a row that take a backend out, 1...100. 3.
  public var fall = 3
  /// The port that is asked in place of the backend's own; `nil`: its own.
  public var port: UInt16?

  /// Connects. A process that is stopped still accepts connections, by the kernel; only an answer tells.
  ///
  /// - Parameters:
  ///   - send: sent when connected: `"PING\r\n"`.
  ///   - expect: what the answer has to begin with: `"+PONG"`; at most 1 KiB. Empty: the connection is enough.
  public static func tcp(
    send: String = "", expect: String = "", every interval: Duration = .seconds(10), timeout: Duration = .seconds(5),
    rise: Int = 2, fall: Int = 3, port: UInt16? = nil
  ) -> HealthCheck {
    HealthCheck(
      question: .tcp(send: Array(send.utf8), expect: Array(expect.utf8)), interval: interval, timeout: timeout,
      rise: rise, fall: fall, port: port)
  }

  /// Asks over HTTP/1.1, on a connection of its own.
  ///
  /// - Parameters:
  ///   - path: in origin form, with its query.
  ///   - status: those that are well.
  ///   - body: a text that the body has to contain, within its first 64 KiB; `nil`: any body.
  ///   - host: the `host` field; `nil`: the backend's address.
  public static func http(
    _ path: String = "/health", method: HTTPMethod = .get, status: ClosedRange<Int> = 200...299, body: String? = nil,
    host: String? = nil, every interval: Duration = .seconds(10), timeout: Duration = .seconds(5), rise: Int = 2,
    fall: Int = 3, port: UInt16? = nil
  ) -> HealthCheck {
    let question = HTTPQuestion(method: method, path: path, host: host, statuses: status, body: body)
    return HealthCheck(
      question: .http(question), interval: interval, timeout: timeout, rise: rise, fall: fall, port: port)
  }

  private init(
    question: Question, interval: Duration, timeout: Duration, rise: Int, fall: Int, port: UInt16?
  ) {
    self.question = question
    self.interval = interval
    self.timeout = timeout
    self.rise = rise
    self.fall = fall
    self.port = port
  }

  /// `GET /health`, `TCP connect`: for plans and reports, and so without the query, which may hold a token.
  public var label: String {
    switch question {
    case .tcp(_, let expect): expect.isEmpty ? "TCP connect" : "TCP answer"
    case .http(let question): "\(question.method) \(question.path.prefix { $0 != "?" })"
    }
  }

  /// The next interval.
  func interval(_ bits: UInt64) -> Duration {
    let swing = Double(bits >> 11) / Double(1 << 52) - 1
    return interval * (1 + jitter * swing)
  }

  /// Why it cannot work, one sentence each.
  var problems: [String] {
    var problems: [String] = []
    if interval < .milliseconds(10) { problems.append("a check every \(interval): 10 ms or more is allowed") }
    if timeout <= .zero { problems.append("a timeout of a check of \(timeout): it must be more than 0 seconds") }
    if !(0...0.5).contains(jitter) { problems.append("a jitter of \(jitter): 0 to 0.5 of the interval is allowed") }
    if !(1...100).contains(rise) { problems.append("a rise of \(rise): 1 to 100 are allowed") }
    if !(1...100).contains(fall) { problems.append("a fall of \(fall): 1 to 100 are allowed") }
    if port == 0 { problems.append("checks of port 0: 1 to 65535 are allowed") }
    switch question {
    case .tcp(_, let expect):
      if expect.count > 1024 { problems.append("an expected answer of \(expect.count) bytes: up to 1024 are allowed") }
    case .http(let question):
      let isTarget = question.path.hasPrefix("/") && question.path.utf8.allSatisfy { (0x21...0x7e).contains($0) }
      if !isTarget {
        problems.append("\"\(question.path)\" is no path to check: it begins with / and has no spaces: /health")
      }
      if question.statuses.lowerBound < 200 || question.statuses.upperBound > 599 {
        problems.append("statuses \(question.statuses) of a check: 200 to 599 are allowed")
      }
      if let host = question.host, host.isEmpty || !host.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) {
        problems.append("\"\(host)\" is no host to check: write a name, or host:port")
      }
    }
    return problems
  }
}
