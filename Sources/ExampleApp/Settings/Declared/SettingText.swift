/// Where the value of a setting comes from; later cases win.
enum SettingOrigin: Sendable, Equatable {
  case standard
  /// `because` of another setting that is given.
  case implied(because: String)
  case file(String, line: Int, key: String)
  case variablesFile(String, line: Int, name: String)
  case environment(String)
  case flag(String)

  /// How a sentence about the value begins.
  var place: String {
    switch self {
    case .standard: "the default"
    case .implied(let key): key
    case .file(let file, let line, let key): "\(file):\(line): \(key)"
    case .variablesFile(let file, let line, let name): "\(file):\(line): \(name)"
    case .environment(let name): name
    case .flag(let name): "--\(name)"
    }
  }

  /// For the list of effective values.
  var shown: String {
    switch self {
    case .standard: "default"
    case .implied(let key): "because \(key) is given"
    case .file(let file, let line, let key): "\(file):\(line) \(key)"
    case .variablesFile(let file, let line, let name): "\(file):\(line) \(name)"
    case .environment(let name): "environment \(name)"
    case .flag(let name): "--\(name)"
    }
  }
}

/// A value as somebody has given it.
struct SettingText: Sendable, Equatable {
  /// Variables are replaced.
  var text: String
  /// As it was written. A value from a variable may be a secret, so sentences show this one.
  var written: String
  /// A variable whose name says so stands in it.
  var isSecret = false
  var origin: SettingOrigin

  init(_ text: String, _ origin: SettingOrigin) {
    self.text = text
    written = text
    self.origin = origin
  }
}

/// One part of a list: a single text, or a text for each of its fields.
struct SettingItem: Sendable {
  var fields: [Field]
  var origin: SettingOrigin

  struct Field: Sendable {
    /// Empty: the item is one text, without fields.
    var name: String
    var text: SettingText
  }
}

/// What was given for one setting.
enum GivenSetting: Sendable {
  case text(SettingText)
  case list([SettingItem], SettingOrigin)

  var origin: SettingOrigin {
    switch self {
    case .text(let text): text.origin
    case .list(_, let origin): origin
    }
  }
}

/// What is wrong with settings: one sentence for each mistake.
struct SettingsProblems: Error, CustomStringConvertible {
  let sentences: [String]

  var description: String { sentences.joined(separator: "\n") }
}
