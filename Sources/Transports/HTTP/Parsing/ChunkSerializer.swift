internal import Pipeline

/// Writes what stands around the data of a chunked body (RFC 9112, 7.1).
enum ChunkSerializer {
  /// Appends the line before `length` bytes of data, which must not be 0: that would be the end.
  static func appendHead(_ length: Int, to wire: inout [UInt8]) {
    precondition(length > 0, "a chunk of no bytes ends the body")
    var shift = (63 - length.leadingZeroBitCount) / 4 * 4
    while shift >= 0 {
      let digit = UInt8(truncatingIfNeeded: length >> shift) & 15
      wire.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
      shift -= 4
    }
    wire.append("\r\n")
  }

  /// Appends what ends the data of a chunk.
  static func appendEnd(to wire: inout [UInt8]) { wire.append("\r\n") }

  /// Appends the last chunk.
  static func appendLast(trailers: HeaderFields = HeaderFields(), to wire: inout [UInt8]) {
    wire.append("0\r\n")
    trailers.appendLines(to: &wire)
    wire.append("\r\n")
  }
}

extension [UInt8] {
  /// Makes room at once for what is to be appended, and more than asked for where it has to grow: the buffer is reused.
  mutating func reserveRoom(for count: Int) {
    let needed = self.count + count
    if needed > capacity { reserveCapacity(Swift.max(needed, 2 * capacity)) }
  }
}
