internal import CShim
internal import Glibc
internal import Pipeline

/// What tells that a file has changed, without reading it.
struct FileStamp: Sendable, Hashable {
  var size: Int64
  var seconds: Int64
  var nanoseconds: Int32
  var inode: UInt64
  var device: UInt64
}

/// A small file, read in one go. Blocks: for the offload pool and for the start.
struct FileContents: Sendable, Hashable {
  var stamp: FileStamp
  var bytes: [UInt8]

  /// - Throws: ``FileTrouble``, which names the file.
  static func read(_ path: String, atMost limit: Int) throws -> FileContents {
    try withOpen(path) { descriptor, stamp in
      guard stamp.size <= limit else {
        throw FileTrouble(path: path, why: "it has \(stamp.size) bytes; at most \(limit) are read")
      }
      // One more than it has: it may grow meanwhile, which its new stamp tells.
      var bytes = [UInt8](repeating: 0, count: Int(stamp.size) + 1)
      var filled = 0
      while filled < bytes.count {
        let count = shim_read_at(descriptor, &bytes, filled, bytes.count - filled, Int64(filled))
        if count < 0 { throw FileTrouble(path: path, why: "\(SystemError("read", errno))") }
        if count == 0 { break }
        filled += count
      }
      bytes.removeLast(bytes.count - filled)
      return FileContents(stamp: stamp, bytes: bytes)
    }
  }

  /// `nil` where there is no such file.
  static func readIfThere(_ path: String, atMost limit: Int) throws -> FileContents? {
    do {
      return try read(path, atMost: limit)
    } catch let trouble as FileTrouble where trouble.isMissing {
      return nil
    }
  }

  /// - Throws: ``FileTrouble``.
  static func stamp(of path: String) throws -> FileStamp { try withOpen(path) { $1 } }

  private static func withOpen<Result>(_ path: String, _ body: (Int32, FileStamp) throws -> Result) throws -> Result {
    // A FIFO must not block who opens it.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      let code = errno
      throw FileTrouble(path: path, why: "\(SystemError("open", code))", isMissing: code == ENOENT)
    }
    defer { close(descriptor) }
    var status = shim_file()
    guard shim_file_status(descriptor, &status) == 0 else {
      throw FileTrouble(path: path, why: "\(SystemError("fstat", errno))")
    }
    guard Int(status.kind) == SHIM_FILE_REGULAR else { throw FileTrouble(path: path, why: "it is no regular file") }
    let stamp = FileStamp(
      size: status.size, seconds: status.modified_seconds, nanoseconds: status.modified_nanoseconds,
      inode: status.inode, device: status.device)
    return try body(descriptor, stamp)
  }
}

/// Why a file cannot be had, in one sentence.
struct FileTrouble: Error, Hashable, CustomStringConvertible {
  var path: String
  var why: String
  var isMissing = false

  var description: String { "\(path): \(why)" }
}
