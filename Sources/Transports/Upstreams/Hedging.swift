internal import Pipeline

/// When a second backend is asked, too, because the first takes long: an option of ``Upstreams``, for HTTP.
///
/// ```swift
/// Upstreams(.leastConnections, hedge: .after(.milliseconds(100))) { … }
/// Upstreams(.leastConnections, hedge: .slowest(0.05)) { … }        // those that are slower than 95 % of all
/// ```
/// The answer that begins first is the client's, and the other request is cut. Only requests that may be sent twice are hedged:
/// idempotent by their method, without a body. (Dean and Barroso, "The Tail at Scale", 2013.)
public struct Hedging: Hashable, Sendable, CustomStringConvertible {
  enum Delay: Hashable, Sendable {
    case fixed(Duration)
    case percentile(Double, atLeast: Duration)
  }

  let delay: Delay
  let share: Double

  /// After a fixed time without an answer.
  ///
  /// - Parameters:
  ///   - delay: 1 ms...1 h, counted from when the request was sent.
  ///   - share: hedges for each request, more than 0 and at most 1: backends that are slow together must not get twice the load.
  public static func after(_ delay: Duration, atMost share: Double = 0.1) -> Hedging {
    Hedging(delay: .fixed(delay), share: share)
  }

  /// The requests that are slower than most, by what was seen of late. Nothing is hedged before 100 answers were seen.
  ///
  /// - Parameters:
  ///   - slowest: this share of the requests, more than 0 and at most 0.5.
  ///   - least: not before that; 1 ms...1 h.
  ///   - share: as above.
  public static func slowest(
    _ slowest: Double, atLeast least: Duration = .milliseconds(1), atMost share: Double = 0.1
  ) -> Hedging {
    Hedging(delay: .percentile(1 - slowest, atLeast: least), share: share)
  }

  public var description: String {
    switch delay {
    case .fixed(let delay): "after \(delay)"
    case .percentile(let percentile, let least): "the slowest \(Self.percent(1 - percentile)), after \(least) or more"
    }
  }

  private static func percent(_ share: Double) -> String {
    let tenths = Int((share * 1000).rounded())
    return tenths % 10 == 0 ? "\(tenths / 10) %" : "\(tenths / 10).\(tenths % 10) %"
  }

  var problems: [String] {
    var problems: [String] = []
    func check(_ delay: Duration) {
      if delay < .milliseconds(1) || delay > .seconds(3600) {
        problems.append("a hedge after \(delay): 1 ms to 1 hour are allowed")
      }
    }
    switch delay {
    case .fixed(let delay): check(delay)
    case .percentile(let percentile, let least):
      check(least)
      if !(percentile >= 0.5 && percentile < 1) {
        problems.append("a hedge of the slowest \(1 - percentile): more than 0 and at most 0.5 is allowed")
      }
    }
    if !(share > 0 && share <= 1) {
      problems.append("hedges for at most \(share) of the requests: more than 0 and at most 1 is allowed")
    }
    return problems
  }
}

/// What the hedges of a group have brought since it was made.
public struct HedgeReport: Hashable, Sendable {
  /// Second backends that were asked.
  public let asked: Int
  /// Of these, those that answered first.
  public let won: Int
  /// Requests that waited long enough, and for which there was no second one: the share was used up, or no other backend free.
  public let withoutSecond: Int
}
