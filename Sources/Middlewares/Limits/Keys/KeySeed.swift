public import Pipeline

/// What keys are hashed with, so that nobody outside can aim at another one's limit.
public struct KeySeed: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
  private let first: UInt64
  private let second: UInt64
  var words: (UInt64, UInt64) { (first, second) }

  let isOfThisProcess: Bool

  private init(words: (UInt64, UInt64), isOfThisProcess: Bool) {
    (first, second) = words
    self.isOfThisProcess = isOfThisProcess
  }

  /// New in every process: for limits that live in this one.
  public static let process: KeySeed = {
    var random = SystemRandomNumberGenerator()
    return KeySeed(words: (random.next(), random.next()), isOfThisProcess: true)
  }()

  /// The same in every process that is given the same secret: for limits that several share. Who knows the secret can make two
  /// keys collide, so it should be long and random (32 characters or more), and of its own.
  public init(secret: String) {
    var digest = SHA256()
    digest.update(Array("sluice limit keys\0".utf8).span)
    digest.update(secret.utf8.span)
    let (first, second, _, _) = digest.finish()
    self.init(words: (first, second), isOfThisProcess: false)
  }

  /// Says nothing: it is a secret.
  public var description: String { "<seed>" }
  /// Says nothing: it is a secret.
  public var customMirror: Mirror { Mirror(self, children: []) }
}

/// What a key of one's own may be made of. Unlike `Hashable` it means the same in every process, so that several may share a
/// limit.
///
/// ```swift
/// struct Tenant: KeyValue {
///   let region: String, number: Int
///   func add(to hash: inout KeyHash) { hash.add(region); hash.add(number) }
/// }
/// ```
public protocol KeyValue: Sendable {
  /// Adds what tells this value from others of its type.
  func add(to hash: inout KeyHash)
}

/// Makes a key of 128 bits of what is added: SipHash-2-4. Each value is framed, so that ("ab", "c") and ("a", "bc") differ.
public struct KeyHash: Sendable {
  private var hash: StableHash

  /// Of what kind the key is: no value of one kind makes a key of another.
  enum Domain: UInt64 {
    case identity = 1, destination, custom, method, route, header, network, combined
  }

  init(_ domain: Domain, _ seed: KeySeed) {
    hash = StableHash(seed: seed.words)
    hash.add(word: domain.rawValue)
  }

  public mutating func add(_ number: UInt64) { hash.add(word: number) }
  public mutating func add(_ number: Int) { hash.add(word: UInt64(bitPattern: Int64(number))) }
  public mutating func add(_ text: String) { add(text.utf8.span) }
  public mutating func add(_ bytes: borrowing Span<UInt8>) {
    hash.add(word: UInt64(bytes.count))
    var index = 0
    while index < bytes.count {
      var word: UInt64 = 0
      for i in index..<min(index + 8, bytes.count) { word |= UInt64(bytes[i]) << UInt64(8 * (i & 7)) }
      hash.add(word: word)
      index += 8
    }
  }

  mutating func add(_ key: LimitKey) {
    hash.add(word: key.high)
    hash.add(word: key.low)
  }

  consuming func key() -> LimitKey { LimitKey(hash: hash) }
}

extension LimitKey {
  /// The key of one's own value.
  public init(_ value: some KeyValue, seed: KeySeed) {
    var hash = KeyHash(.custom, seed)
    value.add(to: &hash)
    self = hash.key()
  }

  /// A network of `v4` or `v6` bits. Only what does not fit into the key's own bits is hashed: IPv6 networks of more than 64.
  init(_ client: ClientAddress, v4: Int, v6: Int, seed: KeySeed) {
    switch client.kind {
    case .ip(let address, _): self.init(address, v4: v4, v6: v6, seed: seed)
    case .unix: self.init(client)
    }
  }

  init(_ address: IPAddress, v4: Int, v6: Int, seed: KeySeed) {
    let words = address.words
    // What is out of range is refused when the chain is built.
    let v4 = min(max(v4, 1), 32)
    let v6 = min(max(v6, 1), 128)
    if !address.isIPv6 {
      self.init(network: words.low & (~0 << UInt64(32 - v4)), bits: v4, isIPv6: false)
    } else if v6 <= 64 {
      self.init(network: words.high & (~0 << UInt64(64 - v6)), bits: v6, isIPv6: true)
    } else {
      var hash = KeyHash(.network, seed)
      hash.add(words.high)
      hash.add(words.low & (~0 << UInt64(128 - v6)))
      self = hash.key()
    }
  }
}

extension String: KeyValue {
  public func add(to hash: inout KeyHash) { hash.add(self) }
}

extension Int: KeyValue {
  public func add(to hash: inout KeyHash) { hash.add(self) }
}

extension UInt64: KeyValue {
  public func add(to hash: inout KeyHash) { hash.add(self) }
}

extension Bool: KeyValue {
  public func add(to hash: inout KeyHash) { hash.add(self ? 1 : 0) }
}

extension [UInt8]: KeyValue {
  public func add(to hash: inout KeyHash) { hash.add(span) }
}

extension Principal: KeyValue {
  public func add(to hash: inout KeyHash) { hash.add(id) }
}

extension IPAddress: KeyValue {
  public func add(to hash: inout KeyHash) {
    hash.add(words.high)
    hash.add(words.low)
    hash.add(isIPv6 ? 1 : 0)
  }
}

extension Endpoint: KeyValue {
  public func add(to hash: inout KeyHash) {
    hash.add(Int(port))
    switch host {
    case .ip(let address): address.add(to: &hash)
    case .name(let name): hash.add(name.text)
    }
  }
}
