public import Pipeline

/// Whose limit it is, in 128 bits: an address as it is, anything else as a keyed hash.
///
/// Two keys that are not addresses share a limit by chance with a probability of 2⁻¹²⁵ a pair, and nobody who does not know
/// the seed can aim at another one's limit.
public struct LimitKey: Hashable, Sendable {
  /// The lowest three bits tell the kinds apart; none is 0, so that no key equals an empty slot.
  public let high: UInt64
  public let low: UInt64

  private enum Kind {
    static let ipv4: UInt64 = 1, ipv6: UInt64 = 2, unix: UInt64 = 3, global: UInt64 = 4, hashed: UInt64 = 5
    static let stable: UInt64 = 6
  }

  /// The one key of a limit for all.
  public static let global = LimitKey(high: Kind.global, low: 0)

  private init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// The IPv4 address, the IPv6 /64 network or the Unix user of a client. Means the same in every process.
  public init(_ client: ClientAddress) {
    switch client.kind {
    case .ip(let address, _) where address.isIPv6: self.init(high: Kind.ipv6, low: address.words.high)
    case .ip(let address, _): self.init(high: Kind.ipv4, low: address.words.low)
    case .unix(let uid): self.init(high: Kind.unix, low: UInt64(uid))
    }
  }

  /// A hash of `value` with a seed that is new in every process: for limits that live in this one.
  public init(hashing value: some Hashable) {
    var first = Hasher()
    first.combine(0 as UInt8)
    value.hash(into: &first)
    var second = Hasher()
    second.combine(1 as UInt8)
    value.hash(into: &second)
    self.init(
      high: UInt64(bitPattern: Int64(first.finalize())) & ~7 | Kind.hashed,
      low: UInt64(bitPattern: Int64(second.finalize())))
  }

  /// A hash of `bytes` that is the same in every process which has the same seed: for limits that several share.
  ///
  /// SipHash-2-4 with 128 bits. Keep the seed secret where clients choose the bytes: who knows it can make two keys collide.
  public init(bytes: some Sequence<UInt8>, seed: (UInt64, UInt64)) {
    var hash = StableHash(seed: seed)
    for byte in bytes { hash.add(byte) }
    let (high, low) = hash.finish()
    self.init(high: high & ~7 | Kind.stable, low: low)
  }

  init(hash: consuming StableHash) {
    let (high, low) = hash.finish()
    self.init(high: high & ~7 | Kind.stable, low: low)
  }

  /// The first bits of an address; as many as the whole key has room for.
  init(network: UInt64, bits: Int, isIPv6: Bool) {
    let spared = UInt64((isIPv6 ? 64 : 32) - bits)
    self.init(high: (isIPv6 ? Kind.ipv6 : Kind.ipv4) | spared << 8, low: network)
  }

  /// A key by name, the same in every process: `.named("anonymous")`. For names that the program chooses, not clients.
  public static func named(_ name: String) -> LimitKey { LimitKey(bytes: name.utf8, seed: (0, 0)) }
}

/// SipHash-2-4 with a result of 128 bits (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
struct StableHash {
  private var v0: UInt64
  private var v1: UInt64
  private var v2: UInt64
  private var v3: UInt64
  private var word: UInt64 = 0
  private var count: UInt64 = 0

  init(seed: (UInt64, UInt64)) {
    v0 = seed.0 ^ 0x736f_6d65_7073_6575
    v1 = seed.1 ^ 0x646f_7261_6e64_6f6d ^ 0xee
    v2 = seed.0 ^ 0x6c79_6765_6e65_7261
    v3 = seed.1 ^ 0x7465_6462_7974_6573
  }

  mutating func add(_ byte: UInt8) {
    word |= UInt64(byte) << (8 * (count & 7))
    count += 1
    guard count & 7 == 0 else { return }
    compress(word)
    word = 0
  }

  /// Eight bytes at once, where as many as a whole number of eights were added before.
  mutating func add(word: UInt64) {
    assert(count & 7 == 0)
    compress(word)
    count += 8
  }

  mutating func finish() -> (high: UInt64, low: UInt64) {
    compress(word | (count & 0xff) << 56)
    v2 ^= 0xee
    for _ in 0..<4 { round() }
    let low = v0 ^ v1 ^ v2 ^ v3
    v1 ^= 0xdd
    for _ in 0..<4 { round() }
    return (v0 ^ v1 ^ v2 ^ v3, low)
  }

  private mutating func compress(_ word: UInt64) {
    v3 ^= word
    round()
    round()
    v0 ^= word
  }

  private mutating func round() {
    func rotate(_ value: UInt64, _ by: UInt64) -> UInt64 { value << by | value >> (64 - by) }
    v0 &+= v1
    v1 = rotate(v1, 13) ^ v0
    v0 = rotate(v0, 32)
    v2 &+= v3
    v3 = rotate(v3, 16) ^ v2
    v0 &+= v3
    v3 = rotate(v3, 21) ^ v0
    v2 &+= v1
    v1 = rotate(v1, 17) ^ v2
    v2 = rotate(v2, 32)
  }
}
