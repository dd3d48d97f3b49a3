/// Bytes that are put together piece by piece: a head, a line of a log. The memory is kept from one to the next.
///
/// An array asks at every piece who else holds it, and calls `memcpy` for a word; a head or a line has twenty pieces.
///
/// `@unchecked Sendable` is sound: the memory belongs to this value alone, which cannot be copied, and goes with it.
@usableFromInline package struct ByteBuilder: ~Copyable, @unchecked Sendable {
  @usableFromInline var base: UnsafeMutablePointer<UInt8>
  @usableFromInline var capacity: Int
  @usableFromInline package var count = 0

  package init(capacity: Int = 512) {
    self.capacity = max(capacity, 16)
    base = .allocate(capacity: self.capacity)
  }

  deinit { base.deallocate() }

  @inlinable package var isEmpty: Bool { count == 0 }

  /// What has been written. Valid until the next change.
  @inlinable package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

  @inlinable @inline(__always)
  package func withSpan<Result>(_ body: (Span<UInt8>) throws -> Result) rethrows -> Result {
    try body(UnsafeBufferPointer(start: base, count: count).span)
  }

  @inlinable package func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try body(bytes)
  }

  /// Empties it; the memory is kept.
  @inlinable package mutating func clear() { count = 0 }

  /// The place of the next `length` bytes, which the caller writes all.
  @inlinable @inline(__always)
  package mutating func extend(by length: Int) -> UnsafeMutablePointer<UInt8> {
    if length > capacity &- count { grow(by: length) }
    let place = base + count
    count &+= length
    return place
  }

  @usableFromInline @inline(never)
  mutating func grow(by length: Int) {
    let larger = max(count + length, 2 * capacity)
    let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: larger)
    memory.update(from: base, count: count)
    base.deallocate()
    base = memory
    capacity = larger
  }

  @inlinable @inline(__always)
  package mutating func append(_ byte: UInt8) { extend(by: 1).pointee = byte }

  @inlinable @inline(__always)
  package mutating func append(_ source: UnsafePointer<UInt8>, _ length: Int) {
    let place = extend(by: length)
    let (from, to) = (UnsafeRawPointer(source), UnsafeMutableRawPointer(place))
    // Most pieces are a name or a short value: two words that may overlap, and no call.
    if length > 16 {
      to.copyMemory(from: from, byteCount: length)
    } else if length >= 8 {
      let head = from.loadUnaligned(as: UInt64.self)
      let tail = from.loadUnaligned(fromByteOffset: length &- 8, as: UInt64.self)
      to.storeBytes(of: head, as: UInt64.self)
      to.storeBytes(of: tail, toByteOffset: length &- 8, as: UInt64.self)
    } else if length >= 4 {
      let head = from.loadUnaligned(as: UInt32.self)
      let tail = from.loadUnaligned(fromByteOffset: length &- 4, as: UInt32.self)
      to.storeBytes(of: head, as: UInt32.self)
      to.storeBytes(of: tail, toByteOffset: length &- 4, as: UInt32.self)
    } else {
      for i in 0..<length { place[i] = source[i] }
    }
  }

  @inlinable @inline(__always)
  package mutating func append(_ bytes: UnsafeBufferPointer<UInt8>) {
    guard let source = bytes.baseAddress else { return }
    append(source, bytes.count)
  }

  @inlinable package mutating func append(contentsOf bytes: [UInt8]) {
    bytes.withUnsafeBufferPointer { append($0) }
  }

  @inlinable package mutating func append(copying bytes: Span<UInt8>) {
    bytes.withUnsafeBufferPointer { append($0) }
  }

  @inlinable @inline(__always)
  package mutating func append(_ literal: StaticString) { append(literal.utf8Start, literal.utf8CodeUnitCount) }

  @inlinable static func decimalLength(_ value: UInt64) -> Int {
    if value < 10_000 { return value < 100 ? (value < 10 ? 1 : 2) : (value < 1000 ? 3 : 4) }
    var length = 5
    var bound: UInt64 = 100_000
    while length < 20, value >= bound {
      length += 1
      let (next, overflow) = bound.multipliedReportingOverflow(by: 10)
      if overflow { return 20 }
      bound = next
    }
    return length
  }

  /// Decimal, with leading zeros up to `digits`, which is at most 20.
  @inlinable package mutating func append(decimal value: UInt64, digits: Int = 1) {
    if value < 10, digits <= 1 { return append(UInt8(truncatingIfNeeded: 48 &+ value)) }
    if value < 10_000, digits <= 4 { return append(fewDigits: UInt32(truncatingIfNeeded: value), digits) }
    if value < 100_000_000, digits <= 4 {
      let high = value / 10_000
      append(fewDigits: UInt32(truncatingIfNeeded: high), 1)
      return append(fewDigits: UInt32(truncatingIfNeeded: value &- high &* 10_000), 4)
    }
    let length = max(Self.decimalLength(value), digits)
    let room = UnsafeMutableRawPointer(extend(by: length))
    let pairs = UnsafeRawPointer(Self.pairs.utf8Start)
    // Backwards, two digits at a time: divided by a constant, which costs a multiplication.
    var rest = value
    var place = length
    while place >= 2 {
      let next = rest / 100
      place &-= 2
      let pair = Int(truncatingIfNeeded: rest &- next &* 100) &* 2
      room.storeBytes(
        of: pairs.loadUnaligned(fromByteOffset: pair, as: UInt16.self), toByteOffset: place, as: UInt16.self)
      rest = next
    }
    if place > 0 { room.storeBytes(of: UInt8(truncatingIfNeeded: 48 &+ rest % 10), as: UInt8.self) }
  }

  /// Below 10,000: four digits are written, and the first ones are given back.
  @inlinable @inline(__always)
  mutating func append(fewDigits value: UInt32, _ digits: Int) {
    let needed = value < 100 ? (value < 10 ? 1 : 2) : (value < 1000 ? 3 : 4)
    let length = max(needed, digits)
    let pairs = UnsafeRawPointer(Self.pairs.utf8Start)
    let high = value / 100
    let first = pairs.loadUnaligned(fromByteOffset: Int(high) &* 2, as: UInt16.self)
    let second = pairs.loadUnaligned(fromByteOffset: Int(value &- high &* 100) &* 2, as: UInt16.self)
    // In the order of memory: what stands first is lowest.
    let four = UInt32(UInt16(littleEndian: first)) | UInt32(UInt16(littleEndian: second)) &<< 16
    let room = UnsafeMutableRawPointer(extend(by: 4))
    room.storeBytes(of: (four &>> UInt32(truncatingIfNeeded: 32 &- 8 &* length)).littleEndian, as: UInt32.self)
    count &-= 4 &- length
  }

  /// `00` to `99`.
  @usableFromInline static var pairs: StaticString {
    """
    00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748\
    495051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899
    """
  }

  /// An IPv4 address from its bits in host order.
  package mutating func append(dottedQuad bits: UInt32) {
    let room = extend(by: 15)
    var place = 0
    var rest = bits
    for octet in 0..<4 {
      let value = UInt8(truncatingIfNeeded: rest &>> 24)
      rest &<<= 8
      if octet > 0 {
        room[place] = UInt8(ascii: ".")
        place &+= 1
      }
      let (hundreds, tens, ones) = (value / 100, value / 10 % 10, value % 10)
      if hundreds > 0 {
        room[place] = 48 &+ hundreds
        place &+= 1
      }
      if value >= 10 {
        room[place] = 48 &+ tens
        place &+= 1
      }
      room[place] = 48 &+ ones
      place &+= 1
    }
    count &-= 15 &- place
  }
}
