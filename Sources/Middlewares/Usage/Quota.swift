public import Pipeline

/// What an account may use, and in which time.
///
/// ```swift
/// .requests(100, per: .day)
/// .bytes(10_000_000_000, per: .month)
/// .time(.seconds(3600), per: .rolling(.seconds(86_400)))
/// .concurrentConnections(8)
/// ```
public struct Quota: Sendable, Hashable {
  enum Metric: Hashable, Sendable {
    case requests, connections, time
    case bytes(Directions)
  }

  let metric: Metric
  /// In the metric's own unit; time in milliseconds.
  private(set) var limit: QuotaAmount
  /// Over which time it counts.
  public let window: QuotaWindow
  /// Quotas of one name in one store share what they have counted.
  public let name: String

  private init(_ metric: Metric, _ limit: QuotaAmount, _ window: QuotaWindow, _ kind: String, _ name: String?) {
    self.metric = metric
    self.limit = limit
    self.window = window
    self.name = name ?? "\(kind)/\(window)"
  }

  /// Exchanges: TCP and SOCKS5 connections, HTTP requests. Exact, however many ask at once; what ended before it reached an
  /// upstream is given back.
  ///
  /// - Parameters:
  ///   - count: 0...1,000,000,000,000.
  ///   - name: under which it is counted and kept, 1 to 64 printable ASCII characters; default `requests/day`.
  public static func requests(_ count: Int, per window: QuotaWindow, name: String? = nil) -> Quota {
    Quota(.requests, QuotaAmount(kind: .count(count)), window, "requests", name)
  }

  /// Bytes, counted as ``Traffic`` is. A live exchange is ended when they are used up.
  ///
  /// - Parameters:
  ///   - count: 0...1,000,000,000,000,000,000.
  ///   - ways: which bytes count: both together unless given.
  public static func bytes(
    _ count: Int, per window: QuotaWindow, _ ways: Directions = [.up, .down], name: String? = nil
  ) -> Quota {
    Quota(.bytes(ways), QuotaAmount(kind: .count(count)), window, "bytes", name)
  }

  /// Connections that are served at the same time: tunnels, and HTTP connections with a request under way. Counted by each
  /// process on its own.
  ///
  /// - Parameter count: 0...1,000,000.
  public static func concurrentConnections(_ count: Int, name: String? = nil) -> Quota {
    Quota(.connections, QuotaAmount(kind: .count(count)), .forever, "connections", name ?? "connections")
  }

  /// Time that exchanges take, all of an account together: two tunnels at once use it up twice as fast. A live exchange is ended
  /// when it is used up.
  ///
  /// - Parameter duration: 0 seconds ... 10,000 days, to the millisecond.
  public static func time(_ duration: Duration, per window: QuotaWindow, name: String? = nil) -> Quota {
    Quota(.time, QuotaAmount(kind: .time(duration)), window, "time", name)
  }

  /// The same without a limit: counted, never used up, and still closed to an account that an operator has blocked. Plans may
  /// give single accounts a limit.
  public var unlimited: Quota {
    var quota = self
    quota.limit = .unlimited
    return quota
  }
}

/// How much of a quota: of the usual limit, or of a plan.
public struct QuotaAmount: Sendable, Hashable, ExpressibleByIntegerLiteral, CustomStringConvertible {
  enum Kind: Hashable, Sendable {
    case unlimited
    case count(Int)
    case time(Duration)
  }

  let kind: Kind

  init(kind: Kind) { self.kind = kind }

  /// Requests, bytes, connections.
  public init(integerLiteral count: Int) { kind = .count(count) }

  /// Requests, bytes, connections.
  public static func count(_ count: Int) -> QuotaAmount { QuotaAmount(kind: .count(count)) }
  /// For a quota of time.
  public static func time(_ duration: Duration) -> QuotaAmount { QuotaAmount(kind: .time(duration)) }
  /// It is counted, and never used up.
  public static var unlimited: QuotaAmount { QuotaAmount(kind: .unlimited) }

  /// In the unit in which a counter counts.
  var units: Int {
    switch kind {
    case .unlimited: .max
    case .count(let count): count
    case .time(let duration): Int(duration.nanosecondsClamped / 1_000_000)
    }
  }

  public var description: String {
    switch kind {
    case .unlimited: "unlimited"
    case .count(let count): "\(count)"
    case .time(let duration): "\(duration)"
    }
  }

  /// What is wrong with it as a limit of this metric; `nil` when nothing is.
  func problem(_ metric: Quota.Metric) -> String? {
    func outOf(_ count: Int, _ most: Int, _ what: String, _ allowed: String) -> String? {
      (0...most).contains(count) ? nil : "a quota of \(count) \(what): 0 to \(allowed) are allowed"
    }
    switch (metric, kind) {
    case (_, .unlimited): return nil
    case (.requests, .count(let n)): return outOf(n, 1_000_000_000_000, "requests", "1,000,000,000,000")
    case (.bytes, .count(let n)): return outOf(n, 1_000_000_000_000_000_000, "bytes", "1,000,000,000,000,000,000")
    case (.connections, .count(let n)): return outOf(n, 1_000_000, "connections", "1,000,000")
    case (.time, .time(let time)):
      return time >= .zero && time <= .seconds(864_000_000)
        ? nil : "a quota of \(time): 0 seconds to 10,000 days are allowed"
    case (.time, .count): return "a quota of time whose amount is a number: write .time(.seconds(…))"
    case (.requests, .time), (.bytes, .time), (.connections, .time):
      return "a quota whose amount is a time, but which counts something else: write a number"
    }
  }
}

/// The time over which a quota counts.
public struct QuotaWindow: Sendable, Hashable, CustomStringConvertible {
  enum Kind: Hashable, Sendable {
    case calendar(CalendarUnit)
    case rolling(Duration)
    case forever
  }

  /// A rolling window is this many parts long, and frees one at a time.
  static let parts = 32

  let kind: Kind

  /// A minute, hour, day or month of the store's zone: all of it is free again when the next one begins.
  public static func calendar(_ unit: CalendarUnit) -> QuotaWindow { QuotaWindow(kind: .calendar(unit)) }
  public static var minute: QuotaWindow { calendar(.minute) }
  public static var hour: QuotaWindow { calendar(.hour) }
  public static var day: QuotaWindow { calendar(.day) }
  public static var month: QuotaWindow { calendar(.month) }

  /// Any time of this length: never more than the limit within it, wherever it begins. Kept in 32 parts, so that what was used is
  /// free again after its length and up to 1/32 of it more.
  ///
  /// - Parameter length: 1 second ... 400 days.
  public static func rolling(_ length: Duration) -> QuotaWindow { QuotaWindow(kind: .rolling(length)) }

  /// It is never free again, unless somebody resets it.
  public static var forever: QuotaWindow { QuotaWindow(kind: .forever) }

  public var description: String {
    switch kind {
    case .calendar(let unit): unit.rawValue
    case .rolling(let length): "\(length.components.seconds)s"
    case .forever: "ever"
    }
  }

  /// Nanoseconds of one part of a rolling window.
  var part: Int64 {
    guard case .rolling(let length) = kind else { return 1 }
    return max(1_000_000, length.nanosecondsClamped / Int64(Self.parts))
  }

  /// For the header fields; `nil`: none.
  func seconds(_ book: CalendarBook, at time: UnixTime) -> Int? {
    switch kind {
    case .calendar(let unit):
      let window = book.window(unit, at: time)
      return Int(window.end.seconds - window.start.seconds)
    case .rolling(let length): return length.secondsRoundedUp
    case .forever: return nil
    }
  }

  var problem: String? {
    guard case .rolling(let length) = kind, !(.seconds(1) ... .seconds(34_560_000)).contains(length) else { return nil }
    return "a rolling window of \(length): 1 second to 400 days are allowed"
  }
}

/// What happens when a quota is used up.
public struct QuotaExhaustion: Sendable, Hashable, CustomStringConvertible {
  enum Kind: Hashable, Sendable {
    case refuse, closeExisting
    case throttle(ByteRate)
  }

  let kind: Kind

  /// New exchanges are refused until the window ends. A live one is ended when it needs more of this quota itself: bytes, time.
  public static var refuse: QuotaExhaustion { QuotaExhaustion(kind: .refuse) }
  /// As `.refuse`; and all that the account has open is ended, within a second.
  public static var closeExisting: QuotaExhaustion { QuotaExhaustion(kind: .closeExisting) }
  /// Nobody is refused: the account goes on at this rate, each way, all its exchanges together, until the window ends.
  public static func throttle(to rate: ByteRate) -> QuotaExhaustion { QuotaExhaustion(kind: .throttle(rate)) }

  public var description: String {
    switch kind {
    case .refuse: "refuse"
    case .closeExisting: "close existing"
    case .throttle(let rate): "throttle to \(rate)"
    }
  }
}
