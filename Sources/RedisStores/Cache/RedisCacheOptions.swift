/// How a ``RedisCache`` behaves.
public struct RedisCacheOptions: Hashable, Sendable {
  /// Begins every key in Redis, and tells caches in one Redis apart: 1 to 100 bytes, no braces (they would keep all keys on one
  /// node of a cluster).
  public var prefix: String
  /// How long an operation on behalf of an exchange may take in all, redirections of a cluster included: 1 ms to 1 hour. One
  /// of no exchange takes as long as the client allows.
  public var timeout: Duration
  /// Failures in a row after which Redis is left alone: 1...1,000.
  public var breakAfter: Int
  /// For how long; then one probe decides. 10 ms to 1 hour.
  public var breakFor: Duration

  public init(
    prefix: String = "sluice-cache", timeout: Duration = .seconds(1), breakAfter: Int = 5,
    breakFor: Duration = .milliseconds(500)
  ) {
    self.prefix = prefix
    self.timeout = timeout
    self.breakAfter = breakAfter
    self.breakFor = breakFor
  }

  /// What is wrong with the numbers, one sentence each.
  public var problems: [String] {
    var problems: [String] = []
    if !(1...100).contains(prefix.utf8.count) || prefix.utf8.contains(where: { $0 == 0x7b || $0 == 0x7d }) {
      problems.append("prefix of \"\(prefix)\": 1 to 100 bytes without braces are allowed")
    }
    if timeout < .milliseconds(1) || timeout > .seconds(3600) {
      problems.append("timeout of \(timeout): 1 ms to 1 hour are allowed")
    }
    if !(1...1000).contains(breakAfter) { problems.append("breakAfter of \(breakAfter): 1...1,000 are allowed") }
    if breakFor < .milliseconds(10) || breakFor > .seconds(3600) {
      problems.append("breakFor of \(breakFor): 10 ms to 1 hour are allowed")
    }
    return problems
  }
}

/// What has become of the operations of a ``RedisCache``, since the start.
public struct RedisCacheCounts: Hashable, Sendable {
  /// Operations that Redis was asked for.
  public var asked = 0
  /// Of these, those without an answer.
  public var failed = 0
  /// Operations for which it was not asked, because it had failed.
  public var spared = 0
  /// How often Redis was given up.
  public var opened = 0
  /// How often it was found well again.
  public var closed = 0
}
