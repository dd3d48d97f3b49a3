import Pipeline

/// A token of the tracker: a random UUID (RFC 9562, version 4), 122 bits that nobody guesses.
struct Token: Hashable, Sendable {
  /// In lower case.
  let text: String

  private init(_ text: String) { self.text = text }

  /// - Parameter generator: the system's secure randomness, unless a test gives another.
  static func random(using generator: inout some RandomNumberGenerator) -> Token {
    let high = generator.next() & 0xffff_ffff_ffff_0fff | 0x4000
    let low = generator.next() & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000
    let digits = Self.hexadecimal(high) + Self.hexadecimal(low)
    var text: [UInt8] = []
    for (index, digit) in digits.enumerated() {
      if [8, 12, 16, 20].contains(index) { text.append(UInt8(ascii: "-")) }
      text.append(digit)
    }
    return Token(String(decoding: text, as: UTF8.self))
  }

  static func random() -> Token {
    var system = SystemRandomNumberGenerator()
    return random(using: &system)
  }

  private static func hexadecimal(_ word: UInt64) -> [UInt8] {
    stride(from: 60, through: 0, by: -4).map { shift in
      let digit = UInt8(truncatingIfNeeded: word >> UInt64(shift)) & 15
      return digit < 10 ? 48 + digit : 87 + digit
    }
  }

  /// Reads the value of an `authorization` field: the token as it is, or after `Bearer ` (RFC 6750), its letters in either
  /// case. `nil` for anything that cannot be a token, which then need not be asked for.
  init?(authorization value: borrowing Span<UInt8>) {
    var begin = 0
    if Self.beginsWithBearer(value) {
      begin = 7
      while begin < value.count, value[begin] == 32 { begin += 1 }
    }
    guard value.count - begin == 36 else { return nil }
    var text: [UInt8] = []
    text.reserveCapacity(36)
    for index in 0..<36 {
      let byte = value[begin + index]
      let isDash = [8, 13, 18, 23].contains(index)
      switch byte {
      case UInt8(ascii: "-") where isDash, 48...57 where !isDash, 97...102 where !isDash: text.append(byte)
      case 65...70 where !isDash: text.append(byte | 0x20)
      default: return nil
      }
    }
    self.init(String(decoding: text, as: UTF8.self))
  }

  private static func beginsWithBearer(_ value: borrowing Span<UInt8>) -> Bool {
    let scheme = Array("bearer".utf8)
    guard value.count > scheme.count, value[scheme.count] == 32 else { return false }
    for index in scheme.indices where value[index] | 0x20 != scheme[index] { return false }
    return true
  }
}

extension HTTPExchange {
  /// The token that the client sent.
  ///
  /// - Throws: `Rejection`: `credentialsRequired` without one, `credentialsInvalid` for what is no token (both 401), `malformed`
  ///   where two are there.
  func presentedToken() throws -> Token {
    challenge = "Bearer realm=\"tracker\""
    try requireOneCredentialsField()
    let token = try request.fields.withValue(of: "authorization") { value in
      guard let value else { throw Rejection(.credentialsRequired, detail: "the client sent no token") }
      return Token(authorization: value)
    }
    guard let token else { throw unknownToken() }
    return token
  }

  /// The 401 for a token that was never given.
  func unknownToken() -> Rejection {
    challenge = "Bearer realm=\"tracker\", error=\"invalid_token\""
    return Rejection(.credentialsInvalid, detail: "unknown token")
  }

  func respond(json: String) async throws -> Summary {
    try await respond(200, body: Array(json.utf8)) { head in
      head.fields.set("content-type", "application/json")
      // Each answer counts: one that is shown twice would be wrong.
      head.fields.set("cache-control", "no-store")
    }
  }
}
