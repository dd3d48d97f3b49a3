/// What a server may send at most. Beyond it the connection is closed: a reply that nobody expects is not worth the memory.
public struct RESPLimits: Hashable, Sendable {
  /// Bytes of a status, an error line or a number, with its type byte: 64 or more.
  public var line: Int
  /// Bytes of one string: 0 or more.
  public var bulk: Int
  /// Arrays within arrays: 1 or more.
  public var depth: Int
  /// Values in one reply, those within it included: 1 or more.
  public var elements: Int
  /// Bytes of one whole reply: 64 or more.
  public var reply: Int

  public init(
    line: Int = 64 * 1024, bulk: Int = 16 << 20, depth: Int = 16, elements: Int = 1 << 20, reply: Int = 64 << 20
  ) {
    self.line = line
    self.bulk = bulk
    self.depth = depth
    self.elements = elements
    self.reply = reply
  }

  var problem: String? {
    if line < 64 { return "limits.line of \(line): 64 bytes or more are allowed" }
    if bulk < 0 { return "limits.bulk of \(bulk): 0 bytes or more are allowed" }
    if depth < 1 { return "limits.depth of \(depth): 1 or more is allowed" }
    if elements < 1 { return "limits.elements of \(elements): 1 or more is allowed" }
    if reply < 64 { return "limits.reply of \(reply): 64 bytes or more are allowed" }
    return nil
  }
}

/// What is wrong with a server's bytes. Nothing after it can be trusted.
public enum RESPFault: Error, Hashable, Sendable, CustomStringConvertible {
  /// A value begins with a byte that means nothing: the peer is probably no Redis.
  case unknownType(UInt8)
  /// A line end that is not CR LF, or is missing behind a string.
  case badLineEnd
  /// A number, a length, a boolean or a double that is none.
  case badNumber
  /// A verbatim string without its format.
  case badVerbatim
  /// Text that is not UTF-8 where only text may be.
  case badText
  /// A push or an attribute where it may not be.
  case misplaced
  /// `$?` and `*?`: no released server sends values whose length is not known beforehand.
  case streamed
  /// A limit of ``RESPLimits``, by its name.
  case tooLarge(String)

  public var description: String {
    switch self {
    case .unknownType(let byte): "no value of RESP begins with the byte \(byte)"
    case .badLineEnd: "a line does not end in CR LF"
    case .badNumber: "a number is malformed"
    case .badVerbatim: "a verbatim string has no format"
    case .badText: "a line is not UTF-8"
    case .misplaced: "a push or an attribute stands within another value"
    case .streamed: "a value of unknown length"
    case .tooLarge(let limit): "a reply is over the limit of \(limit)"
    }
  }
}
