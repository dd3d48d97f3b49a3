internal import Pipeline

/// How a ``RedisClient`` behaves towards its servers.
public struct RedisOptions: Hashable, Sendable {
  /// For connecting and logging in: 1 ms or more.
  public var connectTimeout: Duration
  /// For one command, from the moment that it goes out: 1 ms or more. A connection whose oldest command is not answered in
  /// time is closed, since the answers come in order.
  public var commandTimeout: Duration
  /// The first pause before connecting again: 1 ms or more. It doubles with every failure; its upper half is random, so that
  /// the clients of a server that comes back do not come at once.
  public var firstPause: Duration
  /// The longest pause.
  public var longestPause: Duration
  /// Commands on one connection whose answers are awaited: 1...1,000,000. One more is refused at once.
  public var maxPipelined: Int
  /// How often a command follows a cluster's redirections, or tries again while slots move: 0...100.
  public var maxRedirections: Int
  /// What a server may send.
  public var limits: RESPLimits

  public init(
    connectTimeout: Duration = .seconds(1), commandTimeout: Duration = .milliseconds(500),
    firstPause: Duration = .milliseconds(20), longestPause: Duration = .seconds(2), maxPipelined: Int = 4096,
    maxRedirections: Int = 8, limits: RESPLimits = RESPLimits()
  ) {
    self.connectTimeout = connectTimeout
    self.commandTimeout = commandTimeout
    self.firstPause = firstPause
    self.longestPause = longestPause
    self.maxPipelined = maxPipelined
    self.maxRedirections = maxRedirections
    self.limits = limits
  }

  /// What is out of range; `nil` when nothing is.
  public var problem: String? {
    let times = [
      ("connectTimeout", connectTimeout), ("commandTimeout", commandTimeout), ("firstPause", firstPause),
      ("longestPause", longestPause),
    ]
    for (name, time) in times where time < .milliseconds(1) { return "\(name) of \(time): 1 ms or more is allowed" }
    if longestPause < firstPause {
      return "longestPause of \(longestPause): \(firstPause) (firstPause) or more is allowed"
    }
    if !(1...1_000_000).contains(maxPipelined) { return "maxPipelined of \(maxPipelined): 1...1,000,000 are allowed" }
    if !(0...100).contains(maxRedirections) { return "maxRedirections of \(maxRedirections): 0...100 are allowed" }
    return limits.problem
  }
}

/// How long to wait before connecting again. Pure: randomness comes in.
struct ReconnectPause: Sendable {
  private let first: Int64
  private let longest: Int64
  private var failures = 0

  init(_ options: RedisOptions) {
    first = options.firstPause.nanosecondsClamped
    longest = options.longestPause.nanosecondsClamped
  }

  /// After a failure: the doubled pause, of which the upper half is random.
  mutating func next(randomBits: UInt64) -> Duration {
    let (doubled, overflow) = first.multipliedReportingOverflow(by: 1 << Int64(min(failures, 30)))
    let whole = overflow ? longest : min(doubled, longest)
    failures += 1
    let half = whole / 2
    return .nanoseconds(half + Int64(randomBits % UInt64(whole - half + 1)))
  }

  /// The server answered.
  mutating func reset() { failures = 0 }
}
