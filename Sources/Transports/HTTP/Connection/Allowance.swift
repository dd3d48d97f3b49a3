internal import Pipeline

/// What meters let an exchange move. Nobody is asked for an exchange that no meter watches, nor, where the meters only count,
/// for one that stays small: each begins with a share of its own, so that an ordinary request does not cost a call of every
/// meter.
struct Allowance {
  /// What may be moved each way before meters are asked for the first time.
  static let free = 64 * 1024

  private(set) var isMetered = false
  /// Whether the first byte already needs a lease.
  private(set) var isStrict = false
  var up = Int.max
  var down = Int.max
  /// When the meters are to be asked again at the latest.
  private(set) var renewAt = Instant.distantFuture
  private var upRests = false
  private var downRests = false

  mutating func begin(_ exchange: Exchange) {
    isMetered = exchange.isMetered
    isStrict = exchange.limitsFirstByte
    up = isStrict ? 0 : isMetered ? Self.free : .max
    down = up
    upRests = false
    downRests = false
    renewAt = isMetered ? exchange.now + Relay.tick : .distantFuture
  }

  mutating func moved(up count: Int) { if isMetered { up -= count } }
  mutating func moved(down count: Int) { if isMetered { down -= count } }

  /// Whether meters have to be asked before more is moved that way. A direction with an empty lease rests until `renewAt`.
  var needsUp: Bool { up <= 0 && !upRests }
  var needsDown: Bool { down <= 0 && !downRests }

  func rests(_ way: Directions) -> Bool { way == .up ? upRests : downRests }

  /// Whether an empty lease is what an exchange waits for: the time in which it does is nobody's fault.
  var rests: Bool { upRests || downRests }

  /// - Parameters:
  ///   - asking: the way that has bytes and no lease.
  ///   - unsent: bytes that were taken off the lease and that the meters have not heard of yet.
  /// - Throws: what a meter throws to cut the exchange.
  mutating func renew(_ exchange: Exchange, wanting asking: Directions = [], unsent: Int) throws {
    var wanting = asking
    if upRests { wanting.insert(.up) }
    if downRests { wanting.insert(.down) }
    let lease = try exchange.renewLease(wanting: wanting)
    let now = exchange.now
    up = max(lease.up, 0)
    down = max(lease.down == .max ? .max : lease.down - unsent, 0)
    // Who has asked and is told to ask is not asked in circles.
    upRests = lease.up == 0 || lease.up < 0 && asking.contains(.up)
    downRests = lease.down == 0 || lease.down < 0 && asking.contains(.down)
    renewAt = min(lease.renewBy, now + Relay.tick)
    // A meter that grants nothing is asked again at its time, but neither at once nor never.
    if upRests || downRests { renewAt = max(renewAt, now + .milliseconds(1)) }
  }
}
