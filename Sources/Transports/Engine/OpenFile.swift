internal import CShim
internal import Glibc
internal import Pipeline
internal import Synchronization

/// An open file and what it was when it was opened. Closed when nobody holds it any longer, on whatever path.
final class OpenFile: Sendable {
  enum Kind: Sendable {
    case regular, directory, other
  }

  let kind: Kind
  let size: UInt64
  /// Seconds since 1970; never in the future (RFC 9110, 8.8.2.1).
  let lastModified: Int64
  /// The entity tag, with its quotes: weak while another change could come within the same tick of the clock.
  let tag: String
  let encoding: Files.Encoding?
  private let descriptor: Int32
  /// The memory for the pieces, which the loop and the pool hand to each other.
  private let buffer = Mutex<[UInt8]>([])
  private let ahead = Mutex<[UInt8]?>(nil)

  /// Takes the descriptor over. `nil` when it cannot be looked at; errno says why.
  init?(_ descriptor: Int32, encoding: Files.Encoding?) {
    self.descriptor = descriptor
    self.encoding = encoding
    var status = shim_file()
    guard shim_file_status(descriptor, &status) == 0 else {
      let reason = errno
      close(descriptor)
      errno = reason
      return nil
    }
    kind =
      switch Int(status.kind) {
      case SHIM_FILE_REGULAR: .regular
      case SHIM_FILE_DIRECTORY: .directory
      default: .other
      }
    size = UInt64(max(0, status.size))
    let now = UnixTime.systemTime.seconds
    lastModified = min(status.modified_seconds, now)
    // RFC 9110, 8.8.2.2: a second change within the resolution of the clock would leave the time as it is.
    let isSettled = status.modified_seconds < now - 1
    let seconds = String(UInt64(bitPattern: status.modified_seconds), radix: 16)
    let nanoseconds = String(status.modified_nanoseconds, radix: 16)
    let identity = String(status.inode, radix: 16) + "-" + String(size, radix: 16)
    tag = "\(isSettled ? "" : "W/")\"\(seconds).\(nanoseconds)-\(identity)\""
  }

  deinit { close(descriptor) }

  /// Reads all of a small file.
  ///
  /// - Throws: `Rejection(.internalError)`.
  func readAhead() throws {
    try read(Int(size), at: 0)
    let bytes = takePiece()
    // It shrank since it was opened: the next read shall find that out.
    if bytes.count == Int(size) { ahead.withLock { $0 = bytes } }
  }

  /// What was read when it was opened.
  func takeAhead() -> [UInt8]? {
    ahead.withLock { bytes in
      defer { bytes = nil }
      return bytes
    }
  }

  /// Reads a piece, which ``takePiece()`` takes: less than `count` only where the file ends.
  ///
  /// - Throws: `Rejection(.internalError)`.
  func read(_ count: Int, at offset: UInt64) throws {
    try buffer.withLock { buffer in
      if buffer.count != count { buffer = [UInt8](repeating: 0, count: count) }
      var filled = 0
      while filled < count {
        let got = shim_read_at(descriptor, &buffer, filled, count - filled, Int64(offset) + Int64(filled))
        if got < 0 {
          throw Rejection(.internalError, detail: "a file cannot be read: \(String(cString: strerror(errno)))")
        }
        if got == 0 { break }
        filled += got
      }
      if filled < count { buffer.removeLast(count - filled) }
    }
  }

  func takePiece() -> [UInt8] {
    buffer.withLock { buffer in
      var piece: [UInt8] = []
      swap(&piece, &buffer)
      return piece
    }
  }

  /// The memory serves the next piece.
  func giveBack(_ piece: consuming [UInt8]) {
    var piece = piece
    buffer.withLock { swap(&piece, &$0) }
  }
}
