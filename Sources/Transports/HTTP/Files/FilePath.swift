internal import Pipeline

/// The path of a request as names below a directory. Pure: knows no file.
struct FilePath: Sendable, Hashable {
  /// Neither empty, nor `.` or `..`; without `/` and NUL.
  private(set) var names: [[UInt8]] = []
  /// Whether it ends in `/`.
  let isDirectory: Bool

  /// - Parameter shown: names that begin with a dot and may be seen all the same.
  /// - Throws: `Rejection`: `malformed` for dot segments and a broken percent-encoding, `noRoute` for a name that no file can
  ///   have, or that is hidden.
  init(_ path: borrowing Span<UInt8>, showing shown: Set<String>) throws {
    isDirectory = path.isEmpty || path[path.count - 1] == UInt8(ascii: "/")
    var begin = 0
    while begin < path.count {
      var end = begin
      while end < path.count, path[end] != UInt8(ascii: "/") { end += 1 }
      if end > begin { names.append(try Self.name(path.extracting(begin..<end), shown)) }
      begin = end + 1
    }
  }

  private init(names: [[UInt8]]) {
    self.names = names
    isDirectory = false
  }

  /// A file in the directory that this is.
  func appending(_ name: String) -> FilePath { FilePath(names: names + [Array(name.utf8)]) }

  /// Relative, with NUL at its end; `suffix` is appended to the last name. `.` for the directory itself.
  func bytes(suffix: String = "") -> [UInt8] {
    var bytes: [UInt8] = []
    for name in names {
      if !bytes.isEmpty { bytes.append(UInt8(ascii: "/")) }
      bytes.append(contentsOf: name)
    }
    if bytes.isEmpty { bytes.append(UInt8(ascii: ".")) }
    bytes.append(contentsOf: suffix.utf8)
    bytes.append(0)
    return bytes
  }

  /// What follows the last dot of the last name, in lower case; "" without one.
  var fileExtension: String {
    guard let last = names.last, let dot = last.lastIndex(of: UInt8(ascii: ".")), dot > 0 else { return "" }
    return String(decoding: last[(dot + 1)...], as: UTF8.self).lowercased()
  }

  private static func name(_ segment: borrowing Span<UInt8>, _ shown: Set<String>) throws -> [UInt8] {
    var name: [UInt8] = []
    name.reserveCapacity(segment.count)
    var i = 0
    while i < segment.count {
      var byte = segment[i]
      i += 1
      if byte == UInt8(ascii: "%") {
        guard i + 1 < segment.count, let high = digit(segment[i]), let low = digit(segment[i + 1]) else {
          throw Rejection(.malformed, detail: "the path has a broken percent-encoding")
        }
        byte = high << 4 | low
        i += 2
      }
      // An encoded slash would begin another name, and NUL ends every name.
      if byte == 0 || byte == UInt8(ascii: "/") { throw Rejection(.noRoute, detail: "no file can have this name") }
      name.append(byte)
    }
    if name == [UInt8(ascii: ".")] || name == [UInt8(ascii: "."), UInt8(ascii: ".")] {
      throw Rejection(.malformed, detail: "the path has dot segments")
    }
    if name.first == UInt8(ascii: "."), !shown.contains(String(decoding: name, as: UTF8.self)) {
      throw Rejection(.noRoute, detail: "names that begin with a dot are hidden")
    }
    return name
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
