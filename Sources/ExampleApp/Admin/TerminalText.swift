/// Texts that somebody else may have chosen, for a terminal: what is not plain is written as in JSON, so that no such text moves
/// the cursor or begins a line of its own.
enum TerminalText {
  /// In quotes where it is not plain.
  static func shown(_ text: String) -> String {
    let quoted = quoted(text)
    return quoted.dropFirst().dropLast() == text[...] && !text.isEmpty ? text : quoted
  }

  /// Always in quotes.
  static func quoted(_ text: String) -> String { JSON.string(text).text }
}

extension String {
  /// With blanks at its end, to a column's width.
  func padding(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
