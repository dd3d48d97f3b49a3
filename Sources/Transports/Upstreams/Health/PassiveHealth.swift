/// Takes a backend out by what exchanges find there ("ejects" it), without asking.
///
/// A failure is the upstream's: a connection that is refused or not made in time, a reset, bytes that are no HTTP, no answer
/// before a deadline, a body that breaks off, or a status of `statuses`. Never that a client left, or that we refused.
///
/// An ejection ends by itself: then one exchange at a time is let through, until one succeeds (the backend is back) or fails
/// (ejected again, for twice as long). Where there are active checks, `rise` of them in a row end it, too. At most
/// `maxEjected` of a group are out by this at the same time, and never all.
public struct PassiveHealth: Sendable, Hashable {
  /// Failures in a row that eject, 1...1000; `nil`: not by this. 5.
  public var consecutiveFailures: Int? = 5
  /// Share of failures within `window` that ejects, above 0, up to 1; `nil`: not by this. 0.5.
  public var failureRatio: Double? = 0.5
  /// Answers within `window` below which no share and no latency is looked at, 1 or more. 20.
  public var minimumAnswers = 20
  /// 10 s.
  public var window: Duration = .seconds(10)
  /// How many times the median latency of the others makes an outlier, above 1; `nil`: not by this. `nil`.
  public var latencyFactor: Double?
  /// What an outlier has to be slower by, besides: among fast backends a factor alone is noise. 10 ms.
  public var latencyMargin: Duration = .milliseconds(10)
  /// Statuses of an HTTP backend that count as a failure; `nil`: none. 502...504: a 500 may be about one request.
  public var statuses: ClosedRange<Int>? = 502...504
  /// How long the first ejection lasts; each one soon after is twice as long as the one before. 10 s.
  public var ejection: Duration = .seconds(10)
  /// 5 min.
  public var longestEjection: Duration = .seconds(300)
  /// The share of a group that may be ejected at the same time, 0...1; one may always be, and never all. 0.5.
  public var maxEjected = 0.5

  public init() {}

  /// The values above.
  public static let standard = PassiveHealth()

  /// Nothing ejects.
  public static let off: PassiveHealth = {
    var off = PassiveHealth()
    off.consecutiveFailures = nil
    off.failureRatio = nil
    off.latencyFactor = nil
    return off
  }()

  /// Why it cannot work, one sentence each.
  var problems: [String] {
    var problems: [String] = []
    if let count = consecutiveFailures, !(1...1000).contains(count) {
      problems.append("\(count) failures in a row: 1 to 1000 are allowed")
    }
    if let ratio = failureRatio, !(ratio > 0 && ratio <= 1) {
      problems.append("a failure ratio of \(ratio): more than 0 and up to 1 is allowed")
    }
    if minimumAnswers < 1 { problems.append("\(minimumAnswers) answers at least: 1 or more is allowed") }
    if window < .milliseconds(100) { problems.append("a window of \(window): 100 ms or more is allowed") }
    if let factor = latencyFactor, !(factor > 1 && factor.isFinite) {
      problems.append("a latency factor of \(factor): more than 1 is allowed")
    }
    if latencyMargin < .zero { problems.append("a latency margin of \(latencyMargin): 0 or more is allowed") }
    if let statuses, statuses.lowerBound < 400 || statuses.upperBound > 599 {
      problems.append("statuses \(statuses) as failures: 400 to 599 are allowed")
    }
    if ejection <= .zero || longestEjection < ejection {
      problems.append(
        "ejections of \(ejection) to \(longestEjection): more than 0 seconds, and the longest not below the first")
    }
    if !(0...1).contains(maxEjected) { problems.append("a share of \(maxEjected) ejected: 0 to 1 is allowed") }
    return problems
  }
}

/// What is done when too few backends are healthy.
public struct PanicRule: Sendable, Hashable, CustomStringConvertible {
  enum Kind: Sendable, Hashable {
    case never, whenNone
    case below(Double)
  }

  let kind: Kind

  /// When none may be used, all that the operator has not taken out are used as if they were healthy: a check that is wrong
  /// shall not end a service that works, and who is down for certain only answers what would have been refused. The default.
  public static let whenNoneIsHealthy = PanicRule(kind: .whenNone)
  /// Unhealthy ones are never used: without a healthy one clients are refused (`overloaded`: HTTP 503).
  public static let never = PanicRule(kind: .never)
  /// When less than this share of a group is healthy, above 0, up to 1, all are used: the few that are left would break under
  /// the load of the others (Envoy's rule, which has 0.5).
  public static func below(_ share: Double) -> PanicRule { PanicRule(kind: .below(share)) }

  public var description: String {
    switch kind {
    case .never: "never"
    case .whenNone: "when none is healthy"
    case .below(let share): "below \(share) healthy"
    }
  }

  var problem: String? {
    if case .below(let share) = kind, !(share > 0 && share <= 1) {
      return "panic below a share of \(share): more than 0 and up to 1 is allowed"
    }
    return nil
  }
}
