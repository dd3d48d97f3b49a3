/// One reply of a Redis server, in either version of its protocol (RESP2 and RESP3).
public enum RESPValue: Hashable, Sendable {
  /// `+OK`: a short text without line ends.
  case status(String)
  /// `-ERR …`, or `!` with a length (RESP3).
  case error(RESPError)
  /// `:42`.
  case integer(Int64)
  /// `$5`: any bytes.
  case bulk([UInt8])
  /// `*2`.
  case array([RESPValue])
  /// `$-1` and `*-1` (RESP2), `_` (RESP3).
  case null
  /// `#t` (RESP3).
  case boolean(Bool)
  /// `,1.5` (RESP3).
  case double(Double)
  /// `(123…` (RESP3): a whole number of any length, as its digits.
  case bigNumber(String)
  /// `=15` (RESP3): text with the three letters of its format, "txt" or "mkd".
  case verbatim(format: String, [UInt8])
  /// `%2` (RESP3), in the order of the wire.
  case map([RESPPair])
  /// `~2` (RESP3), in the order of the wire.
  case set([RESPValue])
  /// `>2` (RESP3): sent without being asked for.
  case push([RESPValue])
}

/// One entry of a map.
public struct RESPPair: Hashable, Sendable {
  public var key: RESPValue
  public var value: RESPValue

  public init(_ key: RESPValue, _ value: RESPValue) {
    self.key = key
    self.value = value
  }
}

/// What a server says when it does not do what it was asked: `WRONGTYPE Operation against …`.
public struct RESPError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The first word: `ERR`, `MOVED`, `NOSCRIPT`. Servers tell their errors apart by it.
  public let code: String
  /// The rest of the line. May quote arguments of the command; the client's own AUTH never gets here.
  public let message: String

  public init(code: String, message: String) {
    self.code = code
    self.message = message
  }

  /// Splits the line of an error.
  init(line: String) {
    let parts = line.split(separator: " ", maxSplits: 1)
    code = parts.first.map(String.init) ?? "ERR"
    message = parts.count > 1 ? String(parts[1]) : ""
  }

  public var description: String { message.isEmpty ? code : "\(code) \(message)" }
}

extension RESPValue {
  /// The bytes of a text of any kind.
  public var bytes: [UInt8]? {
    switch self {
    case .bulk(let bytes), .verbatim(_, let bytes): bytes
    case .status(let text), .bigNumber(let text): Array(text.utf8)
    case .error, .integer, .array, .null, .boolean, .double, .map, .set, .push: nil
    }
  }

  /// The text, where it is UTF-8.
  public var text: String? { bytes.flatMap { String(validating: $0, as: UTF8.self) } }

  /// A whole number, also where RESP2 wrote it as text.
  public var integer: Int64? {
    switch self {
    case .integer(let value): value
    case .boolean(let value): value ? 1 : 0
    case .bulk, .status: text.flatMap { Int64($0) }
    case .error, .array, .null, .double, .bigNumber, .verbatim, .map, .set, .push: nil
    }
  }

  /// The elements of an array, a set or a push.
  public var elements: [RESPValue]? {
    switch self {
    case .array(let elements), .set(let elements), .push(let elements): elements
    case .status, .error, .integer, .bulk, .null, .boolean, .double, .bigNumber, .verbatim, .map: nil
    }
  }

  /// The entries of a map, also where RESP2 wrote it as an array of keys and values in turn.
  public var pairs: [RESPPair]? {
    switch self {
    case .map(let pairs): pairs
    case .array(let elements) where elements.count.isMultiple(of: 2):
      stride(from: 0, to: elements.count, by: 2).map { RESPPair(elements[$0], elements[$0 + 1]) }
    case .status, .error, .integer, .bulk, .array, .null, .boolean, .double, .bigNumber, .verbatim, .set, .push: nil
    }
  }

  /// What `key` has in a map.
  public func value(of key: String) -> RESPValue? { pairs?.first { $0.key.text == key }?.value }

  /// What it is, without what it holds: for errors.
  var kind: String {
    switch self {
    case .status: "a status"
    case .error(let error): "the error \(error.code)"
    case .integer: "an integer"
    case .bulk: "a string"
    case .array(let elements): "an array of \(elements.count)"
    case .null: "null"
    case .boolean: "a boolean"
    case .double: "a double"
    case .bigNumber: "a big number"
    case .verbatim: "a verbatim string"
    case .map: "a map"
    case .set: "a set"
    case .push: "a push"
    }
  }
}
