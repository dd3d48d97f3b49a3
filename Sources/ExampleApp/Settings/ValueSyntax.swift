import Middlewares

// How values are written in flags (and later in files): one reader and one "allowed" sentence each.

/// `500ms`, `10s`, `5m`, `1h`; whole numbers above 0.
func readDuration(_ text: String) -> Duration? {
  let digits = text.prefix { $0.isASCII && $0.isNumber }
  guard !digits.isEmpty, let count = Int64(digits), count > 0 else { return nil }
  switch text.dropFirst(digits.count) {
  case "ms": return .milliseconds(count)
  case "s": return .seconds(count)
  case "m": return count <= Int64.max / 60 ? .seconds(count * 60) : nil
  case "h": return count <= Int64.max / 3600 ? .seconds(count * 3600) : nil
  default: return nil
  }
}

/// `500kB/s`, `10MB/s`, `1GB/s`: decimal units, within what ``ByteRate`` allows.
func readByteRate(_ text: String) -> ByteRate? {
  let digits = text.prefix { $0.isASCII && $0.isNumber }
  guard let count = Int(digits) else { return nil }
  let unit: Int
  switch text.dropFirst(digits.count) {
  case "B/s": unit = 1
  case "kB/s": unit = 1_000
  case "MB/s": unit = 1_000_000
  case "GB/s": unit = 1_000_000_000
  default: return nil
  }
  let (rate, overflow) = count.multipliedReportingOverflow(by: unit)
  return overflow || !(1_000...1_000_000_000_000).contains(rate) ? nil : .bytesPerSecond(rate)
}

let byteRateSyntax = "a whole number with its unit, 1kB/s to 1000GB/s: 500kB/s, 10MB/s or 1GB/s"
let durationSyntax = "a whole number above 0 with its unit: 500ms, 10s, 5m or 1h"
let listenSyntax =
  "ADDRESS:PORT with an IP address (127.0.0.1:8001, [::1]:8001, :8001 for every IPv4 address) or unix:/path"
let endpointSyntax = "HOST:PORT (example.com:80, 127.0.0.1:80, [::1]:80)"
let userSyntax = "NAME:PASSWORD, each 1 to 255 bytes"

/// A whole number within `range`.
func readInt(_ text: String, in range: ClosedRange<Int>) -> Int? {
  guard !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }), let value = Int(text), range.contains(value)
  else { return nil }
  return value
}

/// A name and a password, split at the first colon (a password may hold more of them).
func readUser(_ text: String) -> (name: String, password: String)? {
  guard let colon = text.firstIndex(of: ":") else { return nil }
  let name = String(text[..<colon])
  let password = String(text[text.index(after: colon)...])
  guard (1...255).contains(name.utf8.count), (1...255).contains(password.utf8.count) else { return nil }
  return (name, password)
}
