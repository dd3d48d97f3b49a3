internal import Pipeline

/// The field lines of one head: checks each line, copies what is kept, and remembers what the others say.
///
/// Nothing is copied line by line: lines that stand as they would be written are collected to runs, and a run is copied
/// when it ends. A line with other white space is written anew, as `name: value`.
struct FieldSection {
  let source: MessageSource
  private let maxFields: Int

  private(set) var count = 0
  private(set) var contentLength: UInt64?
  private(set) var isChunked = false
  private(set) var connection = ConnectionOptions()
  private(set) var hasTransferEncoding = false
  private(set) var hasUpgrade = false
  private(set) var offersH2C = false
  private(set) var expectsContinue = false
  private(set) var acceptsTrailers = false
  /// Where the value of `host` stands.
  private(set) var host: Range<Int>?
  /// The same among the lines that are kept.
  private var keptHost: Range<Int>?
  private var names = KnownNames()
  /// Lines that are kept as they are and not yet copied.
  private var run = 0..<0

  init(source: MessageSource, maxFields: Int) {
    self.source = source
    self.maxFields = maxFields
  }

  /// Forgets everything, in place.
  mutating func reset() {
    count = 0
    contentLength = nil
    isChunked = false
    connection.reset()
    hasTransferEncoding = false
    hasUpgrade = false
    offersH2C = false
    expectsContinue = false
    acceptsTrailers = false
    host = nil
    keptHost = nil
    names = KnownNames()
    run = 0..<0
  }

  /// Takes the line `start..<end`, without its line end, which is two bytes.
  mutating func take(_ octets: Octets, _ start: Int, _ end: Int, into fields: inout HeaderFields) throws {
    count &+= 1
    if count > maxFields { throw source.fault(.headTooLarge, "more than \(maxFields) fields") }
    let (name, value) = try Self.split(octets, start, end, from: source)
    let colon = name.upperBound
    guard try isKept(octets, name, value) else { return }
    names.formUnion(KnownNames(octets, name))
    if value.lowerBound == colon &+ 2, value.upperBound == end, octets[colon &+ 1] == 32 {
      if run.upperBound == start {
        run = run.lowerBound..<(end &+ 2)
      } else {
        flush(octets, into: &fields)
        run = start..<(end &+ 2)
      }
    } else {
      flush(octets, into: &fields)
      fields.append(name: octets.part(name).span, value: octets.part(value).span)
      if let host, host == value { keptHost = (fields.wireCount &- 2 &- value.count)..<(fields.wireCount &- 2) }
    }
  }

  /// Takes a line apart into name and value, and checks both (RFC 9112, 5).
  @inline(__always) static func split(
    _ octets: Octets, _ start: Int, _ end: Int, from source: MessageSource
  ) throws -> (name: Range<Int>, value: Range<Int>) {
    let colon = octets.endOfToken(start, end)
    guard colon > start, colon < end, octets[colon] == UInt8(ascii: ":") else {
      throw invalidName(octets, start, colon, end, from: source)
    }
    var first = colon &+ 1
    while first < end, octets[first] == 32 || octets[first] == 9 { first &+= 1 }
    var last = end
    while last > first, octets[last &- 1] == 32 || octets[last &- 1] == 9 { last &-= 1 }
    let control = octets.firstControl(first, last)
    guard control == last else { throw invalidValue(octets, start..<colon, control, from: source) }
    return (start..<colon, first..<last)
  }

  /// Copies what is left, and takes out what `connection` lists.
  mutating func finish(_ octets: Octets, into fields: inout HeaderFields) {
    flush(octets, into: &fields)
    guard connection.listsNames else { return fields.note(names: names.rawValue, host: keptHost) }
    let connection = connection
    fields.removeAll { name in connection.lists(name, in: octets) }
  }

  private mutating func flush(_ octets: Octets, into fields: inout HeaderFields) {
    if run.isEmpty { return }
    if let host, run.contains(host.lowerBound) {
      let moved = fields.wireCount &- run.lowerBound
      keptHost = (host.lowerBound &+ moved)..<(host.upperBound &+ moved)
    }
    fields.append(lines: octets.part(run).span)
    run = 0..<0
  }

  // MARK: - Fields that mean something here

  /// Whether the field goes on; what the others say is remembered. Length and first letter decide almost always.
  @inline(__always)
  private mutating func isKept(_ octets: Octets, _ name: Range<Int>, _ value: Range<Int>) throws -> Bool {
    let at = name.lowerBound
    switch (name.count, octets[at] | 0x20) {
    case (2, UInt8(ascii: "t")):
      guard octets.spells("te", at: at) else { return true }
      takeTE(octets, value)
      return false
    case (4, UInt8(ascii: "h")):
      if octets.spells("host", at: at) { try takeHost(octets, value) }
      return true
    case (6, UInt8(ascii: "e")):
      guard octets.spells("expect", at: at) else { return true }
      try takeExpect(octets, value)
      return false
    case (7, UInt8(ascii: "t")):
      return !octets.spells("trailer", at: at)
    case (7, UInt8(ascii: "u")):
      guard octets.spells("upgrade", at: at) else { return true }
      hasUpgrade = true
      if namesH2C(octets, value) { offersH2C = true }
      return true
    case (10, UInt8(ascii: "c")):
      guard octets.spells("connection", at: at) else { return true }
      try connection.take(octets, value, from: source)
      return false
    case (10, UInt8(ascii: "k")):
      return !octets.spells("keep-alive", at: at)
    case (14, UInt8(ascii: "c")):
      guard octets.spellsFolded("content-length", at: at) else { return true }
      guard octets[at &+ 7] == UInt8(ascii: "-") else { throw ambiguousName(octets, name) }
      try takeContentLength(octets, value)
      return false
    case (16, UInt8(ascii: "p")):
      return !octets.spells("proxy-connection", at: at)
    case (17, UInt8(ascii: "t")):
      guard octets.spellsFolded("transfer-encoding", at: at) else { return true }
      guard octets[at &+ 8] == UInt8(ascii: "-") else { throw ambiguousName(octets, name) }
      try takeTransferEncoding(octets, value)
      return false
    case (12..., UInt8(ascii: "x")):
      // What a proxy says of the client; a second spelling of it would pass the proxies on the way unseen.
      if octets.spellsFolded("x-forwarded-", at: at), name.contains(where: { octets[$0] == UInt8(ascii: "_") }) {
        throw ambiguousName(octets, name)
      }
      return true
    default:
      return true
    }
  }

  private mutating func takeHost(_ octets: Octets, _ value: Range<Int>) throws {
    // Responses may hold what they like under this name.
    guard source == .client else { return }
    if host != nil { throw source.malformed("host is there twice: exactly one is allowed") }
    host = value
  }

  private mutating func takeExpect(_ octets: Octets, _ value: Range<Int>) throws {
    guard source == .client else { return }
    guard value.count == 12, octets.spells("100-continue", at: value.lowerBound) else {
      throw source.malformed("expect: \(quoted(octets, value)): only 100-continue can be met")
    }
    expectsContinue = true
  }

  private mutating func takeContentLength(_ octets: Octets, _ value: Range<Int>) throws {
    if contentLength != nil { throw source.malformed("content-length is there twice: at most one is allowed") }
    guard !value.isEmpty else { throw source.malformed("content-length is empty: decimal digits are needed") }
    // The grammar has them, and some languages read them as octal.
    if value.count > 1, octets[value.lowerBound] == UInt8(ascii: "0") {
      throw source.malformed("content-length: \(quoted(octets, value)): a number without leading zeros is allowed")
    }
    var length: UInt64 = 0
    for i in value {
      let digit = octets[i] &- UInt8(ascii: "0")
      guard digit <= 9 else {
        throw source.malformed("content-length: \(quoted(octets, value)): one number of decimal digits is allowed")
      }
      // Above Int64.max others would overflow, and read another length.
      guard length <= (UInt64(Int64.max) - UInt64(digit)) / 10 else {
        throw source.malformed("content-length: \(quoted(octets, value)): more than \(Int64.max) bytes")
      }
      length = length &* 10 &+ UInt64(digit)
    }
    contentLength = length
  }

  private mutating func takeTransferEncoding(_ octets: Octets, _ value: Range<Int>) throws {
    if hasTransferEncoding { throw source.malformed("transfer-encoding is there twice: at most one is allowed") }
    hasTransferEncoding = true
    guard value.count == 7, octets.spells("chunked", at: value.lowerBound) else {
      throw source.malformed("transfer-encoding: \(quoted(octets, value)): only chunked, once, is allowed")
    }
    isChunked = true
  }

  /// `te: trailers`, with other codings beside it, which nobody here offers (RFC 9110, 10.1.4).
  private mutating func takeTE(_ octets: Octets, _ value: Range<Int>) {
    forEachMember(octets, value) { member in
      if member.count == 8, octets.spells("trailers", at: member.lowerBound) { acceptsTrailers = true }
    }
  }

  /// Whether cleartext HTTP/2 is offered: its frames would pass without a look at the requests in them.
  private func namesH2C(_ octets: Octets, _ value: Range<Int>) -> Bool {
    var found = false
    forEachMember(octets, value) { member in
      if member.count >= 3, octets.spells("h2c", at: member.lowerBound) { found = true }
    }
    return found
  }

  // MARK: - Faults

  private static func invalidName(
    _ octets: Octets, _ start: Int, _ stop: Int, _ end: Int, from source: MessageSource
  ) -> Rejection {
    let name = quoted(octets, start..<stop)
    guard stop < end else { return source.malformed("field \(name) has no colon") }
    let octet = octets[stop]
    if stop == start {
      if octet == 32 || octet == 9 { return source.malformed("a folded field: a line begins with \(named(octet))") }
      if octet == UInt8(ascii: ":") { return source.malformed("a field without a name") }
    } else if octet == 32 || octet == 9 {
      return source.malformed("field name \(name) is followed by \(named(octet)): a colon is needed")
    }
    return source.malformed("field name \(name) goes on with \(named(octet)), which no name may hold")
  }

  private static func invalidValue(
    _ octets: Octets, _ name: Range<Int>, _ at: Int, from source: MessageSource
  ) -> Rejection {
    source.malformed("field \(quoted(octets, name)) holds \(named(octets[at])), which no value may hold")
  }

  private func ambiguousName(_ octets: Octets, _ name: Range<Int>) -> Rejection {
    source.malformed("field \(quoted(octets, name)): an underscore in a name that some origins read as a hyphen")
  }
}

/// Calls `body` with each member of a comma-separated list that is not empty, without the white space around it
/// (RFC 9110, 5.6.1).
@inline(__always)
func forEachMember(_ octets: Octets, _ list: Range<Int>, _ body: (Range<Int>) throws -> Void) rethrows {
  var begin = list.lowerBound
  while begin < list.upperBound {
    var comma = begin
    while comma < list.upperBound, octets[comma] != UInt8(ascii: ",") { comma &+= 1 }
    var first = begin
    var last = comma
    while first < last, octets[first] == 32 || octets[first] == 9 { first &+= 1 }
    while last > first, octets[last &- 1] == 32 || octets[last &- 1] == 9 { last &-= 1 }
    if first < last { try body(first..<last) }
    begin = comma &+ 1
  }
}
