/// One flag of a command: declared once, it yields parsing, the error sentences and `--help`.
struct Flag: Sendable {
  enum Kind: Sendable, Equatable {
    /// Present or not.
    case toggle
    /// Takes one value; given twice is an error.
    case value(String)
    /// Takes one value each time that it is given.
    case list(String)
  }

  /// Without the dashes.
  let name: String
  let kind: Kind
  let help: String
  /// Shown in `--help` and used where the flag is not given.
  let standard: String?
  let isRequired: Bool

  static func toggle(_ name: String, _ help: String) -> Flag {
    Flag(name: name, kind: .toggle, help: help, standard: nil, isRequired: false)
  }

  static func value(_ name: String, _ placeholder: String, _ help: String, default standard: String? = nil) -> Flag {
    Flag(name: name, kind: .value(placeholder), help: help, standard: standard, isRequired: false)
  }

  static func required(_ name: String, _ placeholder: String, _ help: String) -> Flag {
    Flag(name: name, kind: .value(placeholder), help: help, standard: nil, isRequired: true)
  }

  /// To be given once or more.
  static func requiredList(_ name: String, _ placeholder: String, _ help: String) -> Flag {
    Flag(name: name, kind: .list(placeholder), help: help, standard: nil, isRequired: true)
  }

  static func list(_ name: String, _ placeholder: String, _ help: String) -> Flag {
    Flag(name: name, kind: .list(placeholder), help: help, standard: nil, isRequired: false)
  }

  /// `--listen ADDR`, as `--help` shows it.
  var usage: String {
    switch kind {
    case .toggle: "--\(name)"
    case .value(let placeholder), .list(let placeholder): "--\(name) \(placeholder)"
    }
  }
}

/// A word of a command that is no flag: `NAME` in `users add NAME`.
struct Operand: Sendable {
  let name: String
  let help: String
  var isRequired = true
  /// Whether it may stand more than once; the last operand only.
  var repeats = false

  var usage: String {
    let all = repeats ? name + "…" : name
    return isRequired ? all : "[\(all)]"
  }
}

/// The flags that were given, checked against their declaration.
struct ParsedFlags: Sendable {
  private let declared: [Flag]
  private var given: [String: [String]] = [:]
  /// The words that are no flags, in the order given.
  private(set) var operands: [String] = []

  /// Reads `--name value`, `--name=value`, `-name value`, `--toggle` and, where there are operands, words; after `--` all are words.
  ///
  /// - Throws: ``SettingsError`` for anything that is not declared, lacks its value, is given twice or is missing.
  init(_ arguments: some Sequence<String>, declared: [Flag], operands words: [Operand] = []) throws {
    self.declared = declared
    var rest = Array(arguments)[...]
    var areWords = false
    while var argument = rest.popFirst() {
      // As Go's programs take them: `-config FILE`.
      if !areWords, argument.hasPrefix("-"), !argument.hasPrefix("--"), argument.count > 2,
        declared.contains(where: { $0.name == argument.dropFirst().prefix { $0 != "=" } })
      {
        argument = "-" + argument
      }
      if argument == "--", !words.isEmpty, !areWords {
        areWords = true
        continue
      }
      guard !areWords, argument.hasPrefix("--"), argument.count > 2 else {
        guard !words.isEmpty else {
          throw SettingsError("\"\(argument)\" is not a flag; \(Self.known(declared))")
        }
        guard operands.count < words.count || words.last?.repeats == true else {
          throw SettingsError(
            "\"\(argument)\" is one word too many; write \(words.map(\.usage).joined(separator: " "))")
        }
        operands.append(argument)
        continue
      }
      let parts = argument.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(parts[0])
      guard let flag = declared.first(where: { $0.name == name }) else {
        let near = nearest(to: name, among: declared.map(\.name)).map { "did you mean --\($0)? " } ?? ""
        throw SettingsError("--\(name) is not known; \(near)\(Self.known(declared))")
      }
      switch flag.kind {
      case .toggle:
        guard parts.count == 1 else { throw SettingsError("--\(name) takes no value; write --\(name) alone") }
        given[name] = []
      case .value(let placeholder), .list(let placeholder):
        let value: String
        if parts.count == 2 {
          value = String(parts[1])
        } else if let next = rest.popFirst() {
          value = next
        } else {
          throw SettingsError("--\(name) needs a value; write --\(name) \(placeholder)")
        }
        if case .value = flag.kind, given[name] != nil {
          throw SettingsError("--\(name) is given twice; give it once")
        }
        given[name, default: []].append(value)
      }
    }
    if let missing = words.dropFirst(operands.count).first(where: \.isRequired) {
      throw SettingsError("\(missing.name) is missing: \(missing.help)")
    }
    for flag in declared where flag.isRequired && given[flag.name] == nil {
      throw SettingsError("\(flag.usage) is missing: \(flag.help)")
    }
  }

  /// All of them, where that is still a sentence.
  private static func known(_ flags: [Flag]) -> String {
    if flags.count > 12 { return "--help names all \(flags.count)" }
    return "known are " + flags.map { "--\($0.name)" }.joined(separator: ", ")
  }

  func has(_ name: String) -> Bool { given[declaredName(name)] != nil }

  /// Every value of a list flag, in the order given.
  func all(_ name: String) -> [String] { given[declaredName(name)] ?? [] }

  /// The value as text, or the declared default.
  func text(_ name: String) -> String? {
    let flag = declaredName(name)
    return given[flag]?.last ?? declared.first { $0.name == flag }?.standard
  }

  /// The value read by `parse`, or `nil` when the flag has neither value nor default.
  ///
  /// - Throws: ``SettingsError`` naming the flag, the value and `allowed` when `parse` returns `nil`.
  func parsed<Value>(_ name: String, allowed: String, _ parse: (String) -> Value?) throws -> Value? {
    guard let text = text(name) else { return nil }
    guard let value = parse(text) else { throw SettingsError("--\(name)", value: text, allowed: allowed) }
    return value
  }

  private func declaredName(_ name: String) -> String {
    precondition(declared.contains { $0.name == name }, "--\(name) is read but not declared")
    return name
  }
}

/// The candidate that is at most two edits away, for "did you mean".
func nearest(to word: String, among candidates: [String]) -> String? {
  func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    var row = Array(0...b.count)
    for i in a.indices {
      var diagonal = row[0]
      row[0] = i + 1
      for j in b.indices {
        let above = row[j + 1]
        row[j + 1] = min(above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1))
        diagonal = above
      }
    }
    return row[b.count]
  }
  let scored = candidates.map { ($0, distance(Array(word.utf8), Array($0.utf8))) }
  guard let best = scored.min(by: { $0.1 < $1.1 }), best.1 <= 2 else { return nil }
  return best.0
}
