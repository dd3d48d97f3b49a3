/// A setting that cannot be used: one sentence that says what, where, and what is allowed.
struct SettingsError: Error, CustomStringConvertible, Equatable {
  let description: String

  init(_ sentence: String) { description = sentence }

  /// The usual form: where the setting stands, its value, and what would be allowed.
  init(_ place: String, value: String, allowed: String) {
    description = "\(place): \(TerminalText.quoted(value)) is not allowed; allowed is \(allowed)"
  }
}
