/// What of a request's body has been handed on, for an attempt that has to begin anew. Holds memory of the loop's pool only
/// while it holds bytes; whoever owns it calls ``release(on:)`` at the end.
struct ReplayBuffer {
  // The pointer is sound because the memory belongs to this buffer until it is released, only the loop's thread touches it,
  // and no view of it is handed out beyond the next call that changes it.

  private enum State {
    /// Nobody has asked to keep anything.
    case off
    case keeping
    /// More was handed on than may be kept, or some of it before anybody asked.
    case lost
  }

  private var state = State.off
  private var limit = 0
  private var buffer: SpillBuffer?
  private var capacity = 0
  private var count = 0
  /// Who hands the body on has got so far in this attempt.
  private var position = 0

  /// Whether everything that was handed on is here.
  var isWhole: Bool { if case .keeping = state { true } else { false } }

  /// Whether an attempt begins with the first byte.
  var isAtStart: Bool { position == 0 }

  var hasUnread: Bool { position < count }

  /// What this attempt has not handed on yet of what was kept. Valid until the buffer is changed.
  var unread: UnsafeRawBufferPointer {
    guard let buffer else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(start: buffer.base + position, count: count - position)
  }

  /// - Parameters:
  ///   - limit: bytes; more than a buffer of the pool holds means what it holds.
  ///   - isTouched: whether some of the body has been handed on already.
  mutating func begin(upTo limit: Int, isTouched: Bool) {
    switch state {
    case .off: state = isTouched ? .lost : .keeping
    case .keeping, .lost: break
    }
    self.limit = min(max(self.limit, limit), BufferPool.largeSize)
  }

  /// Keeps what is handed on for the first time.
  ///
  /// - Parameter total: the length of the whole body, where it is known: one that will not fit is not copied at all.
  /// - Returns: false when the body has just become too long to be kept.
  mutating func append(_ bytes: UnsafeRawBufferPointer, of total: UInt64?, on loop: Loop) -> Bool {
    guard case .keeping = state, let source = bytes.baseAddress else { return true }
    let needed = count + bytes.count
    if needed > limit || (total ?? 0) > UInt64(limit) {
      letGo(on: loop)
      state = .lost
      return false
    }
    if needed > capacity { grow(to: max(needed, Int(total ?? 0)), on: loop) }
    // There is room: see above.
    buffer!.base.advanced(by: count).copyMemory(from: source, byteCount: bytes.count)
    count = needed
    position = needed
    return true
  }

  private mutating func grow(to needed: Int, on loop: Loop) {
    let larger = loop.buffers.take(needed)
    if let buffer {
      larger.base.copyMemory(from: buffer.base, byteCount: count)
      loop.buffers.put(buffer)
    }
    buffer = larger
    capacity = larger.capacity
  }

  /// The next attempt begins with the first byte.
  mutating func rewind() { position = 0 }

  mutating func advance(_ count: Int) { position += count }

  /// Nobody will ask again.
  mutating func release(on loop: Loop) {
    if case .off = state { return }
    letGo(on: loop)
    state = .off
    limit = 0
  }

  private mutating func letGo(on loop: Loop) {
    if let buffer { loop.buffers.put(buffer) }
    buffer = nil
    capacity = 0
    count = 0
    position = 0
  }
}
