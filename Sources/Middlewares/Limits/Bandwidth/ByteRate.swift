/// How many bytes a second a ``Bandwidth`` lets through one way, and how many at once.
///
/// ```swift
/// Bandwidth(.bytesPerSecond(10_000_000, burst: 2_000_000), per: .identity)
/// ```
public struct ByteRate: Hashable, Sendable, CustomStringConvertible {
  /// 1,000 ... 1,000,000,000,000 bytes a second.
  public let bytesPerSecond: Int
  /// Bytes that a key which was silent for long may move at once: 4,096 ... 1,000,000,000,000, and no more than the rate
  /// gives in an hour.
  public let burst: Int

  /// - Parameters:
  ///   - count: 1,000 ... 1,000,000,000,000.
  ///   - burst: 4,096 ... 1,000,000,000,000 bytes; a tenth of a second's worth where it is not given, but at least 16 KiB. It is
  ///     lent out in leases, so that a burst of less than 100 ms' worth costs the relay more and shorter turns.
  public static func bytesPerSecond(_ count: Int, burst: Int? = nil) -> ByteRate {
    ByteRate(bytesPerSecond: count, burst: burst ?? max(count / 10, 16 * 1024))
  }

  public var description: String { "\(bytesPerSecond) B/s, burst \(burst) B" }

  /// What is wrong with the numbers; `nil` when nothing is.
  var problem: String? {
    if !(1_000...1_000_000_000_000).contains(bytesPerSecond) {
      return "\(bytesPerSecond) bytes per second: 1,000 to 1,000,000,000,000 are allowed"
    }
    if !(4_096...1_000_000_000_000).contains(burst) {
      return "a burst of \(burst) bytes: 4,096 to 1,000,000,000,000 are allowed"
    }
    if burst / 3_600 > bytesPerSecond {
      return "a burst of \(burst) bytes at \(bytesPerSecond) bytes per second: no more than an hour's worth is allowed"
    }
    return nil
  }
}

/// The numbers of a ``ByteRate`` as a bucket uses them.
struct BytePlan: Hashable, Sendable {
  let rate: UInt64
  let burst: Int
  /// The largest lease. What 50 ms bring is a piece that a relay splices at the cost of an unlimited one (some hundred KiB at
  /// 10 MB/s), and short enough that a client hardly sees the pauses; half of the burst, so that the bucket can earn the next one
  /// while this one is used; and no more than a few turns of a relay move.
  let largest: Int
  /// The smallest lease among many that contend, 2 ms' worth: a round of 100 connections then takes 200 ms.
  let smallest: Int

  /// Numbers out of range count as the nearest allowed ones: the chain that holds them is refused before it serves.
  init(_ rate: ByteRate) {
    let count = min(max(rate.bytesPerSecond, 1_000), 1_000_000_000_000)
    self.rate = UInt64(count)
    burst = min(max(rate.burst, 4_096), 1_000_000_000_000)
    largest = min(max(count / 20, 1_024), burst / 2, 4 * 1024 * 1024)
    smallest = min(max(count / 500, 1_024), 16 * 1024, largest)
  }
}

/// What a ``Bandwidth`` limits: either way, or both.
struct BandwidthPlan: Hashable, Sendable {
  let up: BytePlan?
  let down: BytePlan?
}
