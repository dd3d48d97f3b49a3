internal import CShim
internal import Glibc
internal import Pipeline

/// Accepts the connections of one listening descriptor on one loop.
///
/// When the process or the machine runs out of descriptors, it stops to accept, says so once, and tries again after a
/// while: the connections wait in the kernel's backlog meanwhile. Without that, a level-triggered listener would turn
/// the loop into a busy one.
final class Acceptor: ReadinessTarget, TimerTarget, @unchecked Sendable {
  // Sound as Sendable: everything here is used on the loop's thread alone (see `Loop`).

  /// What one call of `accept` did.
  enum Accepted {
    case socket(Int32, SocketAddress?)
    /// Nobody is waiting.
    case none
    /// An errno value.
    case failed(Int32)
  }

  /// Connections accepted before the other sockets of the loop have their turn.
  private static let acceptsPerTurn = 64
  /// How long to wait for descriptors to become free.
  static let shortageDelay = Duration.milliseconds(100)

  let loop: Loop
  private let descriptor: ListeningDescriptor
  private let address: SocketAddress
  private let label: StallLabel
  private let log: @Sendable (LogLevel, String) -> Void
  private let acceptOne: (Int32) -> Accepted
  private let accepted: (Socket) -> Void
  private var isWatching = false
  private var isHeld = false
  private var isShort = false
  private var isClosed = false
  private var timer = TimerHandle.none

  /// - Parameters:
  ///   - accept: takes one connection; replaced in tests.
  ///   - accepted: gets each connection, on the loop. It owns the socket.
  init(
    _ descriptor: ListeningDescriptor, at address: SocketAddress, on loop: Loop,
    log: @escaping @Sendable (LogLevel, String) -> Void,
    accept: @escaping (Int32) -> Accepted = Acceptor.accept, accepted: @escaping (Socket) -> Void
  ) {
    self.loop = loop
    self.descriptor = descriptor
    self.address = address
    self.log = log
    acceptOne = accept
    self.accepted = accepted
    label = StallLabel.named("accepting on \(address)")
  }

  /// Begins to accept. On the loop.
  func start() { watch() }

  /// Accepts nothing more until `release`, for a limit of connections. On the loop.
  func hold() {
    isHeld = true
    unwatch()
  }

  /// Undoes `hold`. On the loop.
  func release() {
    guard isHeld else { return }
    isHeld = false
    if !isShort { watch() }
  }

  /// Stops for good. The descriptor is closed when its last user lets go of it. On the loop.
  func close() {
    isClosed = true
    unwatch()
    loop.cancel(&timer)
  }

  private func watch() {
    guard !isWatching, !isClosed else { return }
    isWatching = loop.watch(descriptor.number, .listener, self) != nil
    // The kernel has no memory for a watch now: as with descriptors, later perhaps.
    if !isWatching { waitForDescriptors(ENOMEM) }
  }

  private func unwatch() {
    guard isWatching else { return }
    isWatching = false
    loop.unwatch(descriptor.number)
  }

  func becameReady(_ readiness: Readiness) {
    loop.stall.setLabel(label)
    var budget = Self.acceptsPerTurn
    while budget > 0, isWatching {
      budget -= 1
      switch acceptOne(descriptor.number) {
      case .socket(let fd, let remote):
        if isShort { shortageIsOver() }
        if let socket = Socket(adopting: fd, on: loop, remoteAddress: remote, readiness: .writable) {
          accepted(socket)
        }
      case .none:
        return
      case .failed(let code):
        switch code {
        // The connection was reset before it was accepted (and what else accept(2) says to treat so).
        case EINTR, ECONNABORTED, EPROTO, EPERM, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP,
          ENETUNREACH:
          continue
        case EMFILE, ENFILE, ENOBUFS, ENOMEM:
          return waitForDescriptors(code)
        default:
          log(.error, "accepting on \(address) failed: \(String(cString: strerror(code)))")
          return waitForDescriptors(code)
        }
      }
    }
  }

  private func waitForDescriptors(_ code: Int32) {
    if !isShort {
      isShort = true
      log(.error, "accepting on \(address) is paused: \(String(cString: strerror(code)))")
    }
    unwatch()
    loop.cancel(&timer)
    timer = loop.arm(at: loop.now + Self.shortageDelay, self)
  }

  func timerFired() {
    timer = .none
    if !isHeld { watch() }
  }

  private func shortageIsOver() {
    isShort = false
    log(.notice, "accepting on \(address) goes on")
  }

  /// Takes one connection from the kernel.
  static func accept(_ fd: Int32) -> Accepted {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let accepted = withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { shim_accept(fd, $0, &length) }
    }
    if accepted >= 0 { return .socket(accepted, SocketAddress(&storage, length: length)) }
    return errno == EAGAIN ? .none : .failed(errno)
  }
}
