internal import COpenSSL
internal import Middlewares

/// HMAC-SHA-256 (RFC 2104) under one key, without an allocation per digest: the two states that depend on the key alone
/// are computed once, and each digest works on copies of them.
struct KeyedDigest: Sendable {
  private static let blockSize = 64

  private let inner: SHA256_CTX
  private let outer: SHA256_CTX

  init(key: [UInt8]) {
    precondition(key.count <= Self.blockSize, "the key has \(key.count) bytes: at most 64 are allowed")
    inner = Self.state(key, paddedWith: 0x36)
    outer = Self.state(key, paddedWith: 0x5c)
  }

  private static func state(_ key: [UInt8], paddedWith pad: UInt8) -> SHA256_CTX {
    let block = (0..<blockSize).map { ($0 < key.count ? key[$0] : 0) ^ pad }
    var state = SHA256_CTX()
    SHA256_Init(&state)
    SHA256_Update(&state, block, block.count)
    return state
  }

  /// The HMAC of the first field's length, the first field and the second field; without the length, `ab` + `c` would be
  /// the same as `a` + `bc`.
  func digest(_ first: [UInt8], _ second: [UInt8]) -> PasswordDigest {
    var state = inner
    var length = UInt64(first.count)
    SHA256_Update(&state, &length, MemoryLayout<UInt64>.size)
    return finish(&state, first, second)
  }

  /// The plain HMAC of the message.
  func digest(_ message: [UInt8]) -> PasswordDigest {
    var state = inner
    return finish(&state, message, [])
  }

  private func finish(_ state: inout SHA256_CTX, _ first: [UInt8], _ second: [UInt8]) -> PasswordDigest {
    SHA256_Update(&state, first, first.count)
    SHA256_Update(&state, second, second.count)
    var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    // The tuple is 32 bytes without padding, which is what SHA256_Final writes.
    withUnsafeMutableBytes(of: &words) { bytes in
      let output = bytes.assumingMemoryBound(to: UInt8.self).baseAddress!
      SHA256_Final(output, &state)
      state = outer
      SHA256_Update(&state, output, 32)
      SHA256_Final(output, &state)
    }
    return PasswordDigest(words)
  }
}
