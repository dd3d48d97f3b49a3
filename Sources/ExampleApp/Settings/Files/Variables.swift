/// Where `${NAME}` in a settings file looks: the environment, then `config.env`.
struct Variables: Sendable {
  let environment: Environment
  let file: VariablesFile

  private func value(of name: String) -> String? {
    // As for settings, an empty one is none.
    [environment.value(name), file.entries[name]?.value].compactMap { $0 }.first { !$0.isEmpty }
  }

  /// A text of the settings file with its variables replaced.
  ///
  /// `${NAME}` and, where it may be unset, `${NAME:-text}`; `$$` stands for `$`.
  ///
  /// - Returns: the text, and the names that stand in it.
  /// - Throws: ``SettingsError`` beginning with `place`.
  func expand(_ text: String, place: String) throws -> (text: String, names: [String]) {
    guard text.contains("$") else { return (text, []) }
    var out = ""
    var names: [String] = []
    var rest = text[...]
    while let dollar = rest.firstIndex(of: "$") {
      out += rest[..<dollar]
      rest = rest[rest.index(after: dollar)...]
      switch rest.first {
      case "$":
        out += "$"
        rest = rest.dropFirst()
      case "{":
        guard let end = rest.firstIndex(of: "}") else {
          throw SettingsError("\(place): ${ is not closed; write ${NAME}, or $$ for a dollar")
        }
        let inside = rest[rest.index(after: rest.startIndex)..<end]
        rest = rest[rest.index(after: end)...]
        let (name, standard) = Self.parts(of: inside)
        guard isVariableName(name) else {
          throw SettingsError(
            "\(place): \(TerminalText.shown("${\(inside)}")) names no variable; a name holds letters, digits and _, and $$ "
              + "stands for a dollar")
        }
        guard let value = value(of: name) ?? standard else {
          throw SettingsError(
            "\(place): the variable \(name) is not set; set it in the environment or in \(file.file), or write "
              + "${\(name):-VALUE}")
        }
        out += value
        names.append(name)
      case _: out += "$"
      }
    }
    return (out + rest, names)
  }

  private static func parts(of inside: Substring) -> (name: String, standard: String?) {
    guard let range = inside.firstRange(of: ":-") else { return (String(inside), nil) }
    return (String(inside[..<range.lowerBound]), String(inside[range.upperBound...]))
  }

  /// Whether a name says that its value is nobody's business.
  static func isSecret(_ name: String) -> Bool {
    let name = name.uppercased()
    return ["SECRET", "TOKEN", "PASS", "KEY", "CREDENTIAL", "PRIVATE"].contains { name.contains($0) }
  }
}
