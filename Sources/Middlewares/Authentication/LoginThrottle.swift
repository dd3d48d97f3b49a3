internal import Pipeline

/// How many wrong passwords are listened to. A failure counts less with time: half after one half-life, a quarter after
/// two. While another failure would exceed the limit, nothing is hashed and the client is told when to come back.
public struct LoginLimits: Hashable, Sendable {
  /// For one user name, known or unknown; an address from which the user has logged in is counted apart from all others,
  /// so that strangers who guess at a name lock nobody out. 1...1000.
  public let failuresPerUser: Int
  /// For one client address (IPv6: one /64, which is what one customer gets), whatever the names. 1...100,000.
  public let failuresPerAddress: Int
  /// How long until a failure counts half. 1 second or more.
  public let halfLife: Duration

  /// 5 for a user, 20 for an address, 5 minutes: who goes on guessing gets one guess in about 80 seconds.
  public static let standard = LoginLimits()

  /// Creates limits; a value that is out of bounds stops the program with a sentence.
  public init(failuresPerUser: Int = 5, failuresPerAddress: Int = 20, halfLife: Duration = .seconds(300)) {
    precondition(
      (1...1000).contains(failuresPerUser), "failuresPerUser is \(failuresPerUser): 1...1000 are allowed")
    precondition(
      (1...100_000).contains(failuresPerAddress), "failuresPerAddress is \(failuresPerAddress): 1...100000 are allowed")
    precondition(halfLife >= .seconds(1), "halfLife is \(halfLife): 1 second or more is allowed")
    self.failuresPerUser = failuresPerUser
    self.failuresPerAddress = failuresPerAddress
    self.halfLife = halfLife
  }
}

/// Whom failures are counted for: 64 bits under the random seed of the process, so that nobody can choose names or
/// addresses that share an entry.
struct LoginKey: Hashable {
  let bits: UInt64

  static func user(_ name: [UInt8]) -> LoginKey {
    var hasher = Hasher()
    hasher.combine(0 as UInt8)
    hasher.combine(name)
    return LoginKey(hasher)
  }

  /// A user at an address from which it usually logs in: counted apart from what strangers try with its name.
  static func user(_ name: [UInt8], at origin: LoginKey) -> LoginKey {
    var hasher = Hasher()
    hasher.combine(3 as UInt8)
    hasher.combine(name)
    hasher.combine(origin.bits)
    return LoginKey(hasher)
  }

  /// A token that is tried again and again: whoever tries it learns nothing new.
  static func token(_ digest: TokenDigest) -> LoginKey {
    var hasher = Hasher()
    hasher.combine(4 as UInt8)
    hasher.combine(digest)
    return LoginKey(hasher)
  }

  static func address(of client: ClientAddress) -> LoginKey {
    var hasher = Hasher()
    switch client.kind {
    case .ip(let address, _):
      hasher.combine(1 as UInt8)
      let words = address.words
      hasher.combine(words.high)
      hasher.combine(address.isIPv6 ? 0 : words.low)
      hasher.combine(address.isIPv6)
    case .unix(let uid):
      hasher.combine(2 as UInt8)
      hasher.combine(uid)
    }
    return LoginKey(hasher)
  }

  private init(_ hasher: consuming Hasher) { bits = UInt64(bitPattern: Int64(hasher.finalize())) }
}

/// Failed logins by key: a table of fixed size, without a clock and without a lock of its own.
///
/// It is set-associative: a key may stand in one of eight places, and when all are taken the one that counts least makes
/// room. So a flood of addresses costs neither memory nor time; what it can do is to push out keys with few failures.
struct LoginThrottle {
  enum Verdict: Equatable {
    /// Try it; ``settle(_:failed:limits:now:)`` has to follow.
    case admitted
    /// Attempts that are under way may use up what is left: wait until one of them is settled.
    case full
    case refused(retryAfter: Duration)
  }

  private struct Entry {
    var bits: UInt64 = 0
    var score = 0.0
    var at = Instant(nanoseconds: 0)
    var underWay = 0

    var isEmpty: Bool { score == 0 && underWay == 0 }
  }

  private static let ways = 8
  private var entries: [Entry]
  /// Keys that are counted now. While it is 0, there is nobody to refuse.
  private(set) var count = 0

  /// - Parameter capacity: how many keys are counted at once; rounded up to a power of two, 8 or more.
  init(capacity: Int = 8192) {
    var size = Self.ways
    while size < capacity { size *= 2 }
    entries = Array(repeating: Entry(), count: size)
  }

  var capacity: Int { entries.count }

  /// When this key may try again; `nil`: now.
  func refusal(_ key: LoginKey, limit: Int, halfLife: Duration, now: Instant) -> Duration? {
    guard let index = find(key) else { return nil }
    // With a limit of 1 the last failure has to be forgotten altogether: what counts less than 1/16 is.
    let room = max(Double(limit) - 1, 1.0 / 16)
    let score = Self.decayed(entries[index], halfLife, now)
    return score > room + Self.rounding ? Self.time(from: score, to: room, halfLife) : nil
  }

  /// Asks for one attempt. Attempts that are under way count as failures until they are settled: a thousand guesses at
  /// once are not a way round the limit.
  mutating func admit(_ key: LoginKey, limit: Int, halfLife: Duration, now: Instant) -> Verdict {
    if let retryAfter = refusal(key, limit: limit, halfLife: halfLife, now: now) {
      return .refused(retryAfter: retryAfter)
    }
    let index = find(key) ?? place(key, halfLife, now)
    let score = Self.decayed(entries[index], halfLife, now)
    guard entries[index].underWay == 0 || score + Double(entries[index].underWay) + 1 <= Double(limit) else {
      return .full
    }
    change(index) { $0.underWay += 1 }
    return .admitted
  }

  /// Ends one attempt that was admitted.
  mutating func settle(_ key: LoginKey, failed: Bool, halfLife: Duration, now: Instant) {
    // The entry may have made room for another one; a failure is then counted from anew.
    guard let index = find(key) ?? (failed ? place(key, halfLife, now) : nil) else { return }
    let score = Self.decayed(entries[index], halfLife, now)
    change(index) { entry in
      entry.underWay = max(0, entry.underWay - 1)
      if failed {
        entry.score = score + 1
        entry.at = max(now, entry.at)
      }
    }
  }

  /// Forgets whose failures count less than a half by now.
  mutating func forgetOld(halfLife: Duration, now: Instant) {
    for index in entries.indices where entries[index].underWay == 0 && !entries[index].isEmpty {
      if Self.decayed(entries[index], halfLife, now) < 0.5 { change(index) { $0 = Entry() } }
    }
  }

  // MARK: - The table

  private func find(_ key: LoginKey) -> Int? {
    places(of: key).first { entries[$0].bits == key.bits && !entries[$0].isEmpty }
  }

  private func places(of key: LoginKey) -> Range<Int> {
    let sets = UInt64(entries.count / Self.ways)
    let first = Int(key.bits % sets) * Self.ways
    return first..<(first + Self.ways)
  }

  /// The place for a new key: an empty one, else the one that counts least, preferably with no attempt under way.
  private mutating func place(_ key: LoginKey, _ halfLife: Duration, _ now: Instant) -> Int {
    let index = places(of: key).min { a, b in weight(a, halfLife, now) < weight(b, halfLife, now) }!
    change(index) { $0 = Entry(bits: key.bits) }
    return index
  }

  private func weight(_ index: Int, _ halfLife: Duration, _ now: Instant) -> Double {
    let entry = entries[index]
    if entry.isEmpty { return -1 }
    return Self.decayed(entry, halfLife, now) + (entry.underWay > 0 ? 1e6 : 0)
  }

  private mutating func change(_ index: Int, _ body: (inout Entry) -> Void) {
    let before = entries[index].isEmpty
    body(&entries[index])
    count += (before ? 1 : 0) - (entries[index].isEmpty ? 1 : 0)
  }

  // MARK: - Decay

  /// What floating point may be off by; far below what one failure counts.
  private static let rounding = 1e-6

  /// Halves at every half-life, with straight lines between: needs no logarithm, and its inverse is exact.
  private static func decayed(_ entry: Entry, _ halfLife: Duration, _ now: Instant) -> Double {
    guard entry.score > 0, now > entry.at else { return entry.score }
    let lives = (now - entry.at).inSeconds / halfLife.inSeconds
    guard lives < 64 else { return 0 }
    var score = entry.score
    for _ in 0..<Int(lives) { score /= 2 }
    return score * (1 - (lives - lives.rounded(.down)) / 2)
  }

  private static func time(from score: Double, to target: Double, _ halfLife: Duration) -> Duration {
    var lives = 0.0
    var score = score
    while score / 2 >= target {
      score /= 2
      lives += 1
    }
    if score > target { lives += 2 * (1 - target / score) }
    // Whole seconds, rounded up: who comes back then is not refused for a rounding error.
    return .seconds((lives * halfLife.inSeconds - Self.rounding).rounded(.up))
  }
}
