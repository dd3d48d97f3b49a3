public import Pipeline

/// Whom a piece of usage belongs to.
public enum UsageAccount: Hashable, Sendable, CustomStringConvertible {
  case identity(Principal)
  /// Passed without a login, on a listener that asks for none, or under the name `anonymous`.
  case anonymous
  /// Turned away before anybody was known.
  case unauthenticated
  /// Identities that a bounded store had no room for.
  case others

  public var description: String {
    switch self {
    case .identity(let principal): principal.id
    case .anonymous: "anonymous"
    case .unauthenticated: "unauthenticated"
    case .others: "others"
    }
  }
}

/// Usage to add to an account. Negative numbers take back what was recorded for the same exchange before its outcome, or
/// its identity, was known.
public struct UsageChange: Hashable, Sendable {
  public var requests: Int
  public var connections: Int
  public var refused: Int
  public var failed: Int
  /// Bytes from the client.
  public var up: Int
  /// Bytes to the client.
  public var down: Int

  public init(requests: Int = 0, connections: Int = 0, refused: Int = 0, failed: Int = 0, up: Int = 0, down: Int = 0) {
    self.requests = requests
    self.connections = connections
    self.refused = refused
    self.failed = failed
    self.up = up
    self.down = down
  }

  public static func += (a: inout UsageChange, b: UsageChange) {
    a.requests += b.requests
    a.connections += b.connections
    a.refused += b.refused
    a.failed += b.failed
    a.up += b.up
    a.down += b.down
  }

  public static func - (a: UsageChange, b: UsageChange) -> UsageChange {
    UsageChange(
      requests: a.requests - b.requests, connections: a.connections - b.connections, refused: a.refused - b.refused,
      failed: a.failed - b.failed, up: a.up - b.up, down: a.down - b.down)
  }

  /// Nothing is left: all that was recorded has been taken back.
  var isZero: Bool { requests == 0 && connections == 0 && refused == 0 && failed == 0 && up == 0 && down == 0 }

  /// That part of it, each number rounded up.
  func scaled(_ part: Double) -> UsageChange {
    func scale(_ count: Int) -> Int { Int((Double(count) * part).rounded(.up)) }
    return UsageChange(
      requests: scale(requests), connections: scale(connections), refused: scale(refused), failed: scale(failed),
      up: scale(up), down: scale(down))
  }
}

/// What an account has used so far.
public struct UsageTotals: Hashable, Sendable {
  /// Exchanges: TCP and SOCKS5 connections, HTTP requests.
  public var requests = 0
  /// Client connections; one that carries several HTTP requests counts once, for who made the first.
  public var connections = 0
  /// Exchanges that this proxy turned away.
  public var refused = 0
  /// Exchanges that were let in and ended in an error: upstream unreachable, client gone, cut.
  public var failed = 0
  /// Payload bytes from clients.
  public var up = 0
  /// Payload bytes to clients.
  public var down = 0
  public var firstSeen: UnixTime
  public var lastSeen: UnixTime

  public init(seen time: UnixTime) {
    firstSeen = time
    lastSeen = time
  }

  /// Adds a change that was recorded at `time`.
  public mutating func add(_ change: UsageChange, at time: UnixTime) {
    requests += change.requests
    connections += change.connections
    refused += change.refused
    failed += change.failed
    up += change.up
    down += change.down
    firstSeen = min(firstSeen, time)
    lastSeen = max(lastSeen, time)
  }

  init(_ usage: UsageChange, first: UnixTime, last: UnixTime) {
    self.init(seen: first)
    lastSeen = last
    add(usage, at: last)
    firstSeen = first
  }

  /// The numbers without the times.
  public var usage: UsageChange {
    UsageChange(requests: requests, connections: connections, refused: refused, failed: failed, up: up, down: down)
  }
}
