extension HeaderFields {
  /// Tells a client of its limit: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10: structured
  /// fields, a policy's name with `q` quota and `w` window, and `r` remaining and `t` seconds until there is more), and for
  /// older clients `X-RateLimit-Limit`, `-Remaining`, `-Reset` (seconds until the limit is whole). Replaces those of an upstream:
  /// this limit is the nearer one. Allocates nothing once the buffer has grown.
  mutating func set(_ limit: Annotations.RateLimit) {
    remove("ratelimit-policy")
    add("ratelimit-policy") { bytes in
      appendQuoted(limit.policy, to: &bytes)
      appendParameter(";q=", max(0, limit.limit), to: &bytes)
      if let window = limit.windowSeconds { appendParameter(";w=", max(1, window), to: &bytes) }
    }
    remove("ratelimit")
    add("ratelimit") { bytes in
      appendQuoted(limit.policy, to: &bytes)
      appendParameter(";r=", max(0, limit.remaining), to: &bytes)
      appendParameter(";t=", max(0, limit.nextSeconds), to: &bytes)
    }
    set("x-ratelimit-limit", limit.limit)
    set("x-ratelimit-remaining", limit.remaining)
    set("x-ratelimit-reset", limit.resetSeconds)
  }
}

/// A string of RFC 9651, 3.3.3: printable ASCII, quotes and backslashes escaped.
private func appendQuoted(_ text: String, to bytes: inout [UInt8]) {
  bytes.append(UInt8(ascii: "\""))
  for byte in text.utf8.prefix(64) where (0x20...0x7e).contains(byte) {
    if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { bytes.append(UInt8(ascii: "\\")) }
    bytes.append(byte)
  }
  bytes.append(UInt8(ascii: "\""))
}

private func appendParameter(_ name: StaticString, _ number: Int, to bytes: inout [UInt8]) {
  name.withUTF8Buffer { bytes.append(contentsOf: $0) }
  // An integer of a structured field has at most 15 digits (RFC 9651, 3.3.1).
  var left = min(number, 999_999_999_999_999)
  var unit = 1
  while unit <= left / 10 { unit *= 10 }
  while unit > 0 {
    bytes.append(UInt8(ascii: "0") + UInt8(left / unit))
    left %= unit
    unit /= 10
  }
}
