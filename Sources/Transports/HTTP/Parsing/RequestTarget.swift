internal import Pipeline

/// The four forms of a request target (RFC 9112, 3.2).
enum RequestTarget {
  /// `/path?query`
  case origin
  /// `http://host/path?query`
  case absolute(Authority)
  /// `host:port`, of a CONNECT.
  case authority(Authority)
  /// `*`, of an OPTIONS.
  case asterisk

  init(_ octets: Octets, _ range: Range<Int>, of method: Span<UInt8>) throws {
    let source = MessageSource.client
    let isConnect = method.count == 7 && Self.is(method, "CONNECT")
    if isConnect {
      let authority = try Authority(octets, range, called: "target of CONNECT", from: source)
      guard let port = authority.portNumber(in: octets), port > 0 else {
        throw source.malformed("target of CONNECT: \(quoted(octets, range)): host:port is needed")
      }
      self = .authority(authority)
      return
    }
    switch octets[range.lowerBound] {
    case UInt8(ascii: "/"):
      try Self.checkPath(octets, range)
      self = .origin
    case UInt8(ascii: "*") where range.count == 1:
      guard method.count == 7, Self.is(method, "OPTIONS") else {
        throw source.malformed("target *: only OPTIONS may have it")
      }
      self = .asterisk
    default:
      guard range.count > 7, octets.spells("http", at: range.lowerBound),
        Self.hasSchemeEnd(octets, range.lowerBound + 4)
      else { throw Self.unknownForm(octets, range) }
      let begin = range.lowerBound + 7
      let end =
        (begin..<range.upperBound).first { octets[$0] == UInt8(ascii: "/") || octets[$0] == UInt8(ascii: "?") }
        ?? range.upperBound
      self = .absolute(try Authority(octets, begin..<end, called: "host of the target", from: source))
      try Self.checkPath(octets, end..<range.upperBound)
    }
  }

  private static func hasSchemeEnd(_ octets: Octets, _ at: Int) -> Bool {
    octets[at] == UInt8(ascii: ":") && octets[at + 1] == UInt8(ascii: "/") && octets[at + 2] == UInt8(ascii: "/")
  }

  private static func unknownForm(_ octets: Octets, _ range: Range<Int>) -> Rejection {
    let source = MessageSource.client
    if range.count > 8, octets.spells("https", at: range.lowerBound), hasSchemeEnd(octets, range.lowerBound + 5) {
      return source.malformed("target with https://: a request in the clear can ask for http:// only")
    }
    return source.malformed(
      "target begins with \(named(octets[range.lowerBound])): /path or http://host/path is allowed")
  }

  /// Where a path ends a query begins, and then almost everything may stand.
  private static func checkPath(_ octets: Octets, _ range: Range<Int>) throws {
    let plain = OctetSet.plainPath
    var i = range.lowerBound
    while i < range.upperBound {
      let octet = octets[i]
      if plain.contains(octet) {
        i &+= 1
      } else if octet == UInt8(ascii: "?") {
        break
      } else if octet == UInt8(ascii: "%") {
        guard i &+ 2 < range.upperBound, hexDigit(octets[i &+ 1]) < 16, hexDigit(octets[i &+ 2]) < 16 else {
          throw MessageSource.client.malformed("path with a % that is not followed by two hexadecimal digits")
        }
        // Origins written in C would read a shorter path than those who decide here, and careless ones another line.
        if octets[i &+ 1] == UInt8(ascii: "0"), endsText(octets[i &+ 2]) {
          throw MessageSource.client.malformed("path with %00, %0a or %0d")
        }
        i &+= 3
      } else {
        throw MessageSource.client.malformed("path with \(named(octet)), which must be percent-encoded")
      }
    }
    let query = OctetSet.query
    while i < range.upperBound {
      guard query.contains(octets[i]) else {
        throw MessageSource.client.malformed("query with \(named(octets[i])), which must be percent-encoded")
      }
      i &+= 1
    }
  }

  /// The second digit of NUL, line feed and carriage return.
  private static func endsText(_ digit: UInt8) -> Bool {
    let value = hexDigit(digit)
    return value == 0 || value == 10 || value == 13
  }

  private static func `is`(_ method: Span<UInt8>, _ name: StaticString) -> Bool {
    for i in 0..<method.count where method[i] != name.utf8Start[i] { return false }
    return true
  }
}
