internal import Pipeline

/// What a head, or what stands around a chunk, is written to: an array, or the builder that a loop keeps for it.
protocol WireSink: ~Copyable {
  mutating func append(_ byte: UInt8)
  mutating func append(_ literal: StaticString)
  mutating func append(contentsOf bytes: [UInt8])
  mutating func append(copying bytes: Span<UInt8>)
  mutating func append(decimal value: UInt64)
  /// Makes room at once for what is to be appended.
  mutating func reserveRoom(for count: Int)
}

extension [UInt8]: WireSink {
  mutating func append(_ bytes: borrowing Span<UInt8>) {
    bytes.withUnsafeBufferPointer { append(contentsOf: $0) }
  }

  mutating func append(_ literal: StaticString) {
    literal.withUTF8Buffer { append(contentsOf: $0) }
  }

  mutating func append(decimal value: UInt64) {
    if value >= 10 { append(decimal: value / 10) }
    append(UInt8(ascii: "0") + UInt8(value % 10))
  }

  /// More than asked for where it has to grow: the buffer is reused.
  mutating func reserveRoom(for count: Int) {
    let needed = self.count + count
    if needed > capacity { reserveCapacity(Swift.max(needed, 2 * capacity)) }
  }
}

extension ByteBuilder: WireSink {
  mutating func append(decimal value: UInt64) { append(decimal: value, digits: 1) }

  mutating func reserveRoom(for count: Int) {}
}
