/// Which version of the protocol a connection speaks.
public enum RESPVersion: Int, Hashable, Sendable {
  case resp2 = 2
  case resp3 = 3
}

/// Writes values as a server does; commands are arrays of strings in both versions.
public enum RESPSerializer {
  /// Appends a value. What RESP2 lacks is written as Redis writes it to clients that speak RESP2.
  public static func append(_ value: RESPValue, as version: RESPVersion, to out: inout [UInt8]) {
    switch (value, version) {
    case (.status(let text), _): line(UInt8(ascii: "+"), oneLine(text), to: &out)
    case (.error(let error), _): line(UInt8(ascii: "-"), oneLine(error.description), to: &out)
    case (.integer(let number), _):
      out.append(UInt8(ascii: ":"))
      decimal(number, to: &out)
      end(&out)
    case (.bulk(let bytes), _): string(bytes, to: &out)
    case (.array(let elements), _), (.set(let elements), .resp2), (.push(let elements), .resp2):
      all(elements, UInt8(ascii: "*"), as: version, to: &out)
    case (.set(let elements), .resp3): all(elements, UInt8(ascii: "~"), as: version, to: &out)
    case (.push(let elements), .resp3): all(elements, UInt8(ascii: ">"), as: version, to: &out)
    case (.null, .resp2): out.append(contentsOf: "$-1\r\n".utf8)
    case (.null, .resp3): out.append(contentsOf: "_\r\n".utf8)
    case (.boolean(let value), .resp2): append(.integer(value ? 1 : 0), as: version, to: &out)
    case (.boolean(let value), .resp3): out.append(contentsOf: (value ? "#t\r\n" : "#f\r\n").utf8)
    case (.double(let value), .resp2): string(Array(text(value).utf8), to: &out)
    case (.double(let value), .resp3): line(UInt8(ascii: ","), text(value), to: &out)
    case (.bigNumber(let digits), .resp2): string(Array(digits.utf8), to: &out)
    case (.bigNumber(let digits), .resp3): line(UInt8(ascii: "("), oneLine(digits), to: &out)
    case (.verbatim(_, let bytes), .resp2): string(bytes, to: &out)
    case (.verbatim(let format, let bytes), .resp3):
      header(UInt8(ascii: "="), bytes.count + 4, to: &out)
      let letters = Array(format.utf8.prefix(3))
      out.append(contentsOf: letters + [UInt8](repeating: UInt8(ascii: " "), count: 3 - letters.count))
      out.append(UInt8(ascii: ":"))
      out.append(contentsOf: bytes)
      end(&out)
    case (.map(let pairs), _):
      header(
        version == .resp3 ? UInt8(ascii: "%") : UInt8(ascii: "*"), version == .resp3 ? pairs.count : 2 * pairs.count,
        to: &out)
      for pair in pairs {
        append(pair.key, as: version, to: &out)
        append(pair.value, as: version, to: &out)
      }
    }
  }

  /// The head of a command of so many words.
  static func commandHead(_ words: Int, to out: inout [UInt8]) { header(UInt8(ascii: "*"), words, to: &out) }

  /// One word of a command.
  static func string(_ bytes: some Collection<UInt8>, to out: inout [UInt8]) {
    header(UInt8(ascii: "$"), bytes.count, to: &out)
    out.append(contentsOf: bytes)
    end(&out)
  }

  /// One word of a command: a number, as its digits.
  static func number(_ number: Int, to out: inout [UInt8]) {
    var digits = 1
    var rest = number.magnitude / 10
    while rest > 0 {
      digits += 1
      rest /= 10
    }
    header(UInt8(ascii: "$"), digits + (number < 0 ? 1 : 0), to: &out)
    decimal(Int64(number), to: &out)
    end(&out)
  }

  private static func all(
    _ elements: [RESPValue], _ type: UInt8, as version: RESPVersion, to out: inout [UInt8]
  ) {
    header(type, elements.count, to: &out)
    for element in elements { append(element, as: version, to: &out) }
  }

  private static func header(_ type: UInt8, _ count: Int, to out: inout [UInt8]) {
    out.append(type)
    decimal(Int64(count), to: &out)
    end(&out)
  }

  private static func line(_ type: UInt8, _ text: String, to out: inout [UInt8]) {
    out.append(type)
    out.append(contentsOf: text.utf8)
    end(&out)
  }

  private static func end(_ out: inout [UInt8]) {
    out.append(13)
    out.append(10)
  }

  /// A line end within a line would be the end of the value: Redis writes a space, too.
  private static func oneLine(_ text: String) -> String {
    if !text.utf8.contains(where: { $0 == 13 || $0 == 10 }) { return text }
    return String(decoding: text.utf8.map { $0 == 13 || $0 == 10 ? 32 : $0 }, as: UTF8.self)
  }

  private static func text(_ value: Double) -> String {
    if value.isNaN { return "nan" }
    if value.isInfinite { return value < 0 ? "-inf" : "inf" }
    return value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
  }

  /// Digits without a text in between.
  static func decimal(_ number: Int64, to out: inout [UInt8]) {
    if number < 0 { out.append(UInt8(ascii: "-")) }
    let start = out.count
    var rest = number.magnitude
    repeat {
      out.append(48 + UInt8(rest % 10))
      rest /= 10
    } while rest > 0
    out[start...].reverse()
  }
}
