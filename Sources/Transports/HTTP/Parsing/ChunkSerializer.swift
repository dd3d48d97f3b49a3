internal import Pipeline

/// Writes what stands around the data of a chunked body (RFC 9112, 7.1).
enum ChunkSerializer {
  /// Appends the line before `length` bytes of data, which must not be 0: that would be the end.
  static func appendHead<Wire: WireSink & ~Copyable>(_ length: Int, to wire: inout Wire) {
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
  static func appendEnd<Wire: WireSink & ~Copyable>(to wire: inout Wire) { wire.append("\r\n") }

  /// Appends the last chunk.
  static func appendLast<Wire: WireSink & ~Copyable>(trailers: HeaderFields = HeaderFields(), to wire: inout Wire) {
    wire.append("0\r\n")
    trailers.withWireBytes { wire.append(copying: $0) }
    wire.append("\r\n")
  }
}
