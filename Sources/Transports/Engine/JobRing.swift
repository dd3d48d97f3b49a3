/// The jobs that wait on one loop: a power-of-two ring that grows when it is full and never shrinks.
///
/// It owns raw memory, hence a class with a `deinit`; only the loop's own thread may touch it.
final class JobRing {
  private var slots: UnsafeMutablePointer<UnownedJob>
  private var mask: Int
  private var head = 0
  private var tail = 0

  init(capacity: Int = 256) {
    precondition(capacity > 0 && capacity & (capacity - 1) == 0, "the capacity is a power of two, got \(capacity)")
    slots = .allocate(capacity: capacity)
    mask = capacity - 1
  }

  deinit { slots.deallocate() }

  var isEmpty: Bool { head == tail }

  @inline(__always)
  func push(_ job: UnownedJob) {
    if tail &- head > mask { grow() }
    (slots + (tail & mask)).initialize(to: job)
    tail &+= 1
  }

  @inline(__always)
  func pop() -> UnownedJob? {
    guard head != tail else { return nil }
    let job = slots[head & mask]
    head &+= 1
    return job
  }

  private func grow() {
    let capacity = (mask + 1) * 2
    let larger = UnsafeMutablePointer<UnownedJob>.allocate(capacity: capacity)
    for position in head..<tail {
      (larger + (position & (capacity - 1))).initialize(to: slots[position & mask])
    }
    slots.deallocate()
    slots = larger
    mask = capacity - 1
  }
}
