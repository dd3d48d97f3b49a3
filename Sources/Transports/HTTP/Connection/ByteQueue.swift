internal import Pipeline

/// Bytes of one direction that wait for their turn: read ahead of the one who consumes them, or not yet taken by the one
/// who shall get them. Holds memory only while it holds bytes, so an idle connection has none.
///
/// Up to one read of the scratch buffer comes from the loop's pool. Whoever owns a queue calls ``release(on:)`` at the end.
struct ByteQueue {
  // The pointers are sound because the memory belongs to this queue from the first byte to the last, only the loop's thread
  // touches it, and no view of it is handed out beyond the next call that changes the queue.

  private var buffer: SpillBuffer?
  private var base: UnsafeMutableRawPointer?
  private var capacity = 0
  private var start = 0
  private var end = 0

  var count: Int { end - start }
  var isEmpty: Bool { start == end }

  /// What is waiting. Valid until the queue is changed.
  var bytes: UnsafeRawBufferPointer {
    guard let base else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(start: base + start, count: end - start)
  }

  mutating func append(_ bytes: UnsafeRawBufferPointer, on loop: Loop) {
    guard let source = bytes.baseAddress, bytes.count > 0 else { return }
    let room = reserve(bytes.count, on: loop)
    room.copyMemory(from: source, byteCount: bytes.count)
    end += bytes.count
  }

  /// Lets `fill` write into the free room, at least `count` bytes of it, and takes as many as it says.
  mutating func fill(atLeast count: Int, on loop: Loop, _ fill: (UnsafeMutableRawBufferPointer) -> Int) {
    let room = reserve(count, on: loop)
    end += fill(UnsafeMutableRawBufferPointer(start: room, count: capacity - end))
    if isEmpty { release(on: loop) }
  }

  mutating func consume(_ count: Int, on loop: Loop) {
    precondition(count <= self.count, "a queue gives no more than it holds")
    start += count
    if isEmpty { release(on: loop) }
  }

  mutating func release(on loop: Loop) {
    if let buffer {
      loop.buffers.put(buffer)
    } else {
      base?.deallocate()
    }
    buffer = nil
    base = nil
    capacity = 0
    start = 0
    end = 0
  }

  /// The place for the next `count` bytes.
  private mutating func reserve(_ count: Int, on loop: Loop) -> UnsafeMutableRawPointer {
    if let base {
      if end + count <= capacity { return base + end }
      if self.count + count <= capacity {
        base.copyMemory(from: base + start, byteCount: self.count)
        end -= start
        start = 0
        return base + end
      }
    }
    return grow(to: self.count + count, on: loop)
  }

  private mutating func grow(to needed: Int, on loop: Loop) -> UnsafeMutableRawPointer {
    var larger = ByteQueue()
    if needed <= BufferPool.largeSize {
      let taken = loop.buffers.take(needed)
      larger.buffer = taken
      larger.base = taken.base
      larger.capacity = taken.capacity
    } else {
      larger.capacity = max(needed, 2 * capacity)
      larger.base = .allocate(byteCount: larger.capacity, alignment: 64)
    }
    larger.end = count
    if count > 0, let source = bytes.baseAddress { larger.base?.copyMemory(from: source, byteCount: count) }
    release(on: loop)
    self = larger
    // `larger` has memory: every branch gave it some.
    return base! + end
  }
}
