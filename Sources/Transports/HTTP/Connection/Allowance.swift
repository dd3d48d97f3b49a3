internal import Pipeline

/// What meters let an exchange move. Nobody is asked for an exchange that no meter watches, nor for one that stays small:
/// each begins with a share of its own, so that an ordinary request does not cost a call of every meter.
struct Allowance {
  /// What may be moved each way before meters are asked for the first time.
  static let free = 64 * 1024

  private(set) var isMetered = false
  var up = Int.max
  var down = Int.max
  /// When the meters are to be asked again at the latest.
  private(set) var renewAt = Instant.distantFuture
  private var upRests = false
  private var downRests = false

  mutating func begin(_ exchange: Exchange) {
    isMetered = exchange.isMetered
    up = isMetered ? Self.free : .max
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

  /// - Throws: what a meter throws to cut the exchange.
  mutating func renew(_ exchange: Exchange) throws {
    let lease = try exchange.renewLease()
    let now = exchange.now
    up = max(lease.up, 0)
    down = max(lease.down, 0)
    upRests = up == 0
    downRests = down == 0
    renewAt = min(lease.renewBy, now + Relay.tick)
    // A meter that grants nothing is asked again at its time, but neither at once nor never.
    if upRests || downRests { renewAt = max(renewAt, now + .milliseconds(1)) }
  }
}
