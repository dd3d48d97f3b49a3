/// A point of civil time: seconds since 1970-01-01T00:00:00Z, without leap seconds.
@frozen public struct UnixTime: Hashable, Comparable, Sendable {
  public var seconds: Int64
  /// 0..<1,000,000,000.
  public var nanoseconds: Int32

  @inlinable public init(seconds: Int64, nanoseconds: Int32 = 0) {
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }

  @inlinable public static func < (a: UnixTime, b: UnixTime) -> Bool {
    (a.seconds, a.nanoseconds) < (b.seconds, b.nanoseconds)
  }
}

/// Says what time it is. For logs and calendars only: it may jump; limits and deadlines use ``Instant``.
public struct WallClock: Sendable {
  private let read: @Sendable () -> UnixTime

  /// A clock that reads `now`; tests give one that they move.
  public init(_ now: @escaping @Sendable () -> UnixTime) { read = now }

  public var now: UnixTime { read() }
}
