import Glibc

/// Files that settings are read from.
enum SettingsFile {
  /// More than anybody writes by hand.
  static let sizeLimit = 1 << 20

  /// - Returns: `nil` where there is no such file.
  /// - Throws: ``SettingsError`` for one that cannot be read, or is too long.
  static func bytes(_ path: String) throws -> [UInt8]? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else {
      if errno == ENOENT { return nil }
      throw SettingsError("\(path): it cannot be read: \(String(cString: strerror(errno)))")
    }
    defer { close(file) }
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = read(file, &piece, piece.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw SettingsError("\(path): it cannot be read: \(String(cString: strerror(errno)))") }
      if count == 0 { return bytes }
      bytes += piece[..<count]
      guard bytes.count <= sizeLimit else {
        throw SettingsError("\(path): it is longer than \(sizeLimit) bytes; is it the settings file?")
      }
    }
  }
}
