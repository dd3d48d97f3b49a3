/// Who is told about the readiness of each descriptor: a table indexed by the descriptor's number.
///
/// The kernel gives the lowest free number, so the table is dense; it grows by chunks, because the limit of descriptors
/// may be a thousand million. Each use of a number has its own generation. Only the loop's thread touches it.
final class SlotTable {
  private struct Slot {
    unowned(unsafe) var target: (any ReadinessTarget)?
    var generation: UInt32
  }

  private static var chunkSize: Int { 1024 }
  private var chunks: [UnsafeMutablePointer<Slot>] = []

  deinit {
    for chunk in chunks { chunk.deallocate() }
  }

  /// Begins a use of a descriptor's number and returns its generation.
  func take(_ fd: Int32, _ target: any ReadinessTarget) -> UInt32 {
    while Int(fd) >= chunks.count * Self.chunkSize {
      let chunk = UnsafeMutablePointer<Slot>.allocate(capacity: Self.chunkSize)
      chunk.initialize(repeating: Slot(target: nil, generation: 0), count: Self.chunkSize)
      chunks.append(chunk)
    }
    let slot = slot(fd)
    slot.pointee.generation &+= 1
    slot.pointee.target = target
    return slot.pointee.generation
  }

  /// Ends the use; events that are still on their way are dropped.
  func leave(_ fd: Int32) {
    guard Int(fd) < chunks.count * Self.chunkSize else { return }
    let slot = slot(fd)
    slot.pointee.generation &+= 1
    slot.pointee.target = nil
  }

  @inline(__always)
  func target(_ fd: Int32, _ generation: UInt32) -> (any ReadinessTarget)? {
    let slot = slot(fd)
    return slot.pointee.generation == generation ? slot.pointee.target : nil
  }

  @inline(__always)
  private func slot(_ fd: Int32) -> UnsafeMutablePointer<Slot> {
    chunks[Int(fd) / Self.chunkSize] + Int(fd) % Self.chunkSize
  }
}
