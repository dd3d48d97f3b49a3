/// Reads `Basic dXNlcjpwYXNz` (RFC 7617): the user name ends at the first colon.
///
/// - Throws: `Rejection(.malformed)`.
func basicCredentials(in value: borrowing Span<UInt8>) throws -> PasswordCredentials? {
  let scheme: StaticString = "basic "
  let isBasic =
    value.count > scheme.utf8CodeUnitCount
    && scheme.withUTF8Buffer { expected in
      for i in 0..<expected.count where lowercased(value[i]) != expected[i] { return false }
      return true
    }
  guard isBasic else { return nil }
  var begin = scheme.utf8CodeUnitCount
  while begin < value.count, value[begin] == 32 { begin += 1 }
  guard let decoded = base64Decoded(value.extracting(begin..<value.count)),
    let colon = decoded.firstIndex(of: UInt8(ascii: ":"))
  else { throw Rejection(.malformed, detail: "the authorization field is no Basic credentials") }
  return PasswordCredentials(user: Array(decoded[..<colon]), password: Array(decoded[(colon + 1)...]))
}

/// Base64 by RFC 4648, 4, with or without padding; `nil` when it is none.
func base64Decoded(_ text: borrowing Span<UInt8>) -> [UInt8]? {
  var out: [UInt8] = []
  out.reserveCapacity(text.count / 4 * 3 + 2)
  var bits: UInt32 = 0
  var count = 0
  var end = text.count
  while end > 0, text[end - 1] == UInt8(ascii: "="), text.count - end < 2 { end -= 1 }
  for i in 0..<end {
    let sextet: UInt8
    switch text[i] {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): sextet = text[i] - UInt8(ascii: "A")
    case UInt8(ascii: "a")...UInt8(ascii: "z"): sextet = text[i] - UInt8(ascii: "a") + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): sextet = text[i] - UInt8(ascii: "0") + 52
    case UInt8(ascii: "+"): sextet = 62
    case UInt8(ascii: "/"): sextet = 63
    default: return nil
    }
    bits = bits << 6 | UInt32(sextet)
    count += 6
    if count >= 8 {
      count -= 8
      out.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
    }
  }
  // One sextet alone is no byte.
  return count == 6 ? nil : out
}

/// Base64 by RFC 4648, 4, with padding.
package func base64Encoded(_ bytes: borrowing Span<UInt8>) -> [UInt8] {
  let alphabet: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  var out: [UInt8] = []
  out.reserveCapacity((bytes.count + 2) / 3 * 4)
  alphabet.withUTF8Buffer { alphabet in
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let count = min(3, bytes.count - start)
      var group: UInt32 = 0
      for offset in 0..<3 { group = group << 8 | (offset < count ? UInt32(bytes[start + offset]) : 0) }
      for place in 0..<4 {
        out.append(place <= count ? alphabet[Int(group >> UInt32(18 - 6 * place) & 63)] : UInt8(ascii: "="))
      }
    }
  }
  return out
}
