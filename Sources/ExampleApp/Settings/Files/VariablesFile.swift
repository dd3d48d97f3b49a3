/// `config.env`: one `NAME=VALUE` a line, as shells and container tools read it.
///
/// Empty lines and lines that begin with `#` are passed over; `export` may stand in front; a value may stand in quotes, of which
/// the single ones and the double ones mean the same: what stands between them.
struct VariablesFile: Sendable {
  struct Entry: Sendable, Equatable {
    var value: String
    var line: Int
  }

  static let name = "config.env"

  /// How sentences call it.
  let file: String
  private(set) var entries: [String: Entry] = [:]

  /// Without any variable.
  init(file: String = VariablesFile.name) { self.file = file }

  /// - Throws: ``SettingsError`` naming the line.
  init(_ bytes: [UInt8], file: String) throws {
    self.file = file
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw SettingsError("\(file): it is no text (UTF-8)")
    }
    // A line may end in CR LF, which is one Character.
    for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
      let content = Self.trimmed(line)
      if content.isEmpty || content.hasPrefix("#") { continue }
      try take(content.hasPrefix("export ") ? Self.trimmed(content.dropFirst(7)) : content, line: index + 1)
    }
  }

  private mutating func take(_ content: Substring, line: Int) throws {
    guard let equals = content.firstIndex(of: "="), isVariableName(content[..<equals]) else {
      // The line may hold a password.
      throw SettingsError(
        "\(file):\(line): this is no line of the form NAME=VALUE; a name holds letters, digits and _, without spaces around ="
      )
    }
    let name = String(content[..<equals])
    var value = content[content.index(after: equals)...]
    if let quote = value.first, quote == "\"" || quote == "'" {
      guard value.count >= 2, value.last == quote else {
        throw SettingsError("\(file):\(line): \(name): the quotation mark at the beginning is not closed at the end")
      }
      value = value.dropFirst().dropLast()
    }
    if let first = entries[name] {
      throw SettingsError("\(file):\(line): \(name) stands on line \(first.line) already; keep one of them")
    }
    entries[name] = Entry(value: String(value), line: line)
  }

  private static func trimmed(_ text: Substring) -> Substring {
    var text = text.drop { $0 == " " || $0 == "\t" }
    while let last = text.last, last == " " || last == "\t" { text.removeLast() }
    return text
  }
}

/// `[A-Za-z_][A-Za-z0-9_]*` (POSIX, 8.1, and what shells take).
func isVariableName(_ text: some StringProtocol) -> Bool {
  guard let first = text.utf8.first, !(48...57).contains(first) else { return false }
  return text.utf8.allSatisfy { byte in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
      true
    default: false
    }
  }
}
