internal import Pipeline
internal import Synchronization

/// What one account has used. Whoever counts for it keeps the row: nothing is looked up for an exchange.
///
/// What comes within one minute lies in all four windows of that minute. So it is only added up, and goes into the windows when
/// the minute is over or somebody looks.
final class UsageRow: Sendable {
  let account: UsageAccount
  let book: CalendarBook
  /// Whether what is counted is to be written somewhere.
  let isKept: Bool

  private struct State {
    var isSeen = false
    var firstSeen = UnixTime(seconds: 0)
    var lastSeen = UnixTime(seconds: 0)
    /// Since `minute` began.
    var fresh = UsageChange()
    /// Before that.
    var total = UsageChange()
    var minute: UsageWindow
    var hour: UsageWindow
    var day: UsageWindow
    var month: UsageWindow
    /// Of `fresh`, what is written or was restored. The rest is not.
    var freshWritten = UsageChange()
    /// Windows that have something to write besides `fresh`: filled only where a minute ends before it is collected.
    var unwritten: [LedgerWindow] = []
    var unwrittenTotal = UsageChange()
    var unwrittenSince: UnixTime?
    var isDirty = false
    var isRemoved = false
  }

  private let state: Mutex<State>

  init(_ account: UsageAccount, _ book: CalendarBook, at time: UnixTime, isKept: Bool) {
    self.account = account
    self.book = book
    self.isKept = isKept
    state = Mutex(
      State(
        minute: UsageWindow(book.window(.minute, at: time)), hour: UsageWindow(book.window(.hour, at: time)),
        day: UsageWindow(book.window(.day, at: time)), month: UsageWindow(book.window(.month, at: time))))
  }

  enum Recorded {
    case done
    /// For the first time since it was collected: the store has to know.
    case nowDirty
    /// The row is no longer its account's.
    case removed
  }

  /// Adds a change. No allocation, but where a minute ends that was not collected.
  func record(_ change: UsageChange, at time: UnixTime) -> Recorded {
    state.withLock { state in
      if state.isRemoved { return .removed }
      if time >= state.minute.end || time < state.minute.start { move(&state, to: time) }
      state.fresh += change
      if !state.isSeen {
        state.isSeen = true
        state.firstSeen = time
        state.lastSeen = time
      } else {
        if time < state.firstSeen { state.firstSeen = time }
        if time > state.lastSeen { state.lastSeen = time }
      }
      guard isKept else { return .done }
      if state.unwrittenSince == nil { state.unwrittenSince = time }
      if state.isDirty { return .done }
      state.isDirty = true
      return .nowDirty
    }
  }

  /// Another minute: what came until now goes into its windows.
  private func move(_ state: inout State, to time: UnixTime) {
    // A clock that was set back a little goes on in the window in which it was.
    if time < state.minute.start, state.minute.start.seconds - time.seconds < 60 { return }
    fold(&state)
    state.minute.move(to: book.window(.minute, at: time))
    if time >= state.hour.end || time < state.hour.start { state.hour.move(to: book.window(.hour, at: time)) }
    if time >= state.day.end || time < state.day.start { state.day.move(to: book.window(.day, at: time)) }
    if time >= state.month.end || time < state.month.start { state.month.move(to: book.window(.month, at: time)) }
  }

  private func fold(_ state: inout State) {
    let left = state.fresh - state.freshWritten
    if isKept, !left.isZero {
      state.unwrittenTotal += left
      for window in openWindows(state) { keep(window, left, &state.unwritten) }
    }
    state.total += state.fresh
    state.minute.add(state.fresh)
    state.hour.add(state.fresh)
    state.day.add(state.fresh)
    state.month.add(state.fresh)
    state.fresh = UsageChange()
    state.freshWritten = UsageChange()
  }

  private func openWindows(_ state: State) -> [LedgerWindow] {
    [state.minute.open(.minute), state.hour.open(.hour), state.day.open(.day), state.month.open(.month)]
  }

  /// A window is kept until it is collected, but of each unit the last two only: what a longer outage loses of a short window
  /// is still in the longer ones.
  private func keep(_ window: LedgerWindow, _ usage: UsageChange, _ windows: inout [LedgerWindow]) {
    if let index = windows.firstIndex(where: { $0.unit == window.unit && $0.start == window.start }) {
      windows[index].usage += usage
      return
    }
    if windows.count(where: { $0.unit == window.unit }) >= 2,
      let oldest = windows.firstIndex(where: { $0.unit == window.unit })
    {
      windows.remove(at: oldest)
    }
    var window = window
    window.usage = usage
    windows.append(window)
  }

  // MARK: Reading

  var totals: UsageTotals? {
    state.withLock { state in
      let usage = sum(state)
      return usage.isZero ? nil : UsageTotals(usage, first: state.firstSeen, last: state.lastSeen)
    }
  }

  private func sum(_ state: State) -> UsageChange {
    var usage = state.total
    usage += state.fresh
    return usage
  }

  func report(at time: UnixTime) -> UsageReport? {
    state.withLock { state in
      guard !sum(state).isZero else { return nil }
      if time >= state.minute.end { move(&state, to: time) } else { fold(&state) }
      return UsageReport(
        account: account, totals: UsageTotals(state.total, first: state.firstSeen, last: state.lastSeen),
        windows: openWindows(state),
        lastHour: state.hour.estimate.usage(ofLast: .seconds(3600), at: time),
        lastDay: state.day.estimate.usage(ofLast: .seconds(86_400), at: time),
        last30Days: state.month.estimate.usage(ofLast: .seconds(30 * 86_400), at: time))
    }
  }

  // MARK: Writing

  /// What is not written yet; from now on it is.
  func collect() -> LedgerUsage? {
    state.withLock { state in
      state.isDirty = false
      let left = state.fresh - state.freshWritten
      var total = state.unwrittenTotal
      total += left
      let windows = state.unwritten
      guard !total.isZero || windows.contains(where: { !$0.usage.isZero }) || state.unwrittenSince != nil else {
        return nil
      }
      var usage = LedgerUsage(
        account: account, total: total, firstSeen: state.unwrittenSince ?? state.lastSeen, lastSeen: state.lastSeen,
        windows: windows)
      if !left.isZero { for window in openWindows(state) { keep(window, left, &usage.windows) } }
      state.freshWritten = state.fresh
      state.unwritten = []
      state.unwrittenTotal = UsageChange()
      state.unwrittenSince = nil
      return usage
    }
  }

  /// What the ledger knew of this account.
  func restore(_ usage: LedgerUsage) {
    state.withLock { state in
      state.total += usage.total
      if !state.isSeen { state.lastSeen = usage.lastSeen }
      state.firstSeen = state.isSeen ? min(state.firstSeen, usage.firstSeen) : usage.firstSeen
      state.lastSeen = max(state.lastSeen, usage.lastSeen)
      state.isSeen = true
      for window in usage.windows {
        switch window.unit {
        case .minute: if window.start == state.minute.start { state.minute.add(window.usage) }
        case .hour: if window.start == state.hour.start { state.hour.add(window.usage) }
        case .day: if window.start == state.day.start { state.day.add(window.usage) }
        case .month: if window.start == state.month.start { state.month.add(window.usage) }
        }
      }
    }
  }

  /// Where all that was counted has been taken back, and nothing is to be written: the row is no longer used.
  func removeIfEmpty() -> Bool {
    state.withLock { state in
      guard !state.isRemoved, sum(state).isZero, (state.fresh - state.freshWritten).isZero, state.unwrittenTotal.isZero
      else { return false }
      state.isRemoved = true
      return true
    }
  }
}
