internal import Glibc

/// Reads a key set from a file, no more of it than a key set may have.
enum KeyFile {
  static func read(_ path: String) throws(JWTKeyError) -> [UInt8] {
    guard let file = fopen(path, "rbe") else {
      throw JWTKeyError("it cannot be opened: \(String(cString: strerror(errno)))")
    }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: JWKSet.maxBytes + 1)
    let count = fread(&bytes, 1, bytes.count, file)
    guard ferror(file) == 0 else { throw JWTKeyError("it cannot be read: \(String(cString: strerror(errno)))") }
    bytes.removeSubrange(count...)
    return bytes
  }
}
