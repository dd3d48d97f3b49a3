internal import CShim
internal import Glibc
internal import Pipeline

/// A directory, and the one way to open what lies below it. Blocks: for the offload pool.
struct FileTree: Sendable {
  enum Found: Sendable {
    case file(OpenFile)
    case directory
    case nothing
    /// It is there, and may not be read.
    case refused
  }

  let directory: String
  private let followsLinks: Bool
  /// Whether the kernel is asked to resolve paths; tests say no.
  private let usesOpenat2: Bool

  init(_ directory: String, followsLinks: Bool = true, usesOpenat2: Bool = true) {
    self.directory = directory
    self.followsLinks = followsLinks
    self.usesOpenat2 = usesOpenat2
  }

  /// Why nothing can be served from here.
  var problem: String? {
    guard let root = openRoot() else {
      return "the directory \"\(directory)\" cannot be opened: \(String(cString: strerror(errno)))"
    }
    close(root)
    return nil
  }

  /// Opens a regular file, or the first of its siblings that is there.
  ///
  /// - Parameter limit: a file up to this size is read at once.
  /// - Throws: `Rejection`: `overloaded` when the process has no descriptor left, `internalError` for a failing disk.
  func open(_ path: FilePath, siblings: [Files.Encoding], readingUpTo limit: Int) throws -> Found {
    guard let root = openRoot() else { throw Self.failure("the directory \(directory) cannot be opened") }
    defer { close(root) }
    let found = try open(path, suffix: "", encoding: nil, below: root)
    guard case .file(var file) = found else { return found }
    for encoding in siblings {
      if case .file(let sibling) = try open(path, suffix: encoding.suffix, encoding: encoding, below: root) {
        file = sibling
        break
      }
    }
    if limit > 0, file.size <= UInt64(limit) { try file.readAhead() }
    return .file(file)
  }

  private func openRoot() -> Int32? {
    let descriptor = shim_open_directory(Array(directory.utf8) + [0])
    return descriptor >= 0 ? descriptor : nil
  }

  private func open(
    _ path: FilePath, suffix: String, encoding: Files.Encoding?, below root: Int32
  ) throws -> Found {
    let descriptor = openBeneath(root, path, suffix)
    guard descriptor >= 0 else {
      switch errno {
      // EXDEV, ELOOP: out of the directory, or through a link that is not followed. ENXIO: a socket.
      case ENOENT, ENOTDIR, ELOOP, EXDEV, ENAMETOOLONG, ENXIO, EINVAL: return .nothing
      case EACCES, EPERM: return .refused
      case EMFILE, ENFILE: throw Rejection(.overloaded, detail: "no descriptor is left to open a file")
      default: throw Self.failure("a file cannot be opened")
      }
    }
    guard let file = OpenFile(descriptor, encoding: encoding) else { throw Self.failure("a file cannot be looked at") }
    return switch file.kind {
    case .regular: .file(file)
    case .directory: .directory
    case .other: .nothing
    }
  }

  private func openBeneath(_ root: Int32, _ path: FilePath, _ suffix: String) -> Int32 {
    if usesOpenat2 {
      let descriptor = shim_open_beneath(root, path.bytes(suffix: suffix), followsLinks ? 1 : 0)
      if descriptor >= 0 || (errno != ENOSYS && errno != EPERM) { return descriptor }
    }
    return walk(root, path, suffix)
  }

  /// Step by step, for kernels and sandboxes without openat2. Follows no link, so none can lead out.
  private func walk(_ root: Int32, _ path: FilePath, _ suffix: String) -> Int32 {
    var below = root
    defer { if below != root { close(below) } }
    for (i, name) in path.names.enumerated() {
      let isLast = i == path.names.count - 1
      let next = shim_open_step(below, name + (isLast ? Array(suffix.utf8) : []) + [0], isLast ? 1 : 0)
      if isLast || next < 0 { return next }
      if below != root { close(below) }
      below = next
    }
    return shim_open_step(root, [UInt8(ascii: "."), 0], 1)
  }

  private static func failure(_ what: String) -> Rejection {
    Rejection(.internalError, detail: "\(what): \(String(cString: strerror(errno)))")
  }
}
