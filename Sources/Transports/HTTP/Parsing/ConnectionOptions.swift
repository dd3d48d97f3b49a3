internal import Pipeline

/// What the `connection` fields of a head list (RFC 9110, 7.6.1).
struct ConnectionOptions {
  /// Fields that may be listed, all lists together. Nobody lists more than a few, and each is looked for in the whole head.
  static let maxNames = 16

  private(set) var closes = false
  private(set) var keepsAlive = false
  private(set) var upgrades = false
  /// Where the listed names stand: begin in the upper half, length in the lower one.
  private var names = InlineArray<16, UInt64>(repeating: 0)
  private var count = 0

  var listsNames: Bool { count > 0 }

  /// In place: what stood among the names is not looked at, and too much to be written anew for every head.
  mutating func reset() {
    closes = false
    keepsAlive = false
    upgrades = false
    count = 0
  }

  mutating func take(_ octets: Octets, _ list: Range<Int>, from source: MessageSource) throws {
    try forEachMember(octets, list) { member in
      guard member.allSatisfy({ OctetSet.token.contains(octets[$0]) }) else {
        throw source.malformed("connection: \(quoted(octets, member)) is no option")
      }
      let at = member.lowerBound
      switch (member.count, octets[at] | 0x20) {
      case (5, UInt8(ascii: "c")) where octets.spells("close", at: at): closes = true
      case (10, UInt8(ascii: "k")) where octets.spells("keep-alive", at: at): keepsAlive = true
      case (7, UInt8(ascii: "u")) where octets.spells("upgrade", at: at): upgrades = true
      // These never go on, listed or not.
      case (2, UInt8(ascii: "t")) where octets.spells("te", at: at): break
      case (7, UInt8(ascii: "t")) where octets.spells("trailer", at: at): break
      case (17, UInt8(ascii: "t")) where octets.spells("transfer-encoding", at: at): break
      default: try note(octets, member, from: source)
      }
    }
  }

  private mutating func note(_ octets: Octets, _ member: Range<Int>, from source: MessageSource) throws {
    if isForEveryRecipient(octets, member, from: source) {
      throw source.malformed("connection lists \(quoted(octets, member)), which is for every recipient")
    }
    guard count < Self.maxNames else { throw source.malformed("connection lists more than \(Self.maxNames) names") }
    names[count] = UInt64(member.lowerBound) << 32 | UInt64(member.count)
    count += 1
  }

  /// Whether a field of this name is listed.
  func lists(_ name: Span<UInt8>, in octets: Octets) -> Bool {
    for i in 0..<count where Int(names[i] & 0xffff_ffff) == name.count {
      let at = Int(names[i] >> 32)
      var isSame = true
      for k in 0..<name.count where lowercased(octets[at &+ k]) != lowercased(name[k]) {
        isSame = false
        break
      }
      if isSame { return true }
    }
    return false
  }

  /// Fields that a client must not take away from those behind this proxy by listing them: who asks, for whom, for what,
  /// and how far it has come. The ways to misuse that are known as hop-by-hop abuse; RFC 9110, 7.6.1 forbids to list such.
  private func isForEveryRecipient(_ octets: Octets, _ name: Range<Int>, from source: MessageSource) -> Bool {
    let at = name.lowerBound
    switch (name.count, octets[at] | 0x20) {
    case (14, UInt8(ascii: "c")): return octets.spells("content-length", at: at)
    case (_, _) where source == .origin: return false
    case (3, UInt8(ascii: "v")): return octets.spells("via", at: at)
    case (4, UInt8(ascii: "h")): return octets.spells("host", at: at)
    case (5, UInt8(ascii: "r")): return octets.spells("range", at: at)
    case (6, UInt8(ascii: "c")): return octets.spells("cookie", at: at)
    case (9, UInt8(ascii: "f")): return octets.spells("forwarded", at: at)
    case (9, UInt8(ascii: "x")): return octets.spells("x-real-ip", at: at)
    case (12, UInt8(ascii: "c")): return octets.spells("content-type", at: at)
    case (12, UInt8(ascii: "m")): return octets.spells("max-forwards", at: at)
    case (13, UInt8(ascii: "a")): return octets.spells("authorization", at: at)
    case (13, UInt8(ascii: "c")): return octets.spells("cache-control", at: at)
    case (16, UInt8(ascii: "c")): return octets.spells("content-encoding", at: at)
    case (12..., UInt8(ascii: "x")): return octets.spells("x-forwarded-", at: at)
    default: return false
    }
  }
}

@inline(__always) func lowercased(_ octet: UInt8) -> UInt8 {
  UInt8(ascii: "A") <= octet && octet <= UInt8(ascii: "Z") ? octet | 0x20 : octet
}
