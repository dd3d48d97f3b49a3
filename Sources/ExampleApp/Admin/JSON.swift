/// A value to be written as JSON (RFC 8259). Members stand in the order in which they are given.
enum JSON: Sendable, Equatable {
  case null
  case bool(Bool)
  case int(Int)
  case string(String)
  case array([JSON])
  case object([Member])

  struct Member: Sendable, Equatable {
    let name: String
    let value: JSON
  }

  /// `["name": .string("ann"), "blocked": .bool(false)]`, in this order.
  static func object(_ members: KeyValuePairs<String, JSON>) -> JSON {
    .object(members.map { Member(name: $0.key, value: $0.value) })
  }

  /// `null` where there is no text.
  static func text(_ text: String?) -> JSON { text.map { .string($0) } ?? .null }

  /// On one line, without spaces.
  var text: String {
    var out: [UInt8] = []
    write(into: &out)
    return String(decoding: out, as: UTF8.self)
  }

  private func write(into out: inout [UInt8]) {
    switch self {
    case .null: out += "null".utf8
    case .bool(let value): out += (value ? "true" : "false").utf8
    case .int(let value): out += String(value).utf8
    case .string(let value): Self.write(value, into: &out)
    case .array(let values):
      Self.write(values, between: (UInt8(ascii: "["), UInt8(ascii: "]")), into: &out) { $0.write(into: &$1) }
    case .object(let members):
      Self.write(members, between: (UInt8(ascii: "{"), UInt8(ascii: "}")), into: &out) { member, out in
        Self.write(member.name, into: &out)
        out.append(UInt8(ascii: ":"))
        member.value.write(into: &out)
      }
    }
  }

  private static func write<Item>(
    _ items: [Item], between ends: (UInt8, UInt8), into out: inout [UInt8], _ body: (Item, inout [UInt8]) -> Void
  ) {
    out.append(ends.0)
    for (index, item) in items.enumerated() {
      if index > 0 { out.append(UInt8(ascii: ",")) }
      body(item, &out)
    }
    out.append(ends.1)
  }

  private static let digits = Array("0123456789abcdef".utf8)

  /// RFC 8259, 7: quotation mark, backslash and everything below U+0020 are escaped. DEL, C1 controls and what reorders or
  /// ends a line in a terminal are, too: the answers are shown in terminals, and clients choose parts of them.
  private static func write(_ text: String, into out: inout [UInt8]) {
    out.append(UInt8(ascii: "\""))
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += #"\""#.utf8
      case "\\": out += #"\\"#.utf8
      case "\n": out += #"\n"#.utf8
      case "\r": out += #"\r"#.utf8
      case "\t": out += #"\t"#.utf8
      default:
        if isUnseen(scalar) {
          for unit in UTF16.encode(scalar).map({ Array($0) }) ?? [] { writeEscaped(unit, into: &out) }
        } else {
          out += UTF8.encode(scalar).map { Array($0) } ?? []
        }
      }
    }
    out.append(UInt8(ascii: "\""))
  }

  private static func isUnseen(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.value >= 0x20, scalar.value < 0x7f { return false }
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: return true
    default: return false
    }
  }

  private static func writeEscaped(_ unit: UInt16, into out: inout [UInt8]) {
    out += "\\u".utf8
    for shift in [12, 8, 4, 0] { out.append(digits[Int(unit >> UInt16(shift)) & 15]) }
  }
}
