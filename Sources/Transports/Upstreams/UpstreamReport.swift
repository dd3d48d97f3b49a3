public import Pipeline

/// How a backend stands: a bounded set, for metrics.
public enum BackendState: String, Sendable, Hashable, CaseIterable {
  /// It takes exchanges; where there are checks, none has come back yet.
  case unchecked
  case healthy
  /// Healthy again since a short time: it gets a growing part of its share.
  case startingSlowly = "starting-slowly"
  /// An ejection has ended: one exchange at a time.
  case onTrial = "on-trial"
  /// Taken out by what exchanges found.
  case ejected
  /// Taken out by active checks.
  case unhealthy
  /// The operator lets it run empty; checks go on.
  case draining
  /// The operator has taken it out; it is not checked.
  case disabled

  /// Whether exchanges go there.
  public var isUsable: Bool {
    switch self {
    case .unchecked, .healthy, .startingSlowly, .onTrial: true
    case .ejected, .unhealthy, .draining, .disabled: false
    }
  }
}

/// What a group of backends looks like now.
public struct UpstreamReport: Sendable, Hashable {
  public var name: String
  /// `least connections`, …
  public var strategy: String
  /// Whether so few are healthy that all are used.
  public var isPanicking: Bool
  /// In the order in which they were declared or came.
  public var backends: [BackendReport]
  /// The latest, oldest first; at most ``UpstreamGroup/eventLimit``.
  public var events: [UpstreamEvent]
  /// Exchanges that found no backend since the start.
  public var refused: UInt64
}

/// What one backend looks like now.
public struct BackendReport: Sendable, Hashable {
  public var name: String
  public var address: String
  public var weight: Int
  /// 0 for the first choice; with a larger number it is a reserve for those of smaller ones.
  public var priority: Int
  public var state: BackendState
  /// Why it stands so; empty where nothing has happened.
  public var reason: String
  /// How long it has stood so.
  public var lasting: Duration
  /// Exchanges that it serves, and those that wait for one of its `maxConnections`.
  public var active: Int
  public var waiting: Int
  public var maxConnections: Int?
  /// Since the start.
  public var totals: BackendTotals
  /// Its latency to the answer (a tunnel: to the connection), as a moving average with peaks; `nil`: nothing is known, or it
  /// has sunk to nothing since.
  public var latency: Duration?
  /// `nil`: no check has come back yet, or there are none.
  public var lastCheck: CheckReport?
}

/// The outcome of an active check.
public struct CheckReport: Sendable, Hashable {
  public var passed: Bool
  /// `200 in 2 ms`, `connectionRefused`, …
  public var detail: String
  public var took: Duration
  /// How long ago.
  public var age: Duration
}

/// What a backend has done since the start.
public struct BackendTotals: Sendable, Hashable {
  /// Tries that were sent to it, also those that still run.
  public var tries: UInt64 = 0
  /// Those that it answered, whatever the status.
  public var answered: UInt64 = 0
  /// Of all answers, for a mean.
  public var latency: Duration = .zero
  public var failures = FailureCounts()
  public var checksPassed: UInt64 = 0
  public var checksFailed: UInt64 = 0
  public var ejections: UInt64 = 0
  /// Those that found its queue full, or waited there in vain.
  public var turnedAway: UInt64 = 0
}

/// Failures by kind.
public struct FailureCounts: Sendable, Hashable {
  private var counts = InlineCounts()

  public subscript(_ kind: UpstreamFailure) -> UInt64 {
    get { counts[kind] }
    set { counts[kind] = newValue }
  }

  public var total: UInt64 { UpstreamFailure.allCases.reduce(0) { $0 + counts[$1] } }
}

/// A number for each kind, in place: counting allocates nothing.
private struct InlineCounts: Sendable, Hashable {
  var name: UInt64 = 0
  var connect: UInt64 = 0
  var timeout: UInt64 = 0
  var reset: UInt64 = 0
  var malformed: UInt64 = 0
  var status: UInt64 = 0
  var cut: UInt64 = 0

  subscript(_ kind: UpstreamFailure) -> UInt64 {
    get {
      switch kind {
      case .name: name
      case .connect: connect
      case .timeout: timeout
      case .reset: reset
      case .malformed: malformed
      case .status: status
      case .cut: cut
      }
    }
    set {
      switch kind {
      case .name: name = newValue
      case .connect: connect = newValue
      case .timeout: timeout = newValue
      case .reset: reset = newValue
      case .malformed: malformed = newValue
      case .status: status = newValue
      case .cut: cut = newValue
      }
    }
  }
}

/// Something that happened to a backend.
public struct UpstreamEvent: Sendable, Hashable, CustomStringConvertible {
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    case up, unhealthy, ejected, trial, enabled, disabled, draining, drained, added, removed, weight
  }

  public var at: Instant
  public var group: String
  public var backend: String
  public var kind: Kind
  public var reason: String

  /// For the operational log.
  public var description: String {
    "upstreams \(group): \(backend): \(kind.rawValue)" + (reason.isEmpty ? "" : ": \(reason)")
  }
}

/// Why an operator's wish cannot be met, in a sentence.
public struct UpstreamError: Error, Sendable, Hashable, CustomStringConvertible {
  public let description: String
}
