internal import Synchronization

/// Numbers for exchanges that are unique in the process. Each user takes a block at a time, so that loops do not share
/// a counter for every connection.
struct ExchangeIDs {
  private static let nextBlock = Atomic<UInt64>(0)
  private static let blockSize: UInt64 = 256

  private var next: UInt64 = 0
  private var end: UInt64 = 0

  /// 1 or more.
  mutating func take() -> UInt64 {
    if next == end {
      next = Self.nextBlock.add(1, ordering: .relaxed).oldValue * Self.blockSize
      end = next + Self.blockSize
    }
    next += 1
    return next
  }
}
