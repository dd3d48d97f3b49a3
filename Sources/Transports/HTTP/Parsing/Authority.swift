internal import Pipeline

/// `host` or `host:port`, as the `host` field and the targets of proxies hold it (RFC 3986, 3.2), taken apart in place.
struct Authority {
  var host: Range<Int>
  /// Empty where there is none.
  var port: Range<Int>
  /// Whether a colon stands behind the host.
  var hasPort: Bool

  /// - Parameter what: how a fault calls it.
  init(_ octets: Octets, _ range: Range<Int>, called what: StaticString, from source: MessageSource) throws {
    func invalid(_ why: String) -> Rejection { source.malformed("\(what): \(quoted(octets, range)) \(why)") }
    var end = range.lowerBound
    if end < range.upperBound, octets[end] == UInt8(ascii: "[") {
      end = try Self.endOfLiteral(octets, range) ?? { throw invalid("holds no IPv6 address in its brackets") }()
    } else {
      end =
        try Self.endOfName(octets, range)
        ?? { throw invalid("has a % that is not followed by two hexadecimal digits") }()
    }
    host = range.lowerBound..<end
    if host.isEmpty { throw invalid(range.isEmpty ? "is empty: a host is needed" : "has no host") }
    hasPort = end < range.upperBound
    port = end..<end
    guard hasPort else { return }
    guard octets[end] == UInt8(ascii: ":") else { throw invalid("holds \(named(octets[end])), which no host may hold") }
    port = (end &+ 1)..<range.upperBound
    guard Self.isPort(octets, port) else { throw invalid("has no port of 0 to 65535") }
  }

  /// Whether both name the same, `standard` standing for a port that is not said.
  func isSame(as other: Authority, in octets: Octets, standardPort standard: Int) -> Bool {
    hasSameHost(as: other, in: octets)
      && Self.number(octets, port) ?? standard == Self.number(octets, other.port) ?? standard
  }

  func hasSameHost(as other: Authority, in octets: Octets) -> Bool {
    guard host.count == other.host.count else { return false }
    for i in 0..<host.count
    where lowercased(octets[host.lowerBound &+ i]) != lowercased(octets[other.host.lowerBound &+ i]) { return false }
    return true
  }

  /// `nil` where there is none, which an empty one is, too.
  func portNumber(in octets: Octets) -> Int? { Self.number(octets, port) }

  private static func endOfLiteral(_ octets: Octets, _ range: Range<Int>) -> Int? {
    // The longest is an address of eight groups with an IPv4 address at its end.
    guard let close = range.prefix(48).first(where: { octets[$0] == UInt8(ascii: "]") }) else { return nil }
    let address = String(decoding: octets.part((range.lowerBound + 1)..<close), as: UTF8.self)
    guard address.utf8.contains(UInt8(ascii: ":")), IPAddress(address) != nil else { return nil }
    return close + 1
  }

  private static func endOfName(_ octets: Octets, _ range: Range<Int>) -> Int? {
    let allowed = OctetSet.hostName
    var i = range.lowerBound
    while i < range.upperBound {
      if allowed.contains(octets[i]) {
        i &+= 1
      } else if octets[i] == UInt8(ascii: "%") {
        guard i &+ 2 < range.upperBound, hexDigit(octets[i &+ 1]) < 16, hexDigit(octets[i &+ 2]) < 16 else {
          return nil
        }
        i &+= 3
      } else {
        break
      }
    }
    return i
  }

  private static func isPort(_ octets: Octets, _ port: Range<Int>) -> Bool {
    port.isEmpty || number(octets, port) != nil
  }

  private static func number(_ octets: Octets, _ digits: Range<Int>) -> Int? {
    guard !digits.isEmpty, digits.count <= 5 else { return nil }
    var number = 0
    for i in digits {
      let digit = octets[i] &- UInt8(ascii: "0")
      guard digit <= 9 else { return nil }
      number = number * 10 + Int(digit)
    }
    return number <= 65535 ? number : nil
  }
}

/// The value of a hexadecimal digit; 16 or more for anything else.
@inline(__always) func hexDigit(_ octet: UInt8) -> UInt8 {
  let digit = octet &- UInt8(ascii: "0")
  if digit <= 9 { return digit }
  let letter = (octet | 0x20) &- UInt8(ascii: "a")
  return letter < 6 ? letter + 10 : 16
}
