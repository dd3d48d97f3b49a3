/// The settings of one YAML file, found in the declared list.
struct SettingsTree {
  private let declared: [any DeclaredSetting]
  private let openSections: [String]
  private let file: String
  private let variables: Variables

  private(set) var found: [String: GivenSetting] = [:]
  private(set) var mistakes: [String] = []
  /// Keys of open sections: nobody knows what they mean, so nothing is done about them.
  private(set) var unread: [(key: String, place: String)] = []

  init(_ declared: [any DeclaredSetting], openSections: [String], file: String, variables: Variables) {
    self.declared = declared
    self.openSections = openSections
    self.file = file
    self.variables = variables
  }

  mutating func read(_ root: YAMLNode) {
    guard case .map(let members, _) = root else {
      mistakes.append(
        "\(file):\(root.line): the file has to hold sections, and this is \(root.kind); known are \(known(in: ""))")
      return
    }
    walk(members, under: "")
  }

  private mutating func walk(_ members: [YAMLMember], under section: String) {
    for member in members {
      let key = section.isEmpty ? member.name : "\(section).\(member.name)"
      if let (setting, alias) = setting(at: key) {
        take(member, key, setting, alias)
      } else if allKeys.contains(where: { $0.hasPrefix(key + ".") }) {
        switch member.value {
        case .map(let inner, _): walk(inner, under: key)
        case .scalar(let scalar) where scalar.isEmpty: break
        case .scalar, .list:
          mistakes.append(
            "\(file):\(member.line): \(key): this is a section; write its keys below it, indented: \(known(in: key))")
        }
      } else if openSections.contains(where: { key.hasPrefix($0 + ".") }) {
        unread.append((key, "\(file):\(member.line): \(key)"))
      } else {
        mistakes.append(
          "\(file):\(member.line): \(TerminalText.shown(key)) is not known; \(advice(member.name, section))")
      }
    }
  }

  // MARK: Keys

  private var allKeys: [String] { declared.flatMap { [$0.key] + $0.aliases.map(\.key) } }

  private func setting(at key: String) -> (any DeclaredSetting, SettingAlias?)? {
    for setting in declared {
      if setting.key == key { return (setting, nil) }
      if let alias = setting.aliases.first(where: { $0.key == key }) { return (setting, alias) }
    }
    return nil
  }

  private func children(of section: String) -> [String] {
    let prefix = section.isEmpty ? "" : section + "."
    var names: [String] = []
    for key in allKeys where key.hasPrefix(prefix) {
      let name = String(key.dropFirst(prefix.count).prefix { $0 != "." })
      if !names.contains(name) { names.append(name) }
    }
    return names
  }

  private func known(in section: String) -> String { children(of: section).joined(separator: ", ") }

  private func advice(_ name: String, _ section: String) -> String {
    let siblings = children(of: section)
    let near = nearestKey(name, among: siblings)
    let everywhere = allKeys.filter { nearestKey(name, among: [String($0.split(separator: ".").last ?? "")]) != nil }
    var meant = near.map { section.isEmpty ? $0 : "\(section).\($0)" }
    if meant == nil { meant = everywhere.first }
    let guess = meant.map { "did you mean \($0)? " } ?? ""
    return "\(guess)known \(section.isEmpty ? "sections" : "in \(section)") are \(siblings.joined(separator: ", "))"
  }

  /// As people confuse them: letters, `_`, `-` and capitals.
  private func nearestKey(_ name: String, among candidates: [String]) -> String? {
    func plain(_ text: String) -> String { text.lowercased().filter { $0 != "_" && $0 != "-" } }
    if let same = candidates.first(where: { plain($0) == plain(name) }) { return same }
    guard let near = nearest(to: name, among: candidates) else { return nil }
    // Of a short word two edits leave nothing.
    return name.count > 3 || near.first == name.first ? near : nil
  }

  // MARK: Values

  private mutating func take(
    _ member: YAMLMember, _ key: String, _ setting: any DeclaredSetting, _ alias: SettingAlias?
  ) {
    let origin = SettingOrigin.file(file, line: member.line, key: key)
    do {
      guard let given = try given(member.value, origin, setting, alias) else { return }
      if let first = found[setting.key] {
        mistakes.append("\(origin.place) says the same as \(first.origin.shown); keep one of them")
        return
      }
      found[setting.key] = given
    } catch let error as SettingsProblems {
      mistakes += error.sentences
    } catch {
      mistakes.append("\(error)")
    }
  }

  private func given(
    _ node: YAMLNode, _ origin: SettingOrigin, _ setting: any DeclaredSetting, _ alias: SettingAlias?
  ) throws -> GivenSetting? {
    switch node {
    case .scalar(let scalar):
      // An empty certificate file asks for nothing, wherever a template has one.
      if scalar.isEmpty || (scalar.text.isEmpty && setting.type == "not yet") { return nil }
      var text = try expanded(scalar, origin)
      if let alias, let rewrite = alias.rewrite {
        guard let own = rewrite(text.text) else {
          throw SettingsProblems(
            sentences: [SettingsError(origin.place, value: text.written, allowed: alias.allowed ?? "").description])
        }
        text.text = own
      }
      return .text(text)
    case .list(let nodes, _):
      guard setting.isList else { return .list([], origin) }
      return .list(try items(nodes, origin, setting), origin)
    case .map(_, let line):
      guard setting.isList else {
        throw SettingsProblems(sentences: ["\(origin.place): one value is wanted here; allowed is \(setting.allowed)"])
      }
      throw SettingsProblems(
        sentences: ["\(file):\(line): \(setting.key): a list is wanted; begin each item with a dash: - url: http://…"])
    }
  }

  private func items(_ nodes: [YAMLNode], _ origin: SettingOrigin, _ setting: any DeclaredSetting) throws
    -> [SettingItem]
  {
    guard case .file(_, _, let key) = origin else { return [] }
    var items: [SettingItem] = []
    var wrong: [String] = []
    for (index, node) in nodes.enumerated() {
      let name = "\(key)[\(index)]"
      do {
        items.append(try item(node, .file(file, line: node.line, key: name), setting))
      } catch let error as SettingsProblems {
        wrong += error.sentences
      }
    }
    if !wrong.isEmpty { throw SettingsProblems(sentences: wrong) }
    return items
  }

  private func item(_ node: YAMLNode, _ origin: SettingOrigin, _ setting: any DeclaredSetting) throws -> SettingItem {
    switch node {
    case .scalar(let scalar):
      return SettingItem(fields: [.init(name: "", text: try expanded(scalar, origin))], origin: origin)
    case .map(let members, _) where !setting.itemFields.isEmpty:
      var fields: [SettingItem.Field] = []
      for member in members {
        guard case .file(_, _, let name) = origin else { continue }
        let place = SettingOrigin.file(file, line: member.line, key: "\(name).\(TerminalText.shown(member.name))")
        guard setting.itemFields.contains(member.name) else {
          let guess = nearestKey(member.name, among: setting.itemFields).map { "did you mean \($0)? " } ?? ""
          throw SettingsProblems(
            sentences: ["\(place.place) is not known; \(guess)known are \(setting.itemFields.joined(separator: ", "))"])
        }
        guard case .scalar(let scalar) = member.value else {
          throw SettingsProblems(sentences: ["\(place.place): one value is wanted, and this is \(member.value.kind)"])
        }
        if !scalar.isEmpty { fields.append(.init(name: member.name, text: try expanded(scalar, place))) }
      }
      return SettingItem(fields: fields.isEmpty ? [] : fields, origin: origin)
    case .map, .list:
      throw SettingsProblems(sentences: ["\(origin.place): this is \(node.kind); allowed is \(setting.allowed)"])
    }
  }

  private func expanded(_ scalar: YAMLScalar, _ origin: SettingOrigin) throws -> SettingText {
    var text = SettingText(scalar.text, origin)
    do {
      let (value, names) = try variables.expand(scalar.text, place: origin.place)
      text.text = value
      text.isSecret = names.contains(where: Variables.isSecret)
      // Of the others `check` shows the value, and a sentence what the file says.
      if names.isEmpty { text.written = value }
    } catch let error as SettingsError {
      throw SettingsProblems(sentences: [error.description])
    }
    return text
  }
}
