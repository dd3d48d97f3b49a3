/// A piece of memory that a relay holds for a receiver that does not read as fast as the sender writes.
struct SpillBuffer {
  fileprivate(set) var base: UnsafeMutableRawPointer
  let capacity: Int
}

/// Spill buffers of one loop in three sizes, some of each kept, so that a receiver that is slow for a moment costs no
/// allocation. Only the loop's thread uses it.
struct BufferPool: ~Copyable {
  /// Most spills are the rest of one small message; the largest is what one read of the scratch buffer took.
  static let smallSize = 16 * 1024
  /// The rest of a body of 64 KiB, with its head.
  static let mediumSize = 96 * 1024
  static let largeSize = Loop.scratchSize
  private static let keptSmall = 64
  private static let keptMedium = 16
  private static let keptLarge = 8

  private var small: [UnsafeMutableRawPointer] = []
  private var medium: [UnsafeMutableRawPointer] = []
  private var large: [UnsafeMutableRawPointer] = []

  deinit {
    for buffer in small { buffer.deallocate() }
    for buffer in medium { buffer.deallocate() }
    for buffer in large { buffer.deallocate() }
  }

  /// A buffer of at least `count` bytes, which are at most `largeSize`.
  mutating func take(_ count: Int) -> SpillBuffer {
    precondition(count <= Self.largeSize, "a spill holds at most one read, got \(count) bytes")
    let size = count <= Self.smallSize ? Self.smallSize : count <= Self.mediumSize ? Self.mediumSize : Self.largeSize
    let kept =
      switch size {
      case Self.smallSize: small.popLast()
      case Self.mediumSize: medium.popLast()
      default: large.popLast()
      }
    return SpillBuffer(base: kept ?? .allocate(byteCount: size, alignment: 64), capacity: size)
  }

  mutating func put(_ buffer: SpillBuffer) {
    if buffer.capacity == Self.smallSize, small.count < Self.keptSmall {
      small.append(buffer.base)
    } else if buffer.capacity == Self.mediumSize, medium.count < Self.keptMedium {
      medium.append(buffer.base)
    } else if buffer.capacity == Self.largeSize, large.count < Self.keptLarge {
      large.append(buffer.base)
    } else {
      buffer.base.deallocate()
    }
  }
}
