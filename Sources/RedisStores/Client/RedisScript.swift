public import Pipeline

/// A Lua script that the server keeps under the hash of its text.
///
/// It is called by its hash, one round trip; a server that does not know it (NOSCRIPT: it was restarted, or another node took
/// over) gets the text with the same call, and keeps it from then on.
public struct RedisScript: Sendable {
  public let source: String
  /// SHA-1 of the text in hexadecimal digits, as Redis names scripts.
  public let digest: String

  public init(_ source: String) {
    self.source = source
    digest = SHA1.hexDigest(of: Array(source.utf8))
  }

  func call(_ keys: [[UInt8]], _ arguments: [RedisWord]) -> RedisCommand {
    RedisCommand("EVALSHA", words: [.text(digest), .integer(keys.count)] + keys.map { .key($0) } + arguments)
  }

  func load(_ keys: [[UInt8]], _ arguments: [RedisWord]) -> RedisCommand {
    RedisCommand("EVAL", words: [.text(source), .integer(keys.count)] + keys.map { .key($0) } + arguments)
  }
}

extension RedisClient {
  /// Runs a script. In a cluster all keys must live in one slot.
  ///
  /// - Throws: as ``send(_:on:)-(RedisCommand,_)``.
  public func run(
    _ script: RedisScript, keys: [[UInt8]], arguments: [RedisWord] = [], on exchange: Exchange? = nil
  ) async throws -> RESPValue {
    do {
      return try await send(script.call(keys, arguments), on: exchange)
    } catch RedisError.server(let error) where error.code == "NOSCRIPT" {
      return try await send(script.load(keys, arguments), on: exchange)
    }
  }
}

/// SHA-1 (FIPS 180-4), which is no protection here but the name that Redis gives to scripts.
enum SHA1 {
  static func hexDigest(of message: [UInt8]) -> String {
    var state: [UInt32] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0]
    var padded = message + [0x80]
    while padded.count % 64 != 56 { padded.append(0) }
    let bits = UInt64(message.count) * 8
    for shift in stride(from: 56, through: 0, by: -8) {
      padded.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift)))
    }
    for start in stride(from: 0, to: padded.count, by: 64) { mix(padded[start..<start + 64], into: &state) }
    var digest: [UInt8] = []
    for word in state {
      for shift in stride(from: 28, through: 0, by: -4) {
        digest.append(Array("0123456789abcdef".utf8)[Int(word >> UInt32(shift) & 15)])
      }
    }
    return String(decoding: digest, as: UTF8.self)
  }

  private static func mix(_ block: ArraySlice<UInt8>, into state: inout [UInt32]) {
    var words = [UInt32](repeating: 0, count: 80)
    for index in 0..<16 {
      for byte in 0..<4 { words[index] = words[index] << 8 | UInt32(block[block.startIndex + 4 * index + byte]) }
    }
    for index in 16..<80 {
      words[index] = rotated(words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16], by: 1)
    }
    var (a, b, c, d, e) = (state[0], state[1], state[2], state[3], state[4])
    for index in 0..<80 {
      let (mixed, constant): (UInt32, UInt32)
      switch index {
      case 0..<20: (mixed, constant) = (b & c | ~b & d, 0x5a82_7999)
      case 20..<40: (mixed, constant) = (b ^ c ^ d, 0x6ed9_eba1)
      case 40..<60: (mixed, constant) = (b & c | b & d | c & d, 0x8f1b_bcdc)
      case 60...: (mixed, constant) = (b ^ c ^ d, 0xca62_c1d6)
      default: preconditionFailure("80 rounds")
      }
      let next = rotated(a, by: 5) &+ mixed &+ e &+ constant &+ words[index]
      (a, b, c, d, e) = (next, a, rotated(b, by: 30), c, d)
    }
    state[0] &+= a
    state[1] &+= b
    state[2] &+= c
    state[3] &+= d
    state[4] &+= e
  }

  private static func rotated(_ word: UInt32, by count: UInt32) -> UInt32 { word << count | word >> (32 - count) }
}
