internal import CShim
internal import Glibc

/// What a descriptor is ready for. `hangUp` and `reset` are sticky: once reported they stay.
struct Readiness: OptionSet, Sendable {
  var rawValue: UInt32

  static let readable = Readiness(rawValue: 1)
  static let writable = Readiness(rawValue: 2)
  /// The peer has sent its last byte (FIN), or the connection is gone. The end of the stream is still to be read.
  static let hangUp = Readiness(rawValue: 4)
  /// The connection is gone both ways: a reset or another error, or both sides have finished.
  static let gone = Readiness(rawValue: 8)
}

/// Asks the kernel which descriptors are ready. The only type that knows epoll: a kqueue back end replaces this file.
///
/// Descriptors are registered once, edge-triggered, for both directions, and never deregistered: closing one does that.
/// An event carries the generation under which its descriptor was registered, because the kernel may hand out events
/// of a descriptor that was closed (and its number reused) earlier in the same batch.
final class Poller {
  /// What a registration asks for.
  enum Interest {
    /// Everything, edge-triggered: connections.
    case connection
    /// As `connection`, without readability: a reader that cannot take more mutes it.
    case writableOnly
    /// Readability, level-triggered, one of the waiting loops at a time: listeners, which may share one descriptor.
    case listener

    fileprivate var events: UInt32 {
      switch self {
      case .connection: SHIM_EPOLLIN | SHIM_EPOLLOUT | SHIM_EPOLLRDHUP | SHIM_EPOLLET
      case .writableOnly: SHIM_EPOLLOUT | SHIM_EPOLLET
      case .listener: SHIM_EPOLLIN | SHIM_EPOLLEXCLUSIVE
      }
    }
  }

  private static var batch: Int { 256 }

  private let descriptor: Int32
  private let wakeDescriptor: Int32
  private let events: UnsafeMutablePointer<epoll_event>
  /// While events are handed out: how many follow.
  @exclusivity(unchecked) private(set) var eventsLeft = 0

  /// Throws `SystemError` when the process has no descriptors left.
  init() throws {
    descriptor = shim_epoll_create()
    guard descriptor >= 0 else { throw SystemError("epoll_create", errno) }
    wakeDescriptor = shim_eventfd()
    guard wakeDescriptor >= 0 else {
      let error = SystemError("eventfd", errno)
      close(descriptor)
      throw error
    }
    events = .allocate(capacity: Self.batch)
    // Generation 0 is never given to a slot, so the waker's events are told apart by its descriptor alone.
    _ = shim_epoll_ctl(descriptor, Int32(SHIM_EPOLL_ADD), wakeDescriptor, SHIM_EPOLLIN | SHIM_EPOLLET, 0)
  }

  deinit {
    close(wakeDescriptor)
    close(descriptor)
    events.deallocate()
  }

  /// Returns 0 or an errno value.
  func add(_ fd: Int32, generation: UInt32, _ interest: Interest) -> Int32 {
    control(Int32(SHIM_EPOLL_ADD), fd, generation, interest.events)
  }

  /// Changes the interest; readiness that is present is reported anew.
  func modify(_ fd: Int32, generation: UInt32, _ interest: Interest) -> Int32 {
    control(Int32(SHIM_EPOLL_MOD), fd, generation, interest.events)
  }

  /// Only for descriptors that stay open: a paused listener.
  func remove(_ fd: Int32) {
    _ = control(Int32(SHIM_EPOLL_DEL), fd, 0, 0)
  }

  private func control(_ operation: Int32, _ fd: Int32, _ generation: UInt32, _ events: UInt32) -> Int32 {
    shim_epoll_ctl(descriptor, operation, fd, events, generation) == 0 ? 0 : errno
  }

  /// Ends a `wait` of the loop's thread. May be called from any thread.
  func wake() {
    var one: UInt64 = 1
    // The counter of the eventfd cannot overflow by wakes, so the write fails only with EINTR.
    while write(wakeDescriptor, &one, 8) < 0, errno == EINTR {}
  }

  /// Waits for events, calls `woke`, and hands each event to `deliver`. -1 waits for ever, 0 only looks.
  @inline(__always)
  func wait(
    milliseconds: Int32, _ deliver: (_ fd: Int32, _ generation: UInt32, Readiness) -> Void, woke: () -> Void
  ) {
    let count = shim_epoll_wait(descriptor, events, Int32(Self.batch), milliseconds)
    woke()
    // EINTR: the loop's turn goes on and comes back here.
    guard count > 0 else { return }
    for position in 0..<Int(count) {
      let event = events + position
      eventsLeft = Int(count) - position - 1
      let fd = shim_epoll_descriptor(event)
      // Every write to the eventfd is a new edge, so its counter need not be read back.
      if fd == wakeDescriptor { continue }
      deliver(fd, shim_epoll_generation(event), Self.readiness(shim_epoll_events(event)))
    }
  }

  private static func readiness(_ events: UInt32) -> Readiness {
    var ready: Readiness = []
    if events & SHIM_EPOLLIN != 0 { ready.insert(.readable) }
    if events & SHIM_EPOLLOUT != 0 { ready.insert(.writable) }
    if events & SHIM_EPOLLRDHUP != 0 { ready.formUnion([.readable, .hangUp]) }
    if events & (SHIM_EPOLLHUP | SHIM_EPOLLERR) != 0 { ready.formUnion([.readable, .writable, .hangUp, .gone]) }
    return ready
  }
}
