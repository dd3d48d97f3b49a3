/// A piece of memory that a relay holds for a receiver that does not read as fast as the sender writes.
struct SpillBuffer {
  fileprivate(set) var base: UnsafeMutableRawPointer
  fileprivate var isLarge: Bool
}

/// Spill buffers of one loop in two sizes, some of each kept, so that a receiver that is slow for a moment costs no
/// allocation. Only the loop's thread uses it.
struct BufferPool: ~Copyable {
  /// Most spills are the rest of one small message; the largest is what one read of the scratch buffer took.
  static let smallSize = 16 * 1024
  static let largeSize = Loop.scratchSize
  private static let keptSmall = 64
  private static let keptLarge = 8

  private var small: [UnsafeMutableRawPointer] = []
  private var large: [UnsafeMutableRawPointer] = []

  deinit {
    for buffer in small { buffer.deallocate() }
    for buffer in large { buffer.deallocate() }
  }

  /// A buffer of at least `count` bytes, which are at most `largeSize`.
  mutating func take(_ count: Int) -> SpillBuffer {
    precondition(count <= Self.largeSize, "a spill holds at most one read, got \(count) bytes")
    let isLarge = count > Self.smallSize
    if let base = isLarge ? large.popLast() : small.popLast() { return SpillBuffer(base: base, isLarge: isLarge) }
    let size = isLarge ? Self.largeSize : Self.smallSize
    return SpillBuffer(base: .allocate(byteCount: size, alignment: 64), isLarge: isLarge)
  }

  mutating func put(_ buffer: SpillBuffer) {
    if buffer.isLarge, large.count < Self.keptLarge {
      large.append(buffer.base)
    } else if !buffer.isLarge, small.count < Self.keptSmall {
      small.append(buffer.base)
    } else {
      buffer.base.deallocate()
    }
  }
}
