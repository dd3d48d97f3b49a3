internal import Pipeline
internal import Synchronization

/// What all exchanges of one key may move, either way.
final class ByteBucket: Sendable {
  private struct State {
    var plan: BandwidthPlan
    var up: ByteLane?
    var down: ByteLane?
    /// Exchanges that it limits at present.
    var exchanges = 0

    init(_ plan: BandwidthPlan, now: UInt64) {
      self.plan = plan
      up = plan.up.map { ByteLane($0, now: now) }
      down = plan.down.map { ByteLane($0, now: now) }
    }
  }

  private let state: Mutex<State>

  init(_ plan: BandwidthPlan, now: UInt64) { state = Mutex(State(plan, now: now)) }

  func enter() { state.withLock { $0.exchanges += 1 } }

  /// Exchanges that it limits, and bytes that each lane could lend at once. For tests.
  func load(_ now: UInt64) -> (exchanges: Int, up: Int?, down: Int?) {
    state.withLock { ($0.exchanges, $0.up?.credit, $0.down?.credit) }
  }

  /// Nobody uses it, and it has nothing to remember.
  func isIdle(_ now: UInt64) -> Bool {
    state.withLock { state in
      guard state.exchanges == 0 else { return false }
      let up = state.up?.isWhole(now) ?? true
      let down = state.down?.isWhole(now) ?? true
      return up && down
    }
  }

  /// A reload. The lanes follow when somebody asks: until then the old rate holds.
  func change(to plan: BandwidthPlan) { state.withLock { $0.plan = plan } }

  func settle(
    _ up: inout ByteShare, _ down: inout ByteShare, moved: Traffic, wanting: Directions, now: UInt64
  ) -> Lease {
    state.withLock { state in
      Self.follow(state.plan.up, &state.up, &up, now)
      Self.follow(state.plan.down, &state.down, &down, now)
      var lease = Lease.unlimited
      if let grant = state.up?.settle(&up, moved: Int(moved.up), wants: wanting.contains(.up), now: now) {
        lease.up = Self.bytes(grant, &lease, now)
      }
      if let grant = state.down?.settle(&down, moved: Int(moved.down), wants: wanting.contains(.down), now: now) {
        lease.down = Self.bytes(grant, &lease, now)
      }
      return lease
    }
  }

  func leave(_ up: inout ByteShare, _ down: inout ByteShare, moved: Traffic, now: UInt64) {
    state.withLock { state in
      state.up?.leave(&up, moved: Int(moved.up), now: now)
      state.down?.leave(&down, moved: Int(moved.down), now: now)
      state.exchanges -= 1
    }
  }

  /// Brings a lane to a plan that a reload has changed.
  private static func follow(_ plan: BytePlan?, _ lane: inout ByteLane?, _ share: inout ByteShare, _ now: UInt64) {
    guard let plan else { return lane = nil }
    if lane == nil {
      lane = ByteLane(plan, now: now)
      share = ByteShare()
    } else {
      lane?.change(to: plan, now: now)
    }
  }

  private static func bytes(_ grant: ByteGrant, _ lease: inout Lease, _ now: UInt64) -> Int {
    switch grant {
    case .bytes(let count):
      // So that a lease of which nothing is moved comes back.
      lease.renewBy = min(lease.renewBy, Instant(nanoseconds: now + ByteLane.term))
      return count
    case .rest(let until):
      lease.renewBy = min(lease.renewBy, Instant(nanoseconds: until))
      return 0
    case .onDemand: return Lease.onDemand
    }
  }
}

/// One exchange under a bandwidth limit. Used again for another one when it is over.
final class BandwidthFlow: ByteMeter {
  private struct State {
    var bucket: ByteBucket?
    var up = ByteShare()
    var down = ByteShare()
  }

  private let state = Mutex(State())

  var limitsFirstByte: Bool { true }

  func begin(_ bucket: ByteBucket) {
    state.withLock { $0 = State(bucket: bucket) }
  }

  func account(_ moved: Traffic, on exchange: Exchange, isLast: Bool) -> Lease {
    let now = exchange.now.nanoseconds
    let wanting = exchange.wanting
    return state.withLock { state in
      guard let bucket = state.bucket else { return .unlimited }
      if isLast {
        bucket.leave(&state.up, &state.down, moved: moved, now: now)
        state.bucket = nil
        return .unlimited
      }
      return bucket.settle(&state.up, &state.down, moved: moved, wanting: wanting, now: now)
    }
  }
}
