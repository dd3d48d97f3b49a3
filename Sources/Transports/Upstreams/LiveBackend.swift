internal import Pipeline
internal import Synchronization

/// What lives of one backend: its connections, its health, its counts. It outlasts the list that names it: a reload or a change
/// of the list hands it on, and exchanges hold it until they end.
final class LiveBackend: Sendable {
  /// What the operator wants of it.
  enum Office: UInt8, Sendable {
    case enabled, draining, disabled
  }

  /// What is behind the lock: one short turn for an answer or a failure.
  struct Record: Sendable {
    var health: BackendHealth
    var latency = PeakEWMA()
    var answered: UInt64 = 0
    /// Nanoseconds, of all answers.
    var answeredTime: UInt64 = 0
    var failures = FailureCounts()
    var checksPassed: UInt64 = 0
    var checksFailed: UInt64 = 0
    var ejections: UInt64 = 0
    var lastCheck: LastCheck?
    var office = Office.enabled
    var officeSince: Instant
    /// Nanoseconds and number of answers since outliers were looked for last.
    var recentTime: UInt64 = 0
    var recentCount: UInt64 = 0
    /// Wakes the task that checks it.
    var checkBell: (any LoopBell)?

    mutating func noteTime(_ nanoseconds: UInt64) {
      answered &+= 1
      answeredTime &+= nanoseconds
      recentCount &+= 1
      recentTime &+= nanoseconds
    }
  }

  struct LastCheck: Sendable {
    var passed: Bool
    var detail: String
    var took: Duration
    var at: Instant
  }

  /// Whether an exchange may begin.
  enum Entrance { case closed, open, trial }

  private static let numbers = Atomic<Int>(0)

  /// Unique within the process.
  let number: Int
  let name: String
  let address: String
  let target: UpstreamTarget
  let link: UpstreamLink
  let gate = Gate()
  /// Exchanges that it serves.
  let active = Atomic<Int>(0)
  let tries = Atomic<UInt64>(0)
  let turnedAway = Atomic<UInt64>(0)

  private let record: Mutex<Record>
  // What a choice looks at, kept in step with the record: read without a lock, since a choice looks at many.
  private let standing = Atomic<UInt8>(BackendHealth.Standing.open.rawValue)
  private let officeNow = Atomic<UInt8>(Office.enabled.rawValue)
  private let ejectedUntil = Atomic<UInt64>(0)
  /// The ticket of the exchange that is the trial; 0: none is.
  private let trial = Atomic<UInt64>(0)
  private let tickets = Atomic<UInt64>(0)
  /// When it came back, in nanoseconds; 0: it has not been away.
  private let restoredAt = Atomic<UInt64>(0)

  init(_ backend: Backend, at now: Instant) {
    number = Self.numbers.add(1, ordering: .relaxed).newValue
    name = backend.name
    address = backend.address
    target = UpstreamTarget(backend.address, isOneOfSeveral: true)
    link = UpstreamLink(proxyProtocol: backend.proxyProtocol, url: "http://\(backend.address)", way: backend.way)
    record = Mutex(Record(health: BackendHealth(at: now), officeSince: now))
  }

  // MARK: The record

  func read<Result>(_ body: (borrowing Record) -> Result) -> Result { record.withLock { body($0) } }

  /// Changes the record, and what a choice sees with it.
  func update<Result>(_ body: (inout Record) -> Result) -> Result {
    record.withLock { record in
      let result = body(&record)
      let now = record.health.standing
      if now.rawValue != standing.load(ordering: .relaxed) {
        trial.store(0, ordering: .relaxed)
        ejectedUntil.store(record.health.ejectedUntil?.nanoseconds ?? 0, ordering: .relaxed)
        if now == .open { restoredAt.store(record.health.since.nanoseconds, ordering: .relaxed) }
        standing.store(now.rawValue, ordering: .releasing)
      } else if now == .ejected {
        ejectedUntil.store(record.health.ejectedUntil?.nanoseconds ?? 0, ordering: .relaxed)
      }
      officeNow.store(record.office.rawValue, ordering: .relaxed)
      return result
    }
  }

  /// An exchange found it well. Returns whether its standing has changed.
  @inline(__always)
  func noteAnswer(
    _ latency: Duration, _ nanoseconds: UInt64, decay: Duration, _ rules: PassiveHealth, at now: Instant
  ) -> Bool {
    update { record in
      record.noteTime(nanoseconds)
      record.latency.note(latency, at: now, decay: decay)
      return record.health.succeeded(rules, at: now)
    }
  }

  /// It was added while the others ran: it starts slowly, as one that comes back.
  func comesNew(at now: Instant) { restoredAt.store(now.nanoseconds, ordering: .relaxed) }

  // MARK: What a choice sees

  var office: Office { Office(rawValue: officeNow.load(ordering: .relaxed)) ?? .disabled }

  var health: BackendHealth.Standing {
    BackendHealth.Standing(rawValue: standing.load(ordering: .acquiring)) ?? .down
  }

  func entrance(at now: Instant) -> Entrance {
    switch health {
    case .open: .open
    case .down: .closed
    case .trial: trial.load(ordering: .relaxed) != 0 ? .closed : .trial
    case .ejected: ejectedUntil.load(ordering: .relaxed) <= now.nanoseconds ? .trial : .closed
    }
  }

  /// Takes the one place of a trial, and returns the ticket for it; `nil`: somebody else has it.
  func takeTrial() -> UInt64? {
    let ticket = tickets.add(1, ordering: .relaxed).newValue
    return trial.compareExchange(expected: 0, desired: ticket, ordering: .acquiringAndReleasing).exchanged
      ? ticket : nil
  }

  /// Leaves it, unless it is another one's by now: an exchange may outlive its trial by hours.
  func leaveTrial(_ ticket: UInt64) {
    _ = trial.compareExchange(expected: ticket, desired: 0, ordering: .relaxed)
  }

  /// The part of its weight that it gets: from a tenth to all of it while it starts slowly.
  func warmth(_ slowStart: Duration, at now: Instant) -> Double {
    let restored = restoredAt.load(ordering: .relaxed)
    guard restored > 0, slowStart > .zero, now.nanoseconds < restored &+ UInt64(slowStart.nanosecondsClamped) else {
      return 1
    }
    let passed = now.nanoseconds > restored ? Double(now.nanoseconds - restored) : 0
    return max(0.1, passed / Double(slowStart.nanosecondsClamped))
  }

  func latency(at now: Instant, decay: Duration) -> Double {
    record.withLock { $0.latency.value(at: now, decay: decay) }
  }

  func waiting(cap: Int?) -> Int { cap == nil ? 0 : gate.load.waiting }
}
