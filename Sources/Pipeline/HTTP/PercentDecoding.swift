/// The text after percent-decoding; what is no UTF-8 becomes U+FFFD.
///
/// - Parameter plusIsSpace: as in the query of a form.
func percentDecodedText(_ text: borrowing Span<UInt8>, plusIsSpace: Bool = false) -> String {
  var bytes: [UInt8] = []
  bytes.reserveCapacity(text.count)
  forEachDecoded(text, plusIsSpace: plusIsSpace) { byte in
    bytes.append(byte)
    return true
  }
  return String(decoding: bytes, as: UTF8.self)
}

/// Calls `body` with every byte after percent-decoding (RFC 3986, 2.1), until it returns false.
///
/// - Returns: false when the encoding is broken.
@discardableResult
func forEachDecoded(
  _ text: borrowing Span<UInt8>, plusIsSpace: Bool = false, _ body: (UInt8) -> Bool
) -> Bool {
  func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }
  var i = 0
  while i < text.count {
    var byte = text[i]
    if byte == UInt8(ascii: "%") {
      guard i + 2 < text.count, let high = digit(text[i + 1]), let low = digit(text[i + 2]) else { return false }
      byte = high << 4 | low
      i += 2
    } else if plusIsSpace, byte == UInt8(ascii: "+") {
      byte = 32
    }
    if !body(byte) { return true }
    i += 1
  }
  return true
}

extension HTTPRequestHead {
  /// The path without the query after percent-decoding (RFC 3986, 2.1), `/` where the target has none. `%2F` becomes a `/`
  /// like any other, and nothing else is changed. `nil` where the encoding is broken, or is no UTF-8.
  public var decodedPath: String? {
    withPath { path in
      var bytes: [UInt8] = []
      bytes.reserveCapacity(path.count)
      let isWhole = forEachDecoded(path) { byte in
        bytes.append(byte)
        return true
      }
      if !isWhole { return nil }
      return bytes.isEmpty ? "/" : String(validating: bytes, as: UTF8.self)
    }
  }
}
