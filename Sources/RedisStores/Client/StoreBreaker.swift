internal import Pipeline

/// When a store that fails is left alone, and when it is tried again. A pure value: time comes in.
///
/// Closed, it lets everything through and counts failures in a row. At the threshold it opens: nothing is let through for a
/// while. Then it is half open: one probe is let through, and its end decides.
struct StoreBreaker: Sendable {
  /// What has just changed: worth a line in the log and a count.
  enum Change: Hashable, Sendable {
    case opened(failures: Int)
    case closed
  }

  private enum State: Hashable {
    /// Everything passes; so many failures in a row.
    case closed(failures: Int)
    /// Nothing passes until then.
    case open(until: Instant)
    /// One probe is under way.
    case probing
  }

  private let threshold: Int
  private let pause: Duration
  private var state = State.closed(failures: 0)

  /// - Parameters:
  ///   - threshold: failures in a row that open it, 1 or more.
  ///   - pause: how long nothing is tried.
  init(threshold: Int, pause: Duration) {
    self.threshold = threshold
    self.pause = pause
  }

  /// Whether ordinary work may pass.
  var isClosed: Bool {
    if case .closed = state { true } else { false }
  }

  /// When a probe may be sent; `nil` when none is due: it is closed, or one is under way.
  var probeAt: Instant? {
    if case .open(let until) = state { until } else { nil }
  }

  /// Whether the caller may send the one probe.
  mutating func mayProbe(now: Instant) -> Bool {
    guard case .open(let until) = state, until <= now else { return false }
    state = .probing
    return true
  }

  mutating func succeeded() -> Change? {
    switch state {
    case .closed:
      state = .closed(failures: 0)
      return nil
    case .probing:
      state = .closed(failures: 0)
      return .closed
    case .open:
      // Work that began before it opened.
      return nil
    }
  }

  mutating func failed(now: Instant) -> Change? {
    switch state {
    case .closed(let failures) where failures + 1 < threshold:
      state = .closed(failures: failures + 1)
      return nil
    case .closed(let failures):
      state = .open(until: now + pause)
      return .opened(failures: failures + 1)
    case .probing:
      state = .open(until: now + pause)
      return nil
    case .open:
      return nil
    }
  }
}
