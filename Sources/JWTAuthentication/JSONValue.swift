/// A value of JSON (RFC 8259), as it stands in a token or a key set.
public enum JSONValue: Sendable, Hashable {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([String: JSONValue])
}

extension JSONValue {
  /// Reads JSON strictly: no member twice, nothing behind the value, at most 16 levels.
  ///
  /// - Throws: an error that says what is wrong and at which byte, and quotes nothing.
  public init(parsing bytes: [UInt8]) throws { self = try JSONReader.read(bytes) }

  public var string: String? {
    if case .string(let value) = self { value } else { nil }
  }

  public var number: Double? {
    if case .number(let value) = self { value } else { nil }
  }

  public var bool: Bool? {
    if case .bool(let value) = self { value } else { nil }
  }

  public var array: [JSONValue]? {
    if case .array(let value) = self { value } else { nil }
  }

  public var object: [String: JSONValue]? {
    if case .object(let value) = self { value } else { nil }
  }

  /// The strings of an array in which there is nothing else.
  public var strings: [String]? {
    guard let array else { return nil }
    let strings = array.compactMap(\.string)
    return strings.count == array.count ? strings : nil
  }
}

/// Why bytes are no JSON, or none that is taken here.
struct JSONError: Error, Hashable, CustomStringConvertible {
  let description: String
}

/// Reads JSON strictly, and within bounds: what two readers could understand in two ways is refused. So no member
/// stands twice in an object (RFC 7515, 4), no string holds half a character, and nothing follows the value.
struct JSONReader {
  /// Tokens nest two or three deep; the bound keeps the stack.
  private static let maxDepth = 16

  private let bytes: [UInt8]
  private var i = 0
  private var depth = 0

  private init(_ bytes: [UInt8]) { self.bytes = bytes }

  static func read(_ bytes: [UInt8]) throws -> JSONValue {
    var reader = JSONReader(bytes)
    let value = try reader.value()
    reader.skipBlanks()
    guard reader.i == bytes.count else { throw reader.error("something follows the value") }
    return value
  }

  /// Never quotes what it read: it may be a secret.
  private func error(_ what: String) -> JSONError { JSONError(description: "no valid JSON: \(what) at byte \(i)") }

  private mutating func skipBlanks() {
    while i < bytes.count, [32, 9, 10, 13].contains(bytes[i]) { i += 1 }
  }

  private mutating func next(_ byte: UInt8) -> Bool {
    guard i < bytes.count, bytes[i] == byte else { return false }
    i += 1
    return true
  }

  private mutating func value() throws -> JSONValue {
    skipBlanks()
    guard i < bytes.count else { throw error("it ends too early") }
    switch bytes[i] {
    case UInt8(ascii: "{"): return try nested { try $0.object() }
    case UInt8(ascii: "["): return try nested { try $0.array() }
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
    default: throw error("no value begins so")
    }
  }

  private mutating func nested(_ body: (inout JSONReader) throws -> JSONValue) throws -> JSONValue {
    depth += 1
    guard depth <= Self.maxDepth else { throw error("it nests more than \(Self.maxDepth) deep") }
    defer { depth -= 1 }
    i += 1
    return try body(&self)
  }

  private mutating func object() throws -> JSONValue {
    var members: [String: JSONValue] = [:]
    skipBlanks()
    if next(UInt8(ascii: "}")) { return .object(members) }
    while true {
      skipBlanks()
      let name = try string()
      skipBlanks()
      guard next(UInt8(ascii: ":")) else { throw error("a colon is missing") }
      let value = try value()
      guard members.updateValue(value, forKey: name) == nil else { throw error("a member stands twice") }
      skipBlanks()
      if next(UInt8(ascii: "}")) { return .object(members) }
      guard next(UInt8(ascii: ",")) else { throw error("a comma is missing") }
    }
  }

  private mutating func array() throws -> JSONValue {
    var elements: [JSONValue] = []
    skipBlanks()
    if next(UInt8(ascii: "]")) { return .array(elements) }
    while true {
      elements.append(try value())
      skipBlanks()
      if next(UInt8(ascii: "]")) { return .array(elements) }
      guard next(UInt8(ascii: ",")) else { throw error("a comma is missing") }
    }
  }

  private mutating func word(_ text: String, _ value: JSONValue) throws -> JSONValue {
    guard bytes[i...].starts(with: text.utf8) else { throw error("no value begins so") }
    i += text.utf8.count
    return value
  }

  private mutating func number() throws -> Double {
    let begin = i
    _ = next(UInt8(ascii: "-"))
    if !next(UInt8(ascii: "0")), digits() == 0 { throw error("a digit is missing") }
    if next(UInt8(ascii: ".")), digits() == 0 { throw error("a digit is missing") }
    if next(UInt8(ascii: "e")) || next(UInt8(ascii: "E")) {
      if !next(UInt8(ascii: "+")) { _ = next(UInt8(ascii: "-")) }
      if digits() == 0 { throw error("a digit is missing") }
    }
    guard let value = Double(String(decoding: bytes[begin..<i], as: UTF8.self)), value.isFinite else {
      throw error("a number is out of range")
    }
    return value
  }

  private mutating func digits() -> Int {
    let begin = i
    while i < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[i]) { i += 1 }
    return i - begin
  }

  private mutating func string() throws -> String {
    guard next(UInt8(ascii: "\"")) else { throw error("a string is missing") }
    var text: [UInt8] = []
    while i < bytes.count {
      let byte = bytes[i]
      i += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let string = String(validating: text, as: UTF8.self) else { throw error("a string is no UTF-8") }
        return string
      case UInt8(ascii: "\\"): text += try escaped()
      case 0..<32: throw error("a control character stands in a string")
      default: text.append(byte)
      }
    }
    throw error("a string does not end")
  }

  private mutating func escaped() throws -> [UInt8] {
    guard i < bytes.count else { throw error("a string does not end") }
    i += 1
    switch bytes[i - 1] {
    case UInt8(ascii: "\""): return [34]
    case UInt8(ascii: "\\"): return [92]
    case UInt8(ascii: "/"): return [47]
    case UInt8(ascii: "b"): return [8]
    case UInt8(ascii: "f"): return [12]
    case UInt8(ascii: "n"): return [10]
    case UInt8(ascii: "r"): return [13]
    case UInt8(ascii: "t"): return [9]
    case UInt8(ascii: "u"):
      var scalar = try codeUnit()
      if (0xD800..<0xDC00).contains(scalar) {
        guard next(UInt8(ascii: "\\")), next(UInt8(ascii: "u")) else { throw error("half a character") }
        let low = try codeUnit()
        guard (0xDC00..<0xE000).contains(low) else { throw error("half a character") }
        scalar = 0x10000 + (scalar - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(scalar) else { throw error("half a character") }
      return Array(String(Character(scalar)).utf8)
    default: throw error("an unknown escape")
    }
  }

  private mutating func codeUnit() throws -> UInt32 {
    guard i + 4 <= bytes.count else { throw error("a string does not end") }
    var value: UInt32 = 0
    for byte in bytes[i..<i + 4] {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt32(byte - UInt8(ascii: "0"))
      case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt32(byte - UInt8(ascii: "a") + 10)
      case UInt8(ascii: "A")...UInt8(ascii: "F"): value = value << 4 | UInt32(byte - UInt8(ascii: "A") + 10)
      default: throw error("no hexadecimal digit")
      }
    }
    i += 4
    return value
  }
}
