internal import Pipeline

/// Why one attempt to connect did not succeed.
enum ConnectFailure: Error, Hashable {
  case refused
  case hostUnreachable
  case timedOut
  case networkUnreachable
  /// The address to connect from cannot be used: it is not this machine's, say. An errno value of `bind`.
  case source(IPAddress, Int32)
  /// Another errno value of `connect` or `socket`.
  case other(Int32)

  /// How much the failure says about the destination, the most first. A refusal is the destination's own answer. "Host
  /// unreachable" is a router's. A timeout says that nobody answered. "Network unreachable" often says only that this
  /// machine has no IPv6, so any other answer is worth more.
  fileprivate var rank: Int {
    switch self {
    case .refused: 4
    case .hostUnreachable: 3
    case .timedOut: 2
    case .other, .source: 1
    case .networkUnreachable: 0
    }
  }
}

/// The schedule of Happy Eyeballs v2 (RFC 8305) as a pure value: which address to try when. It knows no socket and no
/// clock; `Dialer` is the shell around it.
///
/// - Addresses of the two families alternate, beginning with the family of the first (section 4).
/// - A further attempt begins when the last one has been running for `attemptDelay` (section 5) or has failed.
/// - The first success wins; the shell then closes the others.
struct HappyEyeballs {
  struct Timing: Hashable, Sendable {
    /// "Connection Attempt Delay" of RFC 8305, section 8: 250 ms recommended, 100 ms least, 2 s most.
    var attemptDelay: Duration = .milliseconds(250)
    /// How long one attempt may take.
    var attemptTimeout: Duration = .seconds(5)
    /// How long all attempts together may take.
    var totalTimeout: Duration = .seconds(10)
  }

  /// What the shell does next.
  enum Step: Equatable {
    /// Begin to connect to this address, and call `step` again.
    case start(SocketAddress)
    /// Close the attempt to this address, which took too long, and call `step` again.
    case abandon(SocketAddress)
    /// Wait for one of the attempts, at most until then.
    case wait(until: Instant)
    /// All attempts have failed; this is the failure that says most.
    case fail(ConnectFailure)
  }

  private let addresses: [SocketAddress]
  private let timing: Timing
  private let end: Instant
  private var nextIndex = 0
  private var nextStart: Instant
  private var running: [(address: SocketAddress, deadline: Instant)] = []
  private var mostTelling: ConnectFailure?

  init(_ addresses: [SocketAddress], _ timing: Timing = Timing(), now: Instant) {
    precondition(!addresses.isEmpty, "there is no address to connect to")
    self.addresses = Self.interleaved(addresses)
    self.timing = timing
    end = now + timing.totalTimeout
    nextStart = now
  }

  mutating func step(now: Instant) -> Step {
    if let late = running.firstIndex(where: { min($0.deadline, end) <= now }) {
      let address = running.remove(at: late).address
      note(.timedOut, now: now)
      return .abandon(address)
    }
    if nextIndex < addresses.count, now < end {
      if nextStart <= now || running.isEmpty {
        let address = addresses[nextIndex]
        nextIndex += 1
        nextStart = now + timing.attemptDelay
        running.append((address, min(now + timing.attemptTimeout, end)))
        return .start(address)
      }
      return .wait(until: min(nextStart, nearestDeadline))
    }
    if running.isEmpty { return .fail(mostTelling ?? .timedOut) }
    return .wait(until: nearestDeadline)
  }

  /// An attempt has failed: the next one need not wait for its turn.
  mutating func failed(_ address: SocketAddress, _ failure: ConnectFailure, now: Instant) {
    running.removeAll { $0.address == address }
    note(failure, now: now)
  }

  private mutating func note(_ failure: ConnectFailure, now: Instant) {
    if failure.rank >= (mostTelling?.rank ?? -1) { mostTelling = failure }
    nextStart = now
  }

  private var nearestDeadline: Instant { running.lazy.map(\.deadline).min() ?? end }

  /// RFC 8305, section 4, with a "First Address Family Count" of 1. An address that is named twice is tried once.
  static func interleaved(_ named: [SocketAddress]) -> [SocketAddress] {
    guard let first = named.first else { return [] }
    var addresses: [SocketAddress] = []
    for address in named where !addresses.contains(address) { addresses.append(address) }
    var leading = addresses.filter { $0.isIPv6 == first.isIPv6 }[...]
    var other = addresses.filter { $0.isIPv6 != first.isIPv6 }[...]
    var result: [SocketAddress] = []
    result.reserveCapacity(addresses.count)
    while !leading.isEmpty || !other.isEmpty {
      if let address = leading.popFirst() { result.append(address) }
      if let address = other.popFirst() { result.append(address) }
    }
    return result
  }
}

extension SocketAddress {
  fileprivate var isIPv6: Bool {
    switch self {
    case .ip(let address, _): address.isIPv6
    case .unix: false
    }
  }
}
