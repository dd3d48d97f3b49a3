internal import Glibc

/// Where a log goes: a file by its path, or a descriptor. Used by the writer's thread alone.
///
/// The descriptor stays as it is (setting O_NONBLOCK on a terminal or a pipe would change it for every process that shares
/// it). Instead nothing is written before `poll` says that there is room, and then at most PIPE_BUF bytes, which by POSIX
/// fit without blocking; only regular files, which always say yes, get more at once.
struct LogOutput: ~Copyable, Sendable {
  enum Written: Equatable {
    case all
    /// The output took so many bytes, then failed.
    case failed(after: Int, errno: Int32)
    /// `giveUp` said so.
    case gaveUp(after: Int)
  }

  /// PIPE_BUF of Linux.
  private static let atomicSize = 4096

  private let path: String?
  private var descriptor: Int32
  private var isRegularFile: Bool
  /// Whether the last byte that was written ended a line.
  private(set) var isAtLineStart = true

  init(descriptor: Int32) {
    path = nil
    self.descriptor = descriptor
    isRegularFile = Self.isRegularFile(descriptor)
  }

  init(appendingTo path: String) throws {
    self.path = path
    switch Self.open(path) {
    case .success(let opened): descriptor = opened
    case .failure(let error): throw LogWriterError(path: path, reason: String(cString: strerror(error.code)))
    }
    isRegularFile = Self.isRegularFile(descriptor)
  }

  deinit { if path != nil { close(descriptor) } }

  /// - Returns: the error, after which the old file is still the output.
  mutating func reopen() -> SystemError? {
    guard let path else { return nil }
    switch Self.open(path) {
    case .failure(let error): return error
    case .success(let opened):
      close(descriptor)
      descriptor = opened
      isRegularFile = Self.isRegularFile(opened)
      isAtLineStart = true
      return nil
    }
  }

  /// Writes all of `bytes`, waiting for room while `giveUp` does not say otherwise; it is asked ten times a second.
  mutating func write(_ bytes: borrowing [UInt8], giveUp: () -> Bool) -> Written {
    var written = 0
    while written < bytes.count {
      guard isRegularFile || hasRoom() else {
        if giveUp() { return .gaveUp(after: written) }
        continue
      }
      let size = isRegularFile ? bytes.count - written : min(bytes.count - written, Self.atomicSize)
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + written, size) }
      if count > 0 {
        written += count
        isAtLineStart = bytes[written - 1] == UInt8(ascii: "\n")
      } else if count < 0, errno == EINTR {
        continue
      } else if count < 0, errno == EAGAIN {
        // Somebody else made it non-blocking, and poll was too hopeful.
        if giveUp() { return .gaveUp(after: written) }
      } else {
        return .failed(after: written, errno: count < 0 ? errno : EIO)
      }
    }
    return .all
  }

  /// Waits for room for a tenth of a second.
  private func hasRoom() -> Bool {
    var request = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    // An error or a hang-up counts as room: the write then says what it is.
    return poll(&request, 1, 100) > 0
  }

  private static func open(_ path: String) -> Result<Int32, SystemError> {
    let descriptor = Glibc.open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0o640)
    return descriptor >= 0 ? .success(descriptor) : .failure(SystemError("open", errno))
  }

  private static func isRegularFile(_ descriptor: Int32) -> Bool {
    var status = stat()
    return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
  }
}
