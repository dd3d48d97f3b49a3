/// What a transport does with fields: whole lines in, whole lines out.
extension HeaderFields {
  /// Appends lines (`name: value CRLF` each) that a parser has checked, in one copy.
  package mutating func append(lines: Span<UInt8>) {
    forgetNames()
    bytes.append(copying: lines)
  }

  /// Appends a line that was parsed (`name: value`), without its line end.
  package mutating func append(line: Span<UInt8>) {
    forgetNames()
    bytes.append(copying: line)
    end()
  }

  /// Appends a field that a parser has checked: a token, and a value without control characters.
  package mutating func append(name: Span<UInt8>, value: Span<UInt8>) {
    forgetNames()
    bytes.append(copying: name)
    bytes.append(UInt8(ascii: ":"))
    bytes.append(32)
    bytes.append(copying: value)
    end()
  }

  /// Says that a field of the connection is among the lines, so that whoever writes them looks.
  package mutating func noteConnectionField() { mayHoldConnectionFields = true }

  /// Bytes of all lines.
  package var wireCount: Int { bytes.count }

  /// Calls `body` for each line with the whole of it, its line end included, and the length of the name.
  package func forEachLine(_ body: (_ line: Span<UInt8>, _ nameLength: Int) throws -> Void) rethrows {
    let all = bytes.span
    var begin = 0
    while begin < all.count {
      let end = endOfLine(from: begin) + 1
      let line = all.extracting(begin..<end)
      var colon = 0
      while line[colon] != UInt8(ascii: ":") { colon += 1 }
      try body(line, colon)
      begin = end
    }
  }

  /// The index of the line feed that ends the line; every line has one. Eight bytes at a time: every look-up of a field
  /// passes over the lines before it.
  func endOfLine(from start: Int) -> Int {
    let all = bytes.span.bytes
    let ones: UInt64 = 0x0101_0101_0101_0101
    var i = start
    while i + 8 <= all.byteCount {
      // Any bit pattern is a UInt64, and the span checks the bounds.
      let word = UInt64(littleEndian: all.unsafeLoadUnaligned(fromByteOffset: i, as: UInt64.self)) ^ (ones &* 10)
      let zeros = (word &- ones) & ~word & (ones &* 0x80)
      if zeros != 0 { return i + zeros.trailingZeroBitCount / 8 }
      i += 8
    }
    let tail = bytes.span
    while tail[i] != 10 { i += 1 }
    return i
  }
}

extension HeaderName {
  /// Whether the transport writes this field itself: the framing, and what concerns one connection (RFC 9110, 7.6.1).
  var isOfConnection: Bool {
    switch count {
    case 2: isOne(of: "te")
    case 6: isOne(of: "expect")
    case 7: isOne(of: "trailer") || isOne(of: "upgrade")
    case 10: isOne(of: "connection") || isOne(of: "keep-alive")
    case 14: isOne(of: "content-length")
    case 16: isOne(of: "proxy-connection")
    case 17: isOne(of: "transfer-encoding")
    default: false
    }
  }

  private func isOne(of name: StaticString) -> Bool {
    name.withUTF8Buffer { matches($0.span) }
  }
}

extension [UInt8] {
  /// Appends in one copy.
  package mutating func append(copying bytes: Span<UInt8>) {
    // The pointer does not leave the call, and the array copies before it ends.
    bytes.withUnsafeBufferPointer { append(contentsOf: $0) }
  }
}
