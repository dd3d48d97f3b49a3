/// The name of a header field, as a literal: `"x-served-by"`. A token of RFC 9110, 5.6.2; compared without regard to case.
public struct HeaderName: ExpressibleByStringLiteral, Sendable, CustomStringConvertible {
  private let literal: StaticString

  public init(stringLiteral literal: StaticString) {
    self.literal = literal
    let isToken = literal.withUTF8Buffer { $0.count > 0 && $0.allSatisfy(isTokenByte) }
    precondition(isToken, "\"\(literal)\" is no header field name")
  }

  var count: Int { literal.utf8CodeUnitCount }
  public var description: String { literal.description }

  /// Whether these bytes are this name, in whatever case.
  public func matches(_ bytes: borrowing Span<UInt8>) -> Bool {
    guard bytes.count == count else { return false }
    let own = literal.utf8Start
    for i in 0..<bytes.count {
      let (a, b) = (bytes[i], own[i])
      if a != b, lowercased(a) != lowercased(b) { return false }
    }
    return true
  }

  /// Whether these bytes are this name to an application that makes one variable of `-` and `_`, as CGI and WSGI do. Who
  /// removes what a client may not say removes these, too.
  public func resembles(_ bytes: borrowing Span<UInt8>) -> Bool {
    guard bytes.count == count else { return false }
    func folded(_ byte: UInt8) -> UInt8 { byte == UInt8(ascii: "_") ? UInt8(ascii: "-") : lowercased(byte) }
    return literal.withUTF8Buffer { own in
      for i in 0..<own.count where folded(bytes[i]) != folded(own[i]) { return false }
      return true
    }
  }

  func append(to bytes: inout [UInt8]) { literal.withUTF8Buffer { bytes.append(contentsOf: $0) } }
}

@inline(__always) func lowercased(_ byte: UInt8) -> UInt8 {
  UInt8(ascii: "A") <= byte && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
}

/// Whether the byte may stand in a token (RFC 9110, 5.6.2).
func isTokenByte(_ byte: UInt8) -> Bool {
  switch byte {
  case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "%"),
    UInt8(ascii: "&"), UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."),
    UInt8(ascii: "^"), UInt8(ascii: "_"), UInt8(ascii: "`"), UInt8(ascii: "|"), UInt8(ascii: "~"):
    true
  default: false
  }
}

/// Header field lines as wire bytes (`name: value CRLF`) in one flat buffer, whose capacity the connection keeps.
///
/// Values are read in place; `fields["…"]` makes a `String` on request. What is set is made safe: CR, LF and NUL are
/// dropped from values, so that no value can begin another field.
public struct HeaderFields: Sendable {
  @usableFromInline var bytes: [UInt8] = []
  /// Whether a field may be among them that concerns one connection only, or the framing: an element added one. The
  /// transport writes those itself, so it looks through the lines only when this says so.
  package internal(set) var mayHoldConnectionFields = false
  /// Which of the names that a transport looks for are among the lines, as bits of its own; `nil`: nobody knows, for lines have
  /// been changed since they were parsed.
  @usableFromInline package private(set) var knownNames: UInt32?
  /// Where the value of `host` stands while `knownNames` is known; empty: not known.
  @usableFromInline private(set) var hostPlace = 0..<0

  public init() {}

  /// A parser has looked at every line.
  ///
  /// - Parameter host: where the value of `host` stands among the wire bytes.
  package mutating func note(names: UInt32, host: Range<Int>?) {
    knownNames = names
    hostPlace = host ?? 0..<0
  }

  mutating func forgetNames() { knownNames = nil }

  /// Replaces every field of this name.
  public mutating func set(_ name: HeaderName, _ value: String) {
    remove(name)
    add(name, value)
  }

  /// Replaces every field of this name by a decimal number.
  public mutating func set(_ name: HeaderName, _ value: Int) {
    remove(name)
    begin(name)
    if value < 0 { bytes.append(UInt8(ascii: "-")) }
    appendDecimal(value.magnitude)
    end()
  }

  /// Adds a field beside those of the same name (`set-cookie`).
  public mutating func add(_ name: HeaderName, _ value: String) {
    begin(name)
    for byte in value.utf8 where byte != 13 && byte != 10 && byte != 0 { bytes.append(byte) }
    end()
  }

  /// Replaces every field of this name. Allocates nothing once the buffer has grown.
  public mutating func set(_ name: HeaderName, bytes value: borrowing Span<UInt8>) {
    remove(name)
    add(name, bytes: value)
  }

  /// Adds a field beside those of the same name. Allocates nothing once the buffer has grown.
  public mutating func add(_ name: HeaderName, bytes value: borrowing Span<UInt8>) {
    begin(name)
    for i in 0..<value.count where value[i] != 13 && value[i] != 10 && value[i] != 0 { bytes.append(value[i]) }
    end()
  }

  /// Adds a field whose value `write` appends piece by piece, straight into the buffer.
  package mutating func add(_ name: HeaderName, writing write: (inout [UInt8]) -> Void) {
    begin(name)
    let start = bytes.count
    write(&bytes)
    var i = start
    while i < bytes.count {
      if bytes[i] == 13 || bytes[i] == 10 || bytes[i] == 0 { bytes.remove(at: i) } else { i += 1 }
    }
    end()
  }

  /// Adds every field of this name that `other` has.
  public mutating func add(_ name: HeaderName, from other: HeaderFields) {
    var from = 0
    while let field = other.find(name, from: from) {
      add(name, bytes: other.bytes.span.extracting(field.value))
      from = field.line.upperBound
    }
  }

  /// Becomes a copy of `other`; the memory is kept.
  package mutating func assign(_ other: HeaderFields) {
    bytes.removeAll(keepingCapacity: true)
    bytes.append(contentsOf: other.bytes)
    mayHoldConnectionFields = other.mayHoldConnectionFields
    knownNames = other.knownNames
    hostPlace = other.hostPlace
  }

  /// Shows every field in order: its name in the case in which it came, its value without the white space around it.
  public func forEach(_ body: (_ name: Span<UInt8>, _ value: Span<UInt8>) throws -> Void) rethrows {
    var begin = 0
    while begin < bytes.count {
      let line = line(at: begin)
      try body(bytes.span.extracting(line.name), bytes.span.extracting(line.value))
      begin = line.end
    }
  }

  /// Removes the fields for whose name `isUnwanted` says true, in one pass.
  public mutating func removeAll(where isUnwanted: (_ name: Span<UInt8>) throws -> Bool) rethrows {
    knownNames = nil
    var kept = 0
    var begin = 0
    while begin < bytes.count {
      let line = line(at: begin)
      if try !isUnwanted(bytes.span.extracting(line.name)) {
        if kept != begin { for i in 0..<(line.end - begin) { bytes[kept + i] = bytes[begin + i] } }
        kept += line.end - begin
      }
      begin = line.end
    }
    bytes.removeLast(bytes.count - kept)
  }

  /// Removes every field of this name.
  public mutating func remove(_ name: HeaderName) {
    knownNames = nil
    var from = 0
    while let field = find(name, from: from) {
      bytes.removeSubrange(field.line)
      from = field.line.lowerBound
    }
  }

  public mutating func removeAll() {
    if !bytes.isEmpty { bytes.removeAll(keepingCapacity: true) }
    mayHoldConnectionFields = false
    knownNames = nil
  }

  public func contains(_ name: HeaderName) -> Bool { find(name, from: 0) != nil }

  /// How many fields have this name.
  public func count(of name: HeaderName) -> Int {
    var count = 0
    var from = 0
    while let field = find(name, from: from) {
      count += 1
      from = field.line.upperBound
    }
    return count
  }

  /// Borrows the value of the first field of this name, without the white space around it; `nil` when there is none.
  /// Nothing is copied, and nothing can escape.
  public func withValue<Result: ~Copyable>(
    of name: HeaderName, _ body: (Span<UInt8>?) throws -> Result
  ) rethrows -> Result {
    guard let field = find(name, from: 0) else { return try body(nil) }
    return try body(bytes.span.extracting(field.value))
  }

  /// The same of `host`, which is asked for several times a request: nothing is searched where a parser has noted it.
  @inlinable package func withHost<Result: ~Copyable>(_ body: (Span<UInt8>?) throws -> Result) rethrows -> Result {
    if knownNames != nil, !hostPlace.isEmpty { return try body(bytes.span.extracting(hostPlace)) }
    return try withValue(of: "host", body)
  }

  /// A copy of the first value of this name; costs a malloc when it is longer than 15 bytes.
  public subscript(_ name: HeaderName) -> String? {
    guard let field = find(name, from: 0) else { return nil }
    return String(decoding: bytes[field.value], as: UTF8.self)
  }

  /// Every value of this name, in order.
  public func values(of name: HeaderName) -> [String] {
    var values: [String] = []
    var from = 0
    while let field = find(name, from: from) {
      values.append(String(decoding: bytes[field.value], as: UTF8.self))
      from = field.line.upperBound
    }
    return values
  }

  /// The lines as they go on the wire, without the empty line that ends them.
  @inlinable public func withWireBytes<Result: ~Copyable>(_ body: (Span<UInt8>) throws -> Result) rethrows -> Result {
    try body(bytes.span)
  }

  /// Appends whole lines, each with its line end, as ``withWireBytes(_:)`` showed them before. Allocates nothing once the
  /// buffer has grown.
  package mutating func append(wireBytes lines: [UInt8]) {
    knownNames = nil
    bytes.append(contentsOf: lines)
    // Whoever kept them may have kept a length.
    mayHoldConnectionFields = true
  }

  private func find(_ name: HeaderName, from start: Int) -> (line: Range<Int>, value: Range<Int>)? {
    let all = bytes.span
    var begin = start
    while begin < all.count {
      let lineEnd = endOfLine(from: begin)
      let colon = begin + name.count
      if colon < lineEnd, all[colon] == UInt8(ascii: ":"), name.matches(all.extracting(begin..<colon)) {
        return (begin..<(lineEnd + 1), Self.trimmed(all, colon + 1..<lineEnd - 1))
      }
      begin = lineEnd + 1
    }
    return nil
  }

  /// The field line that begins there.
  private func line(at begin: Int) -> (name: Range<Int>, value: Range<Int>, end: Int) {
    let all = bytes.span
    var colon = begin
    while all[colon] != UInt8(ascii: ":") { colon += 1 }
    let lineEnd = endOfLine(from: colon)
    return (begin..<colon, Self.trimmed(all, colon + 1..<lineEnd - 1), lineEnd + 1)
  }

  private static func trimmed(_ all: borrowing Span<UInt8>, _ value: Range<Int>) -> Range<Int> {
    var first = value.lowerBound
    var last = value.upperBound
    while first < last, all[first] == 32 || all[first] == 9 { first += 1 }
    while last > first, all[last - 1] == 32 || all[last - 1] == 9 { last -= 1 }
    return first..<last
  }

  private mutating func begin(_ name: HeaderName) {
    if name.isOfConnection { mayHoldConnectionFields = true }
    knownNames = nil
    name.append(to: &bytes)
    bytes.append(UInt8(ascii: ":"))
    bytes.append(32)
  }

  mutating func end() {
    bytes.append(13)
    bytes.append(10)
  }

  private mutating func appendDecimal(_ value: UInt) {
    if value >= 10 { appendDecimal(value / 10) }
    bytes.append(UInt8(48 + value % 10))
  }
}
