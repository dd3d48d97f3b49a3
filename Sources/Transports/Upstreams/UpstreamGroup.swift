internal import Pipeline
internal import Synchronization

/// The living side of ``Upstreams``: which backends there are, how they stand, what they have done. The operator looks at it and
/// changes it while it serves.
///
/// ```swift
/// let web = Upstreams(.leastConnections, named: "web") { Backend("10.0.0.1:80"); Backend("10.0.0.2:80") }
/// try web.group.drain("10.0.0.1:80")
/// print(web.group.report().backends.map(\.state))
/// ```
/// From any thread. What is changed here lasts until the process ends or a reload brings another list: the list of the new
/// configuration counts then, and what the operator has disabled or drained stays so.
public final class UpstreamGroup: Sendable {
  /// Events that are kept.
  public static let eventLimit = 256

  struct Configuration: Sendable {
    var strategy: LoadBalancing
    var health: HealthCheck?
    var passive: PassiveHealth
    var panic: PanicRule
    var slowStart: Duration
    var hedging: Hedging?
  }

  struct Journal: Sendable {
    var events: [UpstreamEvent] = []
    /// Where the oldest stands, once the ring is full.
    var oldest = 0
  }

  struct Watch: Sendable {
    var services: (any BackgroundServices)?
    /// Tells the task that runs the checks who has come.
    var arrivals: AsyncStream<Seat>.Continuation?
  }

  /// For logs and metric labels.
  public let name: String
  let configuration: Configuration
  /// What hedged tries share; `nil`: there are none.
  let hedging: HedgeDesk?
  /// For operators; exchanges bring their own time.
  let clock: @Sendable () -> Instant
  let roster: Mutex<Roster>
  let journal = Mutex(Journal())
  let watch = Mutex(Watch())
  let refused = Atomic<UInt64>(0)
  /// Held while it is decided whether one more may be ejected.
  let ejecting = Mutex(())
  /// When outliers are looked for next, in nanoseconds.
  let nextJudgement = Atomic<UInt64>(0)
  let decay: Duration
  // What the strategy is, asked at every exchange.
  let isSticky: Bool
  let isHashing: Bool
  let badStatuses: ClosedRange<Int>?
  let judgesLatency: Bool

  init(
    _ name: String, _ configuration: Configuration, _ backends: [Backend],
    clock: @escaping @Sendable () -> Instant
  ) {
    self.name = name
    self.configuration = configuration
    hedging = configuration.hedging.map { HedgeDesk($0) }
    self.clock = clock
    if case .peakEWMA(let decay) = configuration.strategy.kind { self.decay = decay } else { decay = .seconds(10) }
    isSticky = if case .sticky = configuration.strategy.kind { true } else { false }
    isHashing = if case .hash = configuration.strategy.innermost { true } else { false }
    badStatuses = configuration.passive.statuses
    judgesLatency = configuration.passive.latencyFactor != nil
    // Replaced at once: a seat needs its group.
    roster = Mutex(Roster([], configuration.strategy))
    guard Backend.problems(with: backends).isEmpty else { return }
    let now = clock()
    set(backends.map { Seat($0, LiveBackend($0, at: now), of: self) })
  }

  private func set(_ seats: [Seat]) {
    let next = Roster(seats, configuration.strategy)
    roster.withLock { $0 = next }
  }

  var seats: [Seat] { roster.withLock { $0 }.seats }

  /// A reload: those that are still in the list go on as what they are. The old group is not changed; its exchanges and this
  /// one's share connections, counts and health.
  ///
  /// - Parameter keepingAll: the list of before counts until another comes.
  func inherit(from old: UpstreamGroup, keepingAll: Bool = false) {
    let before = old.seats
    var mine = seats
    if mine.isEmpty || (keepingAll && !before.isEmpty) {
      mine = before.map { Seat($0.backend, $0.live, of: self) }
    } else {
      mine = mine.map { seat in
        guard let same = before.first(where: { $0.backend.isSamePlace(as: seat.backend) }) else { return seat }
        return Seat(seat.backend, same.live, of: self)
      }
    }
    set(mine)
    let events = old.journal.withLock { $0 }
    journal.withLock { $0 = events }
    refused.store(old.refused.load(ordering: .relaxed), ordering: .relaxed)
  }

  // MARK: What the operator does

  /// Lets exchanges go there again, if its health allows it.
  ///
  /// - Throws: ``UpstreamError`` when no backend has this name.
  public func enable(_ backend: String) throws { try setOffice(.enabled, of: backend, .enabled, "by the operator") }

  /// Sends nothing there any more, and checks it no more. What runs there goes on.
  ///
  /// - Throws: ``UpstreamError`` when no backend has this name.
  public func disable(_ backend: String) throws { try setOffice(.disabled, of: backend, .disabled, "by the operator") }

  /// Lets it run empty: nothing new goes there, but for clients that a cookie keeps there. An event says when it is empty.
  ///
  /// - Throws: ``UpstreamError`` when no backend has this name.
  public func drain(_ backend: String) throws {
    let seat = try setOffice(.draining, of: backend, .draining, "by the operator")
    if seat.live.active.load(ordering: .relaxed) == 0 { noteDrained(seat) }
  }

  /// Gives it another share.
  ///
  /// - Parameter weight: 1...10,000.
  /// - Throws: ``UpstreamError`` when no backend has this name, or the weight is none.
  public func setWeight(_ backend: String, _ weight: Int) throws {
    let old = try seat(named: backend)
    let changed = old.backend.weighing(weight)
    if let problem = changed.problems.first { throw UpstreamError(description: problem) }
    try change { seats in
      guard let index = seats.firstIndex(where: { $0.backend.name == backend }) else { throw self.unknown(backend) }
      seats[index] = Seat(changed, seats[index].live, of: self)
    }
    note(old, .weight, "\(old.backend.weight) to \(weight), by the operator")
  }

  /// Adds a backend.
  ///
  /// - Throws: ``UpstreamError`` when it cannot work, or its name is taken.
  public func add(_ backend: Backend) throws {
    if let problem = backend.problems.first { throw UpstreamError(description: problem) }
    let seat = Seat(backend, LiveBackend(backend, at: clock()), of: self)
    seat.live.comesNew(at: clock())
    try change { seats in
      if seats.contains(where: { $0.backend.name == backend.name }) {
        throw UpstreamError(
          description: "\(self.name) has a backend \(backend.name) already: give this one another name")
      }
      seats.append(seat)
    }
    note(seat, .added, "by the operator")
    arrived(seat)
  }

  /// Takes a backend out of the list. What runs there goes on to its end.
  ///
  /// - Throws: ``UpstreamError`` when no backend has this name.
  public func remove(_ backend: String) throws {
    let seat = try seat(named: backend)
    try change { seats in seats.removeAll { $0.backend.name == backend } }
    note(seat, .removed, "by the operator")
    left(seat)
  }

  /// Makes these the backends: those that stay keep their connections, counts, health, and what the operator wants of them;
  /// those that go end what they have; new ones begin, slowly where the group says so.
  ///
  /// - Parameter origin: for the events: who says so.
  /// - Throws: ``UpstreamError`` when one cannot work or two have one name; then nothing has changed.
  public func replace(with backends: [Backend], by origin: String = "a new list") throws {
    if let problem = Backend.problems(with: backends).first { throw UpstreamError(description: problem) }
    let now = clock()
    var came: [Seat] = []
    var went: [Seat] = []
    try change { seats in
      let before = seats
      came = []
      seats = backends.map { backend in
        if let same = before.first(where: { $0.backend.isSamePlace(as: backend) }) {
          return same.backend.isSameLine(as: backend) ? same : Seat(backend, same.live, of: self)
        }
        let seat = Seat(backend, LiveBackend(backend, at: now), of: self)
        // The first list of all is no reason to start slowly.
        if !before.isEmpty { seat.live.comesNew(at: now) }
        came.append(seat)
        return seat
      }
      let kept = Set(seats.map { ObjectIdentifier($0.live) })
      went = before.filter { !kept.contains(ObjectIdentifier($0.live)) }
    }
    for seat in went {
      note(seat, .removed, origin)
      left(seat)
    }
    for seat in came {
      note(seat, .added, origin)
      arrived(seat)
    }
  }

  private func change(_ edit: (inout [Seat]) throws -> Void) throws {
    try roster.withLock { roster in
      var seats = roster.seats
      try edit(&seats)
      roster = Roster(seats, configuration.strategy)
    }
  }

  @discardableResult private func setOffice(
    _ office: LiveBackend.Office, of backend: String, _ kind: UpstreamEvent.Kind, _ why: String
  ) throws -> Seat {
    let seat = try seat(named: backend)
    let now = clock()
    let hasChanged = seat.live.update { record in
      if record.office == office { return false }
      record.office = office
      record.officeSince = now
      return true
    }
    if hasChanged { note(seat, kind, why) }
    seat.live.read { $0.checkBell }?.ring()
    return seat
  }

  private func seat(named name: String) throws -> Seat {
    guard let seat = seats.first(where: { $0.backend.name == name }) else { throw unknown(name) }
    return seat
  }

  private func unknown(_ backend: String) -> UpstreamError {
    let names = seats.map(\.backend.name).joined(separator: ", ")
    return UpstreamError(
      description: "\(name) has no backend \(backend): " + (names.isEmpty ? "it has none" : "it has \(names)"))
  }

  private func arrived(_ seat: Seat) { _ = watch.withLock { $0.arrivals }?.yield(seat) }

  private func left(_ seat: Seat) { seat.live.read { $0.checkBell }?.ring() }
}
