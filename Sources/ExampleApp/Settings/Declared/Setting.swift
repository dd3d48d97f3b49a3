/// A setting without the type of its value: what help, documentation and the reading of files go through.
protocol DeclaredSetting: Sendable {
  /// Its place in the file, and its name: `server.readTimeout`.
  var key: String { get }
  /// Other places in the file that mean the same.
  var aliases: [SettingAlias] { get }
  /// Without the dashes; `nil`: only in the file.
  var flag: String? { get }
  /// Of the environment and of `config.env`.
  var variable: String? { get }
  /// One sentence, without a full stop.
  var help: String { get }
  var type: String { get }
  var placeholder: String { get }
  var allowed: String { get }
  /// As it would be written; `nil`: there is none.
  var standard: String? { get }
  /// The key of a setting of the same type: where that is less than the default, it is the default.
  var ceiling: String? { get }
  /// In place of a default: what it means that nothing is given.
  var absence: String? { get }
  var isList: Bool { get }
  /// The parts of an item, where it can have any.
  var itemFields: [String] { get }
  /// True where another key of its section is given, else false.
  var isImpliedBySection: Bool { get }

  /// - Throws: ``SettingsProblems``.
  func accept(_ given: GivenSetting) throws -> AcceptedSetting

  /// The value of the setting at `ceiling` in place of the default, where that is more; `nil`: the default holds.
  func lowered(_ standard: AcceptedSetting, to ceiling: AcceptedSetting) -> AcceptedSetting?
}

/// Another place of a setting in the file.
struct SettingAlias: Sendable {
  let key: String
  /// Makes the setting's own text of what is written there; `nil`: it is the same.
  var rewrite: (@Sendable (String) -> String?)?
  /// What is allowed there, where that differs.
  var allowed: String?

  init(_ key: String) { self.key = key }

  init(_ key: String, allowed: String, rewrite: @escaping @Sendable (String) -> String?) {
    self.key = key
    self.allowed = allowed
    self.rewrite = rewrite
  }
}

/// A value with the text that shows it and where it comes from.
struct AcceptedSetting: Sendable {
  var value: any Sendable
  var shown: String
  var origin: SettingOrigin
}

/// One setting, declared once: it yields the flag, the variable, the key of the file, the help and the documentation.
struct Setting<Value: Sendable>: DeclaredSetting {
  let key: String
  let aliases: [SettingAlias]
  let flag: String?
  let variable: String?
  let help: String
  let standard: String?
  let ceiling: String?
  let absence: String?
  let isImpliedBySection: Bool
  let type: String
  let placeholder: String
  let allowed: String
  let isList: Bool
  let itemFields: [String]
  private let read: @Sendable (GivenSetting, _ allowed: String) throws -> (Value, String)
  private let isMore: (@Sendable (Value, Value) -> Bool)?

  /// One value.
  ///
  /// - Parameters:
  ///   - flag: the flag's name; `nil`: made of the key's last word; empty: there is none.
  ///   - variable: of the environment; `nil`: made of the key; empty: there is none.
  init(
    _ key: String, also aliases: [SettingAlias] = [], _ syntax: SettingSyntax<Value>, flag: String? = nil,
    variable: String? = nil, default standard: String? = nil, absence: String? = nil, isImpliedBySection: Bool = false,
    _ help: String
  ) {
    self.init(
      key, also: aliases, syntax, flag: flag, variable: variable, default: standard, absence: absence,
      isImpliedBySection: isImpliedBySection, ceiling: nil, isMore: nil, help)
  }

  /// One value whose default is not more than another setting.
  init(
    _ key: String, also aliases: [SettingAlias] = [], _ syntax: SettingSyntax<Value>, flag: String? = nil,
    variable: String? = nil, default standard: String, atMost ceiling: Setting<Value>, _ help: String
  ) where Value: Comparable {
    self.init(
      key, also: aliases, syntax, flag: flag, variable: variable, default: standard, absence: nil,
      isImpliedBySection: false, ceiling: ceiling.key, isMore: { $0 > $1 }, help)
  }

  private init(
    _ key: String, also aliases: [SettingAlias], _ syntax: SettingSyntax<Value>, flag: String?, variable: String?,
    default standard: String?, absence: String?, isImpliedBySection: Bool, ceiling: String?,
    isMore: (@Sendable (Value, Value) -> Bool)?, _ help: String
  ) {
    self.ceiling = ceiling
    self.isMore = isMore
    self.key = key
    self.aliases = aliases
    self.flag = Self.flag(flag, key)
    self.variable = Self.variable(variable, key)
    self.help = help
    self.standard = standard
    self.absence = absence
    self.isImpliedBySection = isImpliedBySection
    type = syntax.type
    placeholder = syntax.placeholder
    allowed = syntax.allowed
    isList = false
    itemFields = []
    read = { given, allowed in
      guard case .text(let text) = given else {
        throw SettingsProblems(sentences: [
          "\(given.origin.place): one value is wanted, and this is a list; allowed is \(allowed)"
        ])
      }
      let value = try syntax.value(of: text, allowed: allowed)
      return (value, text.isSecret && syntax.type != "secret" ? text.written : syntax.show(value))
    }
  }

  /// A list.
  ///
  /// - Parameters:
  ///   - syntax: of an item that is one text.
  ///   - fields: the names of an item's parts in the file.
  ///   - assemble: makes an item of its parts.
  init<Item: Sendable>(
    _ key: String, also aliases: [SettingAlias] = [], listOf syntax: SettingSyntax<Item>, fields: [String] = [],
    assemble: (@Sendable (SettingItem) throws -> Item)? = nil, flag: String? = nil, variable: String? = nil,
    absence: String, _ help: String
  ) where Value == [Item] {
    self.key = key
    self.aliases = aliases
    self.flag = Self.flag(flag, key)
    self.variable = Self.variable(variable, key)
    self.help = help
    standard = nil
    ceiling = nil
    isMore = nil
    self.absence = absence
    isImpliedBySection = false
    type = syntax.type
    placeholder = syntax.placeholder
    allowed = syntax.allowed
    isList = true
    itemFields = fields
    read = { given, allowed in
      var items: [Item] = []
      var shown: [String] = []
      var wrong: [String] = []
      for item in Self.items(of: given) {
        do {
          let value: Item
          if let assemble, item.fields.first?.name != "" {
            value = try assemble(item)
          } else {
            value = try syntax.value(of: item.fields[0].text, allowed: allowed)
          }
          items.append(value)
          shown.append(item.fields.first { $0.text.isSecret }?.text.written ?? syntax.show(value))
        } catch let error as SettingsProblems {
          wrong += error.sentences
        }
      }
      if !wrong.isEmpty { throw SettingsProblems(sentences: wrong) }
      return (items, shown.isEmpty ? "-" : shown.joined(separator: ", "))
    }
  }

  func accept(_ given: GivenSetting) throws -> AcceptedSetting {
    let (value, shown) = try read(given, allowed)
    return AcceptedSetting(value: value, shown: shown, origin: given.origin)
  }

  func lowered(_ standard: AcceptedSetting, to other: AcceptedSetting) -> AcceptedSetting? {
    guard let ceiling, let isMore, let mine = standard.value as? Value, let its = other.value as? Value,
      isMore(mine, its)
    else { return nil }
    return AcceptedSetting(value: its, shown: other.shown, origin: .implied(because: ceiling))
  }

  /// A text in place of a list is its items with commas between them.
  private static func items(of given: GivenSetting) -> [SettingItem] {
    switch given {
    case .list(let items, _): return items
    case .text(let text):
      // Values with variables are shown as a whole, so that no part of a secret is.
      return text.text.split(separator: ",").map { part in
        var item = text
        item.text = String(part).trimmed
        if text.written == text.text { item.written = item.text }
        return SettingItem(fields: [.init(name: "", text: item)], origin: text.origin)
      }
    }
  }

  private static func flag(_ given: String?, _ key: String) -> String? {
    if let given { return given.isEmpty ? nil : given }
    return words(of: String(key.split(separator: ".").last ?? "")).joined(separator: "-")
  }

  private static func variable(_ given: String?, _ key: String) -> String? {
    if let given { return given.isEmpty ? nil : given }
    let parts = key.split(separator: ".").flatMap { words(of: String($0)) }
    return "SLUICE_" + parts.joined(separator: "_").uppercased()
  }

  /// `readTimeout`: `read`, `timeout`.
  private static func words(of name: String) -> [String] {
    var words: [String] = []
    for character in name {
      if character.isUppercase || words.isEmpty { words.append("") }
      words[words.count - 1] += character.lowercased()
    }
    return words
  }
}

extension SettingSyntax {
  /// - Throws: ``SettingsProblems`` with one sentence: where, what, and what is allowed.
  func value(of text: SettingText, allowed: String? = nil) throws -> Value {
    switch read(text.text) {
    case .value(let value): return value
    case .notAllowed:
      throw SettingsProblems(
        sentences: [SettingsError(text.origin.place, value: text.written, allowed: allowed ?? self.allowed).description]
      )
    case .refused(let why): throw SettingsProblems(sentences: ["\(text.origin.place): \(why)"])
    }
  }
}

extension String {
  /// Without blanks and tabs at its ends.
  var trimmed: String {
    let isBlank = { (character: Character) in character == " " || character == "\t" }
    return String(drop(while: isBlank).reversed().drop(while: isBlank).reversed())
  }
}
