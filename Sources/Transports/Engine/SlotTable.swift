/// Who is told about the readiness of each descriptor: a table indexed by the descriptor's number.
///
/// The kernel gives the lowest free number, so the table is dense; it grows by chunks, because the limit of descriptors
/// may be a thousand million. Each use of a number has its own generation. Only the loop's thread touches it.
final class SlotTable {
  private struct Slot {
    unowned(unsafe) var target: (any ReadinessTarget)?
    /// The target again, where it is a socket, which nearly all are.
    var socket: Unmanaged<Socket>?
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
      chunk.initialize(repeating: Slot(target: nil, socket: nil, generation: 0), count: Self.chunkSize)
      chunks.append(chunk)
    }
    let slot = slot(fd)
    slot.pointee.generation &+= 1
    slot.pointee.target = target
    if let socket = target as? Socket { slot.pointee.socket = .passUnretained(socket) }
    return slot.pointee.generation
  }

  /// Ends the use; events that are still on their way are dropped.
  func leave(_ fd: Int32) {
    guard Int(fd) < chunks.count * Self.chunkSize else { return }
    let slot = slot(fd)
    slot.pointee.generation &+= 1
    slot.pointee.target = nil
    slot.pointee.socket = nil
  }

  /// Tells the target, if the generation is still the same.
  @inline(__always)
  func tell(_ fd: Int32, _ generation: UInt32, _ readiness: Readiness) {
    let slot = slot(fd)
    guard slot.pointee.generation == generation else { return }
    // Without counting references. Sound: whoever a socket wakes holds it, and goes away after the call.
    if let socket = slot.pointee.socket { return socket._withUnsafeGuaranteedRef { $0.becameReady(readiness) } }
    slot.pointee.target?.becameReady(readiness)
  }

  @inline(__always)
  private func slot(_ fd: Int32) -> UnsafeMutablePointer<Slot> {
    chunks[Int(fd) / Self.chunkSize] + Int(fd) % Self.chunkSize
  }
}
