import Pipeline

/// Where the settings of `proxy` and `check` are: a file, `config.env`, the environment, flags. Read again at each reload.
struct SettingsSource: Sendable {
  private let flags: ParsedFlags
  private let environment: Environment
  /// Of `config.env`, with a slash at its end; empty: the working directory.
  private let directory: String

  /// The file of `--config`.
  var file: String? { flags.text("config") }

  init(_ flags: ParsedFlags, _ environment: Environment = .process, directory: String = "") {
    self.flags = flags
    self.environment = environment
    self.directory = directory
  }

  static let configFlag = Flag.value("config", "FILE", "the settings file: YAML or JSON; ExampleApp init writes one")

  /// The flags of the declared list.
  static var flagsOfSettings: [Flag] {
    ProxySetting.all.compactMap { setting in
      guard let flag = setting.flag else { return nil }
      let help = "\(setting.help); \(setting.allowed)"
      return setting.isList ? .list(flag, setting.placeholder, help) : .value(flag, setting.placeholder, help)
    }
  }

  /// Reads all of it and checks each value, but not yet how they fit each other.
  ///
  /// - Throws: ``SettingsProblems`` with every mistake, each naming where it stands. Blocks: files are read.
  func read() throws -> SettingValues {
    var mistakes: [String] = []
    var notes: [String] = []
    var given: [String: GivenSetting] = [:]
    let variablesFile = try collecting(&mistakes) { try readVariables() } ?? VariablesFile()

    if let file {
      let variables = Variables(environment: environment, file: variablesFile)
      var tree = SettingsTree(
        ProxySetting.all, openSections: ProxySetting.openSections, file: file, variables: variables)
      try collecting(&mistakes) {
        guard let bytes = try SettingsFile.bytes(file) else {
          throw SettingsError("--config: there is no file \(file); ExampleApp init \(file) writes one")
        }
        if let root = try YAMLReader.read(bytes, file: file) { tree.read(root) }
      }
      mistakes += tree.mistakes
      given = tree.found
      mistakes += absentSections(tree)
    }
    for setting in ProxySetting.all {
      guard let name = setting.variable else { continue }
      if let entry = variablesFile.entries[name], !entry.value.isEmpty {
        given[setting.key] = .text(
          SettingText(entry.value, .variablesFile(variablesFile.file, line: entry.line, name: name)))
      }
      if let value = environment.value(name), !value.isEmpty {
        given[setting.key] = .text(SettingText(value, .environment(name)))
      }
    }
    for setting in ProxySetting.all {
      guard let flag = setting.flag else { continue }
      let values = flags.all(flag)
      guard !values.isEmpty else { continue }
      let origin = SettingOrigin.flag(flag)
      given[setting.key] =
        setting.isList
        ? .list(
          values.map { SettingItem(fields: [.init(name: "", text: SettingText($0, origin))], origin: origin) }, origin)
        : .text(SettingText(values[0], origin))
    }
    notes += strangers(in: variablesFile)
    return try SettingValues(given, mistakes: mistakes, notes: notes)
  }

  private func readVariables() throws -> VariablesFile {
    let path = directory + VariablesFile.name
    return try SettingsFile.bytes(path).map { try VariablesFile($0, file: path) } ?? VariablesFile(file: path)
  }

  /// What an open section asks for, unless it is switched off.
  private func absentSections(_ tree: SettingsTree) -> [String] {
    guard tree.found[ProxySetting.tracing.key] == nil, let first = tree.unread.first else { return [] }
    return ["\(first.place): tracing is not there yet: leave the section out, or write tracing.enabled: false"]
  }

  /// Names that look like a setting, and are none: most likely slips of the pen. They may be meant for somebody else, so
  /// they are no mistakes.
  private func strangers(in file: VariablesFile) -> [String] {
    let known = ProxySetting.all.compactMap { $0.variable }
    func note(_ name: String, _ place: String) -> String? {
      guard !known.contains(name), let near = nearest(to: name, among: known) else { return nil }
      return "\(place): \(name) is no setting; did you mean \(near)?"
    }
    let inFile = file.entries.sorted { $0.value.line < $1.value.line }
    return inFile.compactMap { note($0.key, "\(file.file):\($0.value.line)") }
      + environment.names().sorted().compactMap { note($0, "environment") }
  }
}

/// Runs `body`, and adds what is wrong to `mistakes`.
@discardableResult
func collecting<Value>(_ mistakes: inout [String], _ body: () throws -> Value) throws -> Value? {
  do {
    return try body()
  } catch let error as SettingsProblems {
    mistakes += error.sentences
  } catch let error as SettingsError {
    mistakes.append(error.description)
  }
  return nil
}

/// The effective value of every setting.
struct SettingValues: Sendable {
  private var values: [String: AcceptedSetting] = [:]
  /// What is allowed, and most likely not meant.
  var notes: [String]

  /// - Parameter mistakes: those that were found before.
  /// - Throws: ``SettingsProblems`` with these and with what is wrong about the values.
  init(_ given: [String: GivenSetting], mistakes: [String], notes: [String]) throws {
    self.notes = notes
    var mistakes = mistakes
    for setting in ProxySetting.all {
      let text = given[setting.key] ?? setting.standard.map { .text(SettingText($0, .standard)) }
      guard let text else { continue }
      values[setting.key] = try collecting(&mistakes) { try setting.accept(text) }
    }
    if !mistakes.isEmpty { throw SettingsProblems(sentences: mistakes) }
    for setting in ProxySetting.all {
      guard let ceiling = setting.ceiling, let mine = values[setting.key], mine.origin == .standard,
        let lowered = values[ceiling].flatMap({ setting.lowered(mine, to: $0) })
      else { continue }
      values[setting.key] = lowered
    }
    for setting in ProxySetting.all where setting.isImpliedBySection && values[setting.key] == nil {
      let section = setting.key.prefix { $0 != "." } + "."
      let other = given.keys.filter { $0.hasPrefix(section) }.sorted().first
      values[setting.key] = AcceptedSetting(
        value: other != nil, shown: "\(other != nil)", origin: other.map { .implied(because: $0) } ?? .standard)
    }
  }

  /// `nil`: nothing is given, and there is no default.
  subscript<Value>(_ setting: Setting<Value>) -> Value? {
    guard let accepted = values[setting.key] else { return nil }
    guard let value = accepted.value as? Value else { preconditionFailure("\(setting.key) is of another type") }
    return value
  }

  func origin(of setting: any DeclaredSetting) -> SettingOrigin { values[setting.key]?.origin ?? .standard }

  func shown(_ setting: any DeclaredSetting) -> String { values[setting.key]?.shown ?? setting.absence ?? "-" }

  /// Name, value and origin of each.
  var table: [[String]] {
    ProxySetting.all.map { setting in
      let origin = values[setting.key].map { $0.origin.shown } ?? "default"
      return [setting.key, shown(setting), origin]
    }
  }
}
