internal import Glibc
internal import Pipeline

/// Goes through the lines of a head without a copy: what it finds are ranges of the bytes.
struct FieldCursor {
  private var position = 0
  /// Of the line that `next` found: its name, and its value without the white space around it.
  private(set) var name = 0..<0
  private(set) var value = 0..<0

  /// Moves to the next line; false when there is none.
  ///
  /// - Parameter bytes: `name: value CRLF`, again and again, as `HeaderFields` keeps them.
  mutating func next(in bytes: borrowing Span<UInt8>) -> Bool {
    guard position < bytes.count else { return false }
    let start = position
    // Sound: both searches stay within the span, which is borrowed for the closure.
    let (colon, newline) = bytes.withUnsafeBufferPointer { buffer -> (Int, Int) in
      let base = UnsafeRawPointer(buffer.baseAddress!)
      func find(_ byte: Int32, before end: Int) -> Int {
        memchr(base + start, byte, end - start).map { UnsafeRawPointer($0) - base } ?? end
      }
      let newline = find(10, before: buffer.count)
      return (find(58, before: newline), newline)
    }
    name = start..<colon
    var first = min(colon + 1, newline)
    var last = newline
    while first < last, Self.isBlank(bytes[first]) { first += 1 }
    while last > first, Self.isBlank(bytes[last - 1]) { last -= 1 }
    value = first..<last
    position = min(newline + 1, bytes.count)
    return true
  }

  /// White space, and the CR of the line end.
  private static func isBlank(_ byte: UInt8) -> Bool { byte == 32 || byte == 9 || byte == 13 }
}
