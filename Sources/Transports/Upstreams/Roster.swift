internal import Pipeline
internal import Synchronization

/// One line of a group as it is now: what is configured, and what lives.
final class Seat: UpstreamWatch {
  let backend: Backend
  let live: LiveBackend
  /// What a sticky cookie says; 0 where there is none.
  let token: UInt64
  let weight: Double
  // The group outlives every exchange that it serves: whoever serves holds it.
  private let group: Unmanaged<UpstreamGroup>

  init(_ backend: Backend, _ live: LiveBackend, of group: UpstreamGroup) {
    self.backend = backend
    self.live = live
    self.group = .passUnretained(group)
    weight = Double(backend.weight)
    if case .sticky(let cookie, _) = group.configuration.strategy.kind {
      token = cookie.token(of: backend.name)
    } else {
      token = 0
    }
  }

  func upstreamAnswered(_ exchange: Exchange) { group._withUnsafeGuaranteedRef { $0.answered(self, exchange) } }

  var hasRoom: Bool {
    guard let limit = backend.maxConnections else { return true }
    return live.active.load(ordering: .relaxed) < limit
  }

  var hasRoomInQueue: Bool { backend.queue > 0 && live.gate.load.waiting < backend.queue }

  /// Running and waiting.
  var load: Int { live.active.load(ordering: .relaxed) + live.waiting(cap: backend.maxConnections) }
}

/// The backends of a group at one moment. Never changed: every change makes a new one.
final class Roster: Sendable {
  let seats: [Seat]
  let balancer: Balancer
  /// Whether some are there for the time when others are not.
  let hasReserves: Bool

  init(_ seats: [Seat], _ strategy: LoadBalancing) {
    self.seats = seats
    hasReserves = seats.contains { $0.backend.priority != seats[0].backend.priority }
    balancer = Balancer(
      strategy, nodes: seats.map { Rendezvous.Node($0.backend.name, weight: Double(max(1, $0.backend.weight))) })
  }
}

/// Which of a roster come into question, from strict to desperate.
struct Candidates: BalancerView {
  let roster: Roster
  let now: Instant
  let slowStart: Duration
  let decay: Duration
  /// Those that this exchange has tried.
  let tried: [Int]
  /// Those whose place somebody else took while this exchange was choosing.
  var passedOver: [Int] = []
  var takesTried = false
  /// Those that have room in their queue only.
  var takesFull = false
  var ignoresHealth = false

  var count: Int { roster.seats.count }

  func mayTake(_ index: Int) -> Bool {
    let seat = roster.seats[index]
    return seat.live.office == .enabled && mayTake(seat)
  }

  /// The same whatever the operator wants of it.
  func mayTake(_ seat: Seat) -> Bool {
    let live = seat.live
    if passedOver.contains(live.number) || (!takesTried && tried.contains(live.number)) { return false }
    if !ignoresHealth, live.entrance(at: now) == .closed { return false }
    if roster.hasReserves, isHeldBack(seat) { return false }
    return seat.hasRoom || (takesFull && seat.hasRoomInQueue)
  }

  /// Whether it is a reserve that is not needed: one of a better priority is usable. One that is full is: a reserve stands in
  /// for who is gone, and is not made for the load that the others refuse.
  private func isHeldBack(_ seat: Seat) -> Bool {
    // In a panic nobody knows who is well, and all are used.
    if ignoresHealth { return false }
    for other in roster.seats where other.backend.priority < seat.backend.priority && other.live.office == .enabled {
      if takesTried || !tried.contains(other.live.number), other.live.entrance(at: now) != .closed { return true }
    }
    return false
  }

  func weight(_ index: Int) -> Double {
    let seat = roster.seats[index]
    return seat.weight * seat.live.warmth(slowStart, at: now)
  }

  func load(_ index: Int) -> Int { roster.seats[index].load }

  func latency(_ index: Int) -> Double { roster.seats[index].live.latency(at: now, decay: decay) }
}
