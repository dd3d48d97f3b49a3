import Glibc

/// Files that only their owner may read.
enum PrivateFile {
  private static let sizeLimit = 64 << 20

  /// The text of a file of mode 0600.
  ///
  /// - Parameter place: what names the file to the user, for the errors: `--users`.
  /// - Throws: ``SettingsError`` for a file that cannot be read, that others can read or write, or that is no text.
  static func read(_ path: String, place: String) throws -> String {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw SettingsError("\(place): \(path) cannot be read: \(reason())") }
    defer { close(file) }
    _ = try check(file, path, place: place)
    return try text(of: file, path, place: place)
  }

  /// Replaces the text by what `edit` makes of it, so that whoever reads the file sees the old text or the new one, never a part,
  /// also after a power cut. Two that replace it at once wait for each other.
  ///
  /// - Parameters:
  ///   - makesFile: a file that is not there is made.
  ///   - edit: `nil`: nothing is to be changed.
  /// - Returns: whether it was changed.
  /// - Throws: ``SettingsError``, and what `edit` throws; the file is then as it was.
  static func replace(
    _ path: String, place: String, makesFile: Bool, edit: (String) throws -> String?
  ) throws -> Bool {
    let path = try resolved(path, place: place)
    // The file itself is replaced, so the lock is a file beside it. It stays: removing it would let two have it at once.
    let lock = open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard lock >= 0 else { throw SettingsError("\(place): \(path).lock cannot be opened: \(reason())") }
    defer { close(lock) }
    while flock(lock, LOCK_EX) != 0 {
      guard errno == EINTR else { throw SettingsError("\(place): \(path).lock cannot be locked: \(reason())") }
    }
    var old = ""
    var owner: (uid_t, gid_t)?
    let file = open(path, O_RDONLY | O_CLOEXEC)
    if file >= 0 {
      defer { close(file) }
      let status = try check(file, path, place: place)
      owner = (status.st_uid, status.st_gid)
      old = try text(of: file, path, place: place)
    } else if errno != ENOENT || !makesFile {
      throw SettingsError("\(place): \(path) cannot be read: \(reason())")
    }
    guard let new = try edit(old) else { return false }
    try write(new, to: path, place: place, owner: owner)
    return true
  }

  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 || errno != ENOENT }

  /// The path from the root, for who works in another directory.
  static func absolute(_ path: String) -> String {
    guard let found = realpath(path, nil) else { return path }
    defer { free(found) }
    return String(cString: found)
  }

  /// Whether two paths lead to one file.
  static func areSame(_ a: String, _ b: String) -> Bool {
    var first = stat()
    var second = stat()
    guard stat(a, &first) == 0, stat(b, &second) == 0 else { return a == b }
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino
  }

  // MARK: -

  /// Where a symbolic link leads: the file is replaced, not the link.
  private static func resolved(_ path: String, place: String) throws -> String {
    guard let found = realpath(path, nil) else {
      guard errno == ENOENT else { throw SettingsError("\(place): \(path) cannot be reached: \(reason())") }
      return path
    }
    defer { free(found) }
    return String(cString: found)
  }

  private static func check(_ file: Int32, _ path: String, place: String) throws -> stat {
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw SettingsError("\(place): \(path) is not a regular file")
    }
    guard status.st_mode & 0o077 == 0 else {
      let mode = String(status.st_mode & 0o777, radix: 8)
      throw SettingsError(
        "\(place): \(path) has mode 0\(mode), so others can read it; allowed is 0600: chmod 600 \(path)")
    }
    guard status.st_size <= sizeLimit else {
      throw SettingsError("\(place): \(path) has \(status.st_size) bytes; allowed are at most \(sizeLimit)")
    }
    return status
  }

  private static func text(of file: Int32, _ path: String, place: String) throws -> String {
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = Glibc.read(file, &piece, piece.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw SettingsError("\(place): \(path) cannot be read: \(reason())") }
      if count == 0 { break }
      bytes += piece[..<count]
      guard bytes.count <= sizeLimit else {
        throw SettingsError("\(place): \(path) grows while it is read; allowed are at most \(sizeLimit) bytes")
      }
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw SettingsError("\(place): \(path) is not UTF-8 text")
    }
    return text
  }

  private static func write(_ text: String, to path: String, place: String, owner: (uid_t, gid_t)?) throws {
    let temporary = "\(path).new-\(getpid())"
    // What a killed writer with this number has left.
    unlink(temporary)
    // 0600 from the first moment, whatever the umask is.
    let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard file >= 0 else { throw SettingsError("\(place): \(temporary) cannot be made: \(reason())") }
    do {
      defer { close(file) }
      // Root may edit the file of a service, which has to be able to read it afterwards.
      if let owner, owner != (geteuid(), getegid()), fchown(file, owner.0, owner.1) != 0 {
        throw SettingsError("\(place): \(temporary) cannot be given to the owner of \(path): \(reason())")
      }
      let bytes = Array(text.utf8)
      var written = 0
      while written < bytes.count {
        let count = bytes[written...].withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
        if count < 0, errno == EINTR { continue }
        guard count >= 0 else { throw SettingsError("\(place): \(temporary) cannot be written: \(reason())") }
        written += count
      }
      guard fsync(file) == 0 else { throw SettingsError("\(place): \(temporary) cannot be written: \(reason())") }
      guard rename(temporary, path) == 0 else {
        throw SettingsError("\(place): \(path) cannot be replaced: \(reason())")
      }
    } catch {
      unlink(temporary)
      throw error
    }
    // The name is safe when the directory is.
    let parent = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let directory = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { return }
    fsync(directory)
    close(directory)
  }

  private static func reason() -> String { String(cString: strerror(errno)) }
}
