/// Reads replies out of bytes that come in pieces of any size.
///
/// A pure value: bytes go in, values come out. What has been read is never read again, however small the pieces are:
/// arrays that are not complete wait on a stack, a string whose length is known is waited for without a look. The number of
/// elements that a server announces reserves nothing.
public struct RESPParser: Sendable {
  private enum Aggregate { case array, map, set, push, attribute }

  private struct Frame {
    let kind: Aggregate
    var missing: Int
    var items: [RESPValue]
  }

  private enum Body { case bulk, error, verbatim }

  /// What one step found.
  private enum Found {
    case nothing
    case value(RESPValue)
    case opened
  }

  private let limits: RESPLimits
  private var buffer: [UInt8] = []
  /// Bytes before it are read.
  private var position = 0
  /// Where the search for the line's end goes on.
  private var searched = 0
  private var frames: [Frame] = []
  private var body: (kind: Body, length: Int)?
  /// Of the reply that is being read.
  private var elements = 0
  private var size = 0

  public init(_ limits: RESPLimits = RESPLimits()) { self.limits = limits }

  /// Bytes that were taken and belong to no complete reply yet.
  public var pending: Int { buffer.count - position }

  /// Takes more bytes.
  public mutating func append(_ bytes: some Sequence<UInt8>) {
    if position == buffer.count {
      // One huge reply does not hold its memory for good.
      buffer.removeAll(keepingCapacity: buffer.capacity <= 256 * 1024)
      searched -= position
      position = 0
    } else if position >= 64 * 1024, position > buffer.count / 2 {
      buffer.removeFirst(position)
      searched -= position
      position = 0
    }
    buffer.append(contentsOf: bytes)
  }

  /// The next complete reply, or `nil`: more bytes are needed.
  ///
  /// - Throws: a fault; the parser is of no use after it.
  public mutating func next() throws(RESPFault) -> RESPValue? {
    while true {
      switch try step() {
      case .nothing: return nil
      case .opened: break
      case .value(let value):
        guard let whole = deliver(value) else { break }
        elements = 0
        size = 0
        return whole
      }
    }
  }

  /// Puts a value into the array that waits for it; returns what is whole then.
  private mutating func deliver(_ value: RESPValue) -> RESPValue? {
    var value = value
    while let last = frames.indices.last {
      frames[last].items.append(value)
      frames[last].missing -= 1
      guard frames[last].missing == 0 else { return nil }
      guard let whole = Self.whole(frames.removeLast()) else { return nil }
      value = whole
    }
    return value
  }

  /// `nil` for an attribute: it says something about the value after it, and nobody here asks.
  private static func whole(_ frame: Frame) -> RESPValue? {
    switch frame.kind {
    case .array: return .array(frame.items)
    case .set: return .set(frame.items)
    case .push: return .push(frame.items)
    case .attribute: return nil
    case .map:
      return .map(stride(from: 0, to: frame.items.count, by: 2).map { RESPPair(frame.items[$0], frame.items[$0 + 1]) })
    }
  }

  private mutating func step() throws(RESPFault) -> Found {
    if body != nil { return try stepBody() }
    guard position < buffer.count else { return .nothing }
    let type = buffer[position]
    guard Self.isType(type) else { throw .unknownType(type) }
    guard let line = try lineEnd() else { return .nothing }
    let content = position + 1..<line
    position = line + 2
    searched = position
    elements += 1
    if elements > limits.elements { throw .tooLarge("elements") }
    try count(content.count + 3)
    return try read(type, content)
  }

  private mutating func count(_ bytes: Int) throws(RESPFault) {
    size += bytes
    if size > limits.reply { throw .tooLarge("reply") }
  }

  private static func isType(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: ":"), UInt8(ascii: "$"), UInt8(ascii: "*"),
      UInt8(ascii: "_"), UInt8(ascii: "#"), UInt8(ascii: ","), UInt8(ascii: "("), UInt8(ascii: "!"),
      UInt8(ascii: "="), UInt8(ascii: "%"), UInt8(ascii: "~"), UInt8(ascii: ">"), UInt8(ascii: "|"):
      true
    default: false
    }
  }

  /// Where the CR of the present line stands.
  private mutating func lineEnd() throws(RESPFault) -> Int? {
    searched = max(searched, position)
    while searched < buffer.count {
      let byte = buffer[searched]
      if byte == 10 { throw .badLineEnd }
      if byte == 13 {
        guard searched + 1 < buffer.count else { break }
        if buffer[searched + 1] != 10 { throw .badLineEnd }
        return searched
      }
      searched += 1
      if searched - position > limits.line { throw .tooLarge("line") }
    }
    return nil
  }

  private mutating func read(_ type: UInt8, _ line: Range<Int>) throws(RESPFault) -> Found {
    switch type {
    case UInt8(ascii: "+"): return .value(.status(try text(line)))
    case UInt8(ascii: "-"): return .value(.error(RESPError(line: lossyText(line))))
    case UInt8(ascii: ":"): return .value(.integer(try number(line)))
    case UInt8(ascii: "_"):
      guard line.isEmpty else { throw .badNumber }
      return .value(.null)
    case UInt8(ascii: "#"):
      guard line.count == 1 else { throw .badNumber }
      switch buffer[line.lowerBound] {
      case UInt8(ascii: "t"): return .value(.boolean(true))
      case UInt8(ascii: "f"): return .value(.boolean(false))
      default: throw .badNumber
      }
    case UInt8(ascii: ","): return .value(.double(try double(line)))
    case UInt8(ascii: "("): return .value(.bigNumber(try digits(line)))
    case UInt8(ascii: "$"): return try begin(.bulk, line, mayBeNull: true)
    case UInt8(ascii: "!"): return try begin(.error, line, mayBeNull: false)
    case UInt8(ascii: "="): return try begin(.verbatim, line, mayBeNull: false)
    case UInt8(ascii: "*"): return try open(.array, line, mayBeNull: true)
    case UInt8(ascii: "~"): return try open(.set, line, mayBeNull: false)
    case UInt8(ascii: "%"): return try open(.map, line, mayBeNull: false)
    case UInt8(ascii: ">"):
      guard frames.isEmpty else { throw .misplaced }
      return try open(.push, line, mayBeNull: false)
    case UInt8(ascii: "|"): return try open(.attribute, line, mayBeNull: false)
    default: throw .unknownType(type)
    }
  }

  // MARK: Strings with a length

  private mutating func begin(_ kind: Body, _ line: Range<Int>, mayBeNull: Bool) throws(RESPFault) -> Found {
    guard let length = try length(line, mayBeNull: mayBeNull) else { return .value(.null) }
    if length > limits.bulk { throw .tooLarge("bulk") }
    try count(length + 2)
    body = (kind, length)
    return .opened
  }

  private mutating func stepBody() throws(RESPFault) -> Found {
    guard let (kind, length) = body, buffer.count - position >= length + 2 else { return .nothing }
    let end = position + length
    guard buffer[end] == 13, buffer[end + 1] == 10 else { throw .badLineEnd }
    let content = position..<end
    position = end + 2
    body = nil
    switch kind {
    case .bulk: return .value(.bulk(Array(buffer[content])))
    case .error: return .value(.error(RESPError(line: lossyText(content))))
    case .verbatim:
      guard length >= 4, buffer[content.lowerBound + 3] == UInt8(ascii: ":") else { throw .badVerbatim }
      let format = try text(content.lowerBound..<content.lowerBound + 3)
      return .value(.verbatim(format: format, Array(buffer[content.lowerBound + 4..<end])))
    }
  }

  // MARK: Aggregates

  private mutating func open(_ kind: Aggregate, _ line: Range<Int>, mayBeNull: Bool) throws(RESPFault) -> Found {
    guard let announced = try length(line, mayBeNull: mayBeNull) else { return .value(.null) }
    // Before it is doubled: so large a number would overflow.
    if announced > limits.elements { throw .tooLarge("elements") }
    let count: Int
    switch kind {
    case .map, .attribute: count = 2 * announced
    case .array, .set, .push: count = announced
    }
    if elements + count > limits.elements { throw .tooLarge("elements") }
    if frames.count >= limits.depth { throw .tooLarge("depth") }
    let frame = Frame(kind: kind, missing: count, items: [])
    if count == 0 { return Self.whole(frame).map { .value($0) } ?? .opened }
    frames.append(frame)
    return .opened
  }

  // MARK: Words of a line

  private func text(_ range: Range<Int>) throws(RESPFault) -> String {
    guard let text = String(validating: buffer[range], as: UTF8.self) else { throw .badText }
    return text
  }

  /// An error may quote bytes of a key.
  private func lossyText(_ range: Range<Int>) -> String { String(decoding: buffer[range], as: UTF8.self) }

  /// `-1` is null where it may be one.
  private func length(_ line: Range<Int>, mayBeNull: Bool) throws(RESPFault) -> Int? {
    if line.count == 1, buffer[line.lowerBound] == UInt8(ascii: "?") { throw .streamed }
    let value = try number(line)
    if value == -1, mayBeNull { return nil }
    guard value >= 0, buffer[line.lowerBound] != UInt8(ascii: "+"), let length = Int(exactly: value) else {
      throw .badNumber
    }
    return length
  }

  private func number(_ line: Range<Int>) throws(RESPFault) -> Int64 {
    var index = line.lowerBound
    guard index < line.upperBound else { throw .badNumber }
    let isNegative = buffer[index] == UInt8(ascii: "-")
    if isNegative || buffer[index] == UInt8(ascii: "+") { index += 1 }
    guard index < line.upperBound else { throw .badNumber }
    var value: Int64 = 0
    while index < line.upperBound {
      let byte = buffer[index]
      guard (48...57).contains(byte) else { throw .badNumber }
      let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
      // Downwards, so that the smallest number fits.
      let (sum, carry) = tens.subtractingReportingOverflow(Int64(byte - 48))
      if overflow || carry { throw .badNumber }
      value = sum
      index += 1
    }
    if isNegative { return value }
    if value == .min { throw .badNumber }
    return -value
  }

  private func digits(_ line: Range<Int>) throws(RESPFault) -> String {
    var rest = line
    if let first = rest.first, buffer[first] == UInt8(ascii: "-") || buffer[first] == UInt8(ascii: "+") {
      rest.removeFirst()
    }
    guard !rest.isEmpty, rest.allSatisfy({ (48...57).contains(buffer[$0]) }) else { throw .badNumber }
    return try text(line)
  }

  private func double(_ line: Range<Int>) throws(RESPFault) -> Double {
    let text = try text(line)
    switch text {
    case "inf", "+inf": return .infinity
    case "-inf": return -.infinity
    case "nan", "-nan": return .nan
    default: break
    }
    // Swift would read more: hexadecimal digits, "infinity".
    let isDecimal = text.utf8.allSatisfy { byte in
      (48...57).contains(byte) || "+-.eE".utf8.contains(byte)
    }
    guard line.count <= 512, isDecimal, let value = Double(text) else { throw .badNumber }
    return value
  }
}
