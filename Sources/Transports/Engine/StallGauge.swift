internal import Pipeline
internal import Synchronization

/// A name for what a loop is busy with: a listener, a driver. Interned and never freed, so that the watchdog may read
/// one at any time; the names come from the configuration, so there are few.
final class StallLabel: Sendable {
  let name: String
  /// The elements of the listener's chain, by index.
  private let elements = Mutex<[String]>([])

  private static let known = Mutex<[String: StallLabel]>([:])

  private init(_ name: String) { self.name = name }

  static func named(_ name: String) -> StallLabel {
    known.withLock { known in
      if let label = known[name] { return label }
      let label = StallLabel(name)
      known[name] = label
      return label
    }
  }

  /// Of the chain that new connections take; while old ones are left after a reload, they are named by this one, too.
  func setElements(_ names: [String]) { elements.withLock { $0 = names } }

  func element(at place: Int) -> String? {
    elements.withLock { $0.indices.contains(place) ? $0[place] : nil }
  }
}

/// What one loop tells the watchdog: when its turn began and what it is doing. Written by the loop with plain stores
/// (a few nanoseconds), read by the watchdog's thread.
final class StallGauge: Sendable {
  /// Nanoseconds of the monotonic clock; 0 while the loop waits for events.
  private let began = Atomic<UInt64>(0)
  /// The address of a `StallLabel`, 0 for none. Labels are never freed.
  private let label = Atomic<UInt>(0)
  /// Written by the exchanges themselves.
  let current = CurrentElement()
  /// Turns that took too long and have ended, as many as the watchdog can have missed.
  private let longTurns = Mutex<[LongTurn]>([])

  /// A stall that is over.
  struct LongTurn {
    var began: Instant
    var ended: Instant
    /// Of what ran last in it.
    var name: String
  }

  @inline(__always)
  func turnBegan(_ now: Instant) { began.store(now.nanoseconds, ordering: .relaxed) }

  @inline(__always)
  func turnEnded(_ now: Instant) {
    let start = began.load(ordering: .relaxed)
    began.store(0, ordering: .relaxed)
    // Once a turn of a loop, so in plain numbers. 0: it waits already.
    if start > 0, now.nanoseconds &- start > StallDetector.limitNanoseconds {
      noteLongTurn(Instant(nanoseconds: start), now)
    }
  }

  @inline(never)
  private func noteLongTurn(_ start: Instant, _ now: Instant) {
    let turn = LongTurn(began: start, ended: now, name: currentName)
    longTurns.withLock { if $0.count < 16 { $0.append(turn) } }
  }

  func takeLongTurns() -> [LongTurn] {
    longTurns.withLock { turns in
      // Nearly always: no array changes hands.
      if turns.isEmpty { return [] }
      defer { turns.removeAll(keepingCapacity: true) }
      return turns
    }
  }

  @inline(__always)
  func clearLabel() {
    label.store(0, ordering: .relaxed)
    current.clear()
  }

  @inline(__always)
  func setLabel(_ label: StallLabel) {
    current.clear()
    self.label.store(UInt(bitPattern: Unmanaged.passUnretained(label).toOpaque()), ordering: .releasing)
  }

  /// When the running turn began; nil while the loop waits.
  var turnStart: Instant? {
    let value = began.load(ordering: .relaxed)
    return value == 0 ? nil : Instant(nanoseconds: value)
  }

  /// `token-bucket of socks5`; without the element where none was entered since the loop turned to this connection.
  var currentName: String {
    guard let pointer = UnsafeRawPointer(bitPattern: label.load(ordering: .acquiring)) else {
      return "a task without a name"
    }
    let label = Unmanaged<StallLabel>.fromOpaque(pointer).takeUnretainedValue()
    guard let place = current.place, let element = label.element(at: place) else { return label.name }
    return "\(element) of \(label.name)"
  }
}

/// Decides when a stalled loop is reported: once per stall, and not more often than every `quietTime` per loop.
struct StallDetector {
  static let limit = Duration.nanoseconds(limitNanoseconds)
  static var limitNanoseconds: UInt64 { 50_000_000 }
  static let quietTime = Duration.seconds(10)

  /// A stall to be logged.
  struct Report: Equatable {
    var lasted: Duration
    /// Stalls of this loop that were not reported since the last report.
    var unreported: Int
  }

  private var reportedTurn: Instant?
  private var quietUntil = Instant(nanoseconds: 0)
  private var unreported = 0
  /// Stalls so far, those that are not reported included.
  private(set) var stalls = 0

  /// Looks at a loop whose turn began at `turnStart` (nil: it waits).
  mutating func look(turnStart: Instant?, now: Instant) -> Report? {
    guard let turnStart, turnStart != reportedTurn, now - turnStart > Self.limit else { return nil }
    reportedTurn = turnStart
    stalls += 1
    guard now >= quietUntil else {
      unreported += 1
      return nil
    }
    quietUntil = now + Self.quietTime
    defer { unreported = 0 }
    return Report(lasted: now - turnStart, unreported: unreported)
  }
}
