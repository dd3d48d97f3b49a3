internal import Pipeline

/// When something was counted: in which window, or part of one, and after how many resets.
struct QuotaStamp: Equatable, Sendable {
  let window: Int64
  let resets: Int
}

/// What one account has used of one quota. Pure: time is a parameter.
///
/// `consumed` is what was used, `lent` what live exchanges may still use: both count against the limit. What the ledger knows of
/// it is remembered, so that the difference can be written.
struct QuotaCounter {
  /// Of a calendar window, the second in which it began; of a rolling one, the number of its newest part; for ever: 0.
  private(set) var stamp: Int64 = 0
  /// Of a calendar window.
  private(set) var end: UnixTime?
  private(set) var consumed = 0
  private(set) var lent = 0
  private var known = 0
  /// Of a rolling window, by number modulo their count: one more than the window has, because the oldest is only partly in it.
  private var parts: [Int] = []
  private var knownParts: [Int] = []
  /// Said in this window.
  var isWarned = false
  var isReported = false
  /// Somebody wanted more than there was.
  var isExceeded = false
  /// How often an operator has let it begin anew: what was counted before is not given back afterwards.
  private(set) var resets = 0

  private static let slots = QuotaWindow.parts + 1

  init(_ window: QuotaWindow, at time: UnixTime, _ book: CalendarBook) {
    switch window.kind {
    case .calendar(let unit): begin(book.window(unit, at: time))
    case .rolling:
      stamp = floorDivide(time.wholeNanoseconds, window.part)
      parts = [Int](repeating: 0, count: Self.slots)
      knownParts = parts
    case .forever: break
    }
  }

  private mutating func begin(_ window: CalendarWindow) {
    stamp = window.start.seconds
    end = window.end
  }

  /// Counts against the limit.
  var used: Int { consumed + lent }

  // MARK: Time

  /// Goes on to the window of this time. A clock that is set back a little changes nothing: nobody gets a window twice.
  ///
  /// - Returns: whether something became free.
  @discardableResult mutating func move(to time: UnixTime, _ window: QuotaWindow, _ book: CalendarBook) -> Bool {
    switch window.kind {
    case .forever: return false
    case .calendar(let unit):
      guard let end else { return false }
      if time < end, time.seconds >= stamp { return false }
      // Back by more than a window: it had been wrong before.
      if time < end, stamp - time.seconds < end.seconds - stamp { return false }
      begin(book.window(unit, at: time))
      consumed = 0
      known = 0
    case .rolling:
      let index = floorDivide(time.wholeNanoseconds, window.part)
      if index == stamp || index < stamp && stamp - index <= Int64(Self.slots) { return false }
      let step = index - stamp
      stamp = index
      if step < 0 || step >= Int64(Self.slots) {
        for slot in parts.indices { empty(slot) }
      } else {
        for number in (index - step + 1)...index { empty(slot(number)) }
      }
    }
    isWarned = false
    isReported = false
    isExceeded = false
    return true
  }

  private mutating func empty(_ slot: Int) {
    consumed -= parts[slot]
    known -= knownParts[slot]
    parts[slot] = 0
    knownParts[slot] = 0
  }

  private func slot(_ number: Int64) -> Int { Int(floorModulo(number, Int64(Self.slots))) }

  private func holds(_ number: Int64) -> Bool { number <= stamp && stamp - number < Int64(Self.slots) }

  /// How long until `cost` more fit, if nobody else takes; `nil`: never by itself.
  func wait(for cost: Int, limit: Int, at time: UnixTime, _ window: QuotaWindow) -> Duration? {
    guard cost <= limit else { return nil }
    switch window.kind {
    case .forever: return nil
    case .calendar:
      guard let end else { return nil }
      return .nanoseconds(max(1, end.wholeNanoseconds - time.wholeNanoseconds))
    case .rolling:
      var left = used
      for number in (stamp - Int64(Self.slots) + 1)...stamp {
        left -= parts[slot(number)]
        guard left <= limit - cost else { continue }
        return .nanoseconds(max(1, (number + Int64(Self.slots)) * window.part - time.wholeNanoseconds))
      }
      return .nanoseconds(window.part)
    }
  }

  /// The window, for a report: when it began, or its oldest part; when all of it is free.
  func span(_ window: QuotaWindow) -> (start: UnixTime, end: UnixTime?) {
    switch window.kind {
    case .forever: (UnixTime(seconds: 0), nil)
    case .calendar: (UnixTime(seconds: stamp), end)
    case .rolling:
      (
        UnixTime(wholeNanoseconds: (stamp - Int64(QuotaWindow.parts)) * window.part),
        UnixTime(wholeNanoseconds: (stamp + Int64(Self.slots)) * window.part)
      )
    }
  }

  // MARK: Counting

  mutating func consume(_ amount: Int) {
    consumed += amount
    if !parts.isEmpty { parts[slot(stamp)] += amount }
  }

  /// Gives back what was consumed under that stamp, where its time is still counted.
  mutating func giveBack(_ amount: Int, from old: Int64) {
    if parts.isEmpty {
      if old == stamp { consumed = max(0, consumed - amount) }
    } else if holds(old) {
      let amount = min(amount, parts[slot(old)])
      parts[slot(old)] -= amount
      consumed -= amount
    }
  }

  mutating func lend(_ amount: Int) { lent += amount }

  /// Of what was lent, so much was used, and so much comes back.
  mutating func settle(used: Int, unused: Int) {
    lent -= used + unused
    consume(used)
  }

  /// Begins anew; what live exchanges hold stays lent.
  mutating func reset() {
    resets += 1
    consumed = 0
    for slot in parts.indices { parts[slot] = 0 }
    isWarned = false
    isReported = false
    isExceeded = false
  }

  // MARK: The ledger

  /// What it does not know, part by part.
  mutating func collect(
    _ name: String, _ account: UsageAccount, _ window: QuotaWindow, into counters: inout [LedgerCounter]
  ) {
    if parts.isEmpty {
      guard consumed != known else { return }
      counters.append(
        LedgerCounter(
          name: name, account: account, start: UnixTime(seconds: stamp), end: end, used: consumed - known))
      known = consumed
      return
    }
    for number in (stamp - Int64(Self.slots) + 1)...stamp {
      let slot = slot(number)
      guard parts[slot] != knownParts[slot] else { continue }
      counters.append(
        LedgerCounter(
          name: name, account: account, start: UnixTime(wholeNanoseconds: number * window.part),
          end: UnixTime(wholeNanoseconds: (number + Int64(Self.slots)) * window.part),
          used: parts[slot] - knownParts[slot]))
      known += parts[slot] - knownParts[slot]
      knownParts[slot] = parts[slot]
    }
  }

  /// What it knew at the start; `false`: of a time that does not count any more.
  mutating func restore(_ counter: LedgerCounter, _ window: QuotaWindow) -> Bool {
    if parts.isEmpty {
      guard counter.start.seconds == stamp else { return false }
    } else {
      // Another length had other parts: what began in the middle of one of ours belongs to that.
      let number = floorDivide(counter.start.wholeNanoseconds, window.part)
      guard holds(number) else { return false }
      parts[slot(number)] += counter.used
      knownParts[slot(number)] += counter.used
    }
    consumed += counter.used
    known += counter.used
    return true
  }
}
