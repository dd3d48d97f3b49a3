public import Pipeline

/// The zone in which a calendar window begins and ends.
///
/// The rules come from outside, so that nothing here needs a library: a program hands over, say, Foundation's
/// `TimeZone.secondsFromGMT(for:)`. They are asked once a window, never for an exchange.
public struct CalendarZone: Sendable, Hashable, CustomStringConvertible {
  /// `UTC`, `Europe/Berlin`. Two zones of one name are the same zone.
  public let name: String
  private let rules: @Sendable (UnixTime) -> Int

  /// - Parameter offset: seconds east of UTC that hold at a moment.
  public init(name: String, offset: @escaping @Sendable (UnixTime) -> Int) {
    self.name = name
    rules = offset
  }

  /// Coordinated Universal Time.
  public static let utc = CalendarZone(name: "UTC") { _ in 0 }

  /// Seconds east of UTC at a moment.
  public func offset(at time: UnixTime) -> Int { rules(time) }

  public var description: String { name }

  public static func == (a: Self, b: Self) -> Bool { a.name == b.name }
  public func hash(into hasher: inout Hasher) { hasher.combine(name) }
}
