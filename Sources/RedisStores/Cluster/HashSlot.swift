/// Which of the 16,384 parts of a Redis Cluster a key lives in.
///
/// Redis Cluster specification, "Key distribution model" and "Hash tags".
struct HashSlot: Hashable, Sendable, CustomStringConvertible {
  static let count = 16_384

  /// 0..<16,384.
  let number: UInt16

  init(number: UInt16) { self.number = number }

  /// By the first non-empty part of the key between `{` and the next `}`, else by the whole key: keys with one tag live
  /// together.
  init(of key: [UInt8]) {
    var hashed = key[...]
    if let open = key.firstIndex(of: UInt8(ascii: "{")) {
      let rest = key[(open + 1)...]
      if let close = rest.firstIndex(of: UInt8(ascii: "}")), close > rest.startIndex { hashed = rest[..<close] }
    }
    number = Self.crc16(hashed) % UInt16(Self.count)
  }

  var description: String { "\(number)" }

  /// CRC-16/XMODEM: polynomial 0x1021, start value 0.
  static func crc16(_ bytes: some Sequence<UInt8>) -> UInt16 {
    var crc: UInt16 = 0
    for byte in bytes { crc = crc << 8 ^ table[Int(UInt8(crc >> 8) ^ byte)] }
    return crc
  }

  private static let table: [UInt16] = (0..<256).map { index in
    var crc = UInt16(index) << 8
    for _ in 0..<8 { crc = crc & 0x8000 != 0 ? crc << 1 ^ 0x1021 : crc << 1 }
    return crc
  }
}
