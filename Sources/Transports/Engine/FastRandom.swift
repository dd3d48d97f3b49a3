internal import CShim

/// xoshiro256** (Blackman and Vigna): a fast generator for jitter, sampling and request ids. Not for secrets: whoever
/// sees some outputs can tell the rest.
struct FastRandom: RandomNumberGenerator {
  private var state: (UInt64, UInt64, UInt64, UInt64)

  /// A state of four zeros would stay zero; it is replaced.
  init(state: (UInt64, UInt64, UInt64, UInt64)) {
    self.state = state == (0, 0, 0, 0) ? (1, 2, 3, 4) : state
  }

  /// A generator with a state from the kernel.
  static func seeded() -> FastRandom {
    var state: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    let filled = withUnsafeMutableBytes(of: &state) { shim_getrandom($0.baseAddress, $0.count) }
    precondition(filled == MemoryLayout.size(ofValue: state), "the kernel gives no random bytes")
    return FastRandom(state: state)
  }

  mutating func next() -> UInt64 {
    func rotate(_ value: UInt64, _ count: UInt64) -> UInt64 { value << count | value >> (64 - count) }
    let result = rotate(state.1 &* 5, 7) &* 9
    let shifted = state.1 << 17
    state.2 ^= state.0
    state.3 ^= state.1
    state.1 ^= state.2
    state.0 ^= state.3
    state.2 ^= shifted
    state.3 = rotate(state.3, 45)
    return result
  }
}
