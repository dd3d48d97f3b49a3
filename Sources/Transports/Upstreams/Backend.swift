public import Pipeline

/// One of several places that serve the same: a line of ``Upstreams``.
///
/// ```swift
/// Backend("10.0.0.1:9001", weight: 2)
/// Backend("10.0.0.2:9001", named: "blue", maxConnections: 200, queue: 50)
/// Backend("10.9.0.1:9001", priority: 1)  // a reserve: while none of the others is usable
/// ```
public struct Backend: Sendable {
  /// `host:port`, `1.2.3.4:port`, `[::1]:port` or `unix:/path`.
  public let address: String
  /// What logs, metrics and the operator call it; unique in its group. The address where none is given.
  public let name: String
  /// Its share beside the others, 1...10,000.
  public let weight: Int
  /// 0: it is used. More: a reserve, used while none of a lesser number is usable. 0...65,535.
  public let priority: Int
  /// Exchanges that it serves at once, over all loops; `nil`: no limit.
  public let maxConnections: Int?
  /// Exchanges that wait at once for one of `maxConnections`, 0...100,000.
  public let queue: Int
  /// How long one waits there; the deadline above may be nearer.
  public let maxWait: Duration
  /// Tells the backend who the client is.
  public let proxyProtocol: ProxyProtocolVersion?
  /// How connections to it leave, those of its checks, too.
  public let way: Way

  /// A line that cannot work keeps the app from starting, with a sentence.
  ///
  /// - Parameters:
  ///   - address: `host:port`, `1.2.3.4:port`, `[::1]:port` or `unix:/path`. A name is resolved (and cached) at each dial.
  ///   - name: 1 to 100 printable characters without a space or a quote.
  ///   - weight: 1...10,000.
  ///   - priority: 0...65,535. Exchanges go to those of the least number of which one is usable (healthy, not taken out by the
  ///     operator, not tried already by this exchange). That all of them are full is no reason to use the reserve.
  ///   - maxConnections: 1...1,000,000 exchanges at once; `nil`: no limit. One more waits in the queue, or goes to another
  ///     backend that has room.
  ///   - queue: exchanges that wait at once, 0...100,000.
  ///   - maxWait: more than zero. Who has waited so long is refused as `overloaded`.
  ///   - proxyProtocol: tells the backend who the client is.
  ///   - way: from which address connections leave, through whose proxies.
  public init(
    _ address: String, named name: String? = nil, weight: Int = 1, priority: Int = 0, maxConnections: Int? = nil,
    queue: Int = 0, maxWait: Duration = .seconds(1), proxyProtocol: ProxyProtocolVersion? = nil, by way: Way = .direct
  ) {
    self.address = address
    self.name = name ?? address
    self.weight = weight
    self.priority = priority
    self.maxConnections = maxConnections
    self.queue = queue
    self.maxWait = maxWait
    self.proxyProtocol = proxyProtocol
    self.way = way
  }

  /// The same backend with another weight.
  func weighing(_ weight: Int) -> Backend {
    Backend(
      address, named: name, weight: weight, priority: priority, maxConnections: maxConnections, queue: queue,
      maxWait: maxWait, proxyProtocol: proxyProtocol, by: way)
  }

  /// The same backend with another priority.
  func inPriority(_ priority: Int) -> Backend {
    Backend(
      address, named: name, weight: weight, priority: priority, maxConnections: maxConnections, queue: queue,
      maxWait: maxWait, proxyProtocol: proxyProtocol, by: way)
  }

  /// Why it cannot work, one sentence each.
  var problems: [String] {
    var problems = UpstreamTarget(address).problems(by: way)
    let isPlain = name.unicodeScalars.allSatisfy { (0x21...0x7e).contains($0.value) && $0 != "\"" && $0 != "\\" }
    if !(1...100).contains(name.utf8.count) || !isPlain {
      problems.append(
        "\"\(name)\" is no name of a backend: write 1 to 100 printable characters without a space or a quote")
    }
    if !(1...10_000).contains(weight) { problems.append("\(name) has a weight of \(weight): 1 to 10,000 are allowed") }
    if !(0...65_535).contains(priority) {
      problems.append("\(name) has a priority of \(priority): 0 to 65,535 are allowed")
    }
    if let maxConnections, !(1...1_000_000).contains(maxConnections) {
      problems.append("\(name) takes \(maxConnections) connections: 1 to 1,000,000 are allowed")
    }
    if !(0...100_000).contains(queue) { problems.append("\(name) has a queue of \(queue): 0 to 100,000 are allowed") }
    if queue > 0, maxConnections == nil {
      problems.append("\(name) has a queue and no maxConnections: nobody would ever wait in it")
    }
    if maxWait <= .zero { problems.append("\(name) has a wait of \(maxWait): it must be more than 0 seconds") }
    return problems
  }

  /// Whether what is there may go on being used for it: connections, counts, what is known of its health.
  func isSamePlace(as other: Backend) -> Bool {
    name == other.name && address == other.address && proxyProtocol == other.proxyProtocol && way.leads(as: other.way)
  }

  /// Whether nothing at all has changed.
  func isSameLine(as other: Backend) -> Bool {
    isSamePlace(as: other) && weight == other.weight && priority == other.priority
      && maxConnections == other.maxConnections && queue == other.queue
      && maxWait == other.maxWait
  }

  /// Why these cannot be one group.
  static func problems(with backends: [Backend]) -> [String] {
    var problems = backends.flatMap(\.problems)
    var names: Set<String> = []
    for backend in backends where !names.insert(backend.name).inserted {
      problems.append("two backends are called \(backend.name): give each a name of its own")
    }
    return problems
  }
}

extension Way {
  /// Whether a connection by this way is as good as one by the other: the same logins at the same proxies, too.
  fileprivate func leads(as other: Way) -> Bool {
    description == other.description
      && zip(proxies, other.proxies).allSatisfy { mine, theirs in
        mine.credentials?.user == theirs.credentials?.user
          && mine.credentials?.password.reveal() == theirs.credentials?.password.reveal()
      }
  }
}

/// Builds the list of ``Upstreams``: a backend a line, with `if`, `switch` and `for`.
@resultBuilder public enum BackendBuilder {
  /// `Backend("10.0.0.1:80")`
  public static func buildExpression(_ backend: Backend) -> [Backend] { [backend] }
  /// `"10.0.0.1:80"`, for a backend without options.
  public static func buildExpression(_ address: String) -> [Backend] { [Backend(address)] }
  /// A list that was made elsewhere.
  public static func buildExpression(_ backends: [Backend]) -> [Backend] { backends }
  public static func buildBlock(_ parts: [Backend]...) -> [Backend] { parts.flatMap { $0 } }
  /// `if` without `else`.
  public static func buildOptional(_ part: [Backend]?) -> [Backend] { part ?? [] }
  /// `if`/`else`, `switch`.
  public static func buildEither(first part: [Backend]) -> [Backend] { part }
  /// `if`/`else`, `switch`.
  public static func buildEither(second part: [Backend]) -> [Backend] { part }
  /// `for`.
  public static func buildArray(_ parts: [[Backend]]) -> [Backend] { parts.flatMap { $0 } }
}
