/// What the declared list says in words: help, documentation, and a file to begin with.
enum SettingsText {
  /// The list by section, in its order.
  private static var sections: [(name: String, settings: [any DeclaredSetting])] {
    var sections: [(name: String, settings: [any DeclaredSetting])] = []
    for setting in ProxySetting.all {
      let name = String(setting.key.prefix { $0 != "." })
      if sections.last?.name != name { sections.append((name, [])) }
      sections[sections.count - 1].settings.append(setting)
    }
    return sections
  }

  private static func standard(_ setting: any DeclaredSetting) -> String {
    if setting.isImpliedBySection { return "true where another key of its section is given" }
    let standard = setting.standard ?? setting.absence ?? "-"
    return setting.ceiling.map { "\(standard), or \($0) where that is less" } ?? standard
  }

  private static func allowed(_ setting: any DeclaredSetting) -> String {
    setting.isList ? "a list; each is \(setting.allowed)" : setting.allowed
  }

  private static func alsoWritten(_ setting: any DeclaredSetting) -> String? {
    guard !setting.aliases.isEmpty else { return nil }
    return setting.aliases.map { alias in alias.allowed.map { "\(alias.key) (\($0))" } ?? alias.key }
      .joined(separator: ", ")
  }

  // MARK: Help

  /// What `--help` lists in place of the plain flags.
  ///
  /// - Parameter head: the flags that are no settings.
  static func help(head: some Sequence<Flag>) -> String {
    let head = Array(head)
    let width = head.map(\.usage.count).max() ?? 0
    var lines = head.map { "  \($0.usage.padding(to: width))  \($0.help)" }
    lines.append("")
    lines.append(
      "Every setting has a key of the settings file, a flag and a variable. What is named later wins: default, file,")
    lines.append("config.env in the working directory, environment, flag. ${NAME} in the file stands for a variable.")
    for section in sections {
      lines.append("")
      lines.append("\(section.name):")
      for setting in section.settings {
        let name = setting.key.dropFirst(section.name.count + 1)
        lines.append("  \(name): \(setting.help)")
        if setting.type != "not yet" {
          lines.append("      allowed: \(allowed(setting)); default: \(standard(setting))")
        }
        var ways: [String] = []
        if let flag = setting.flag { ways.append("--\(flag) \(setting.placeholder)") }
        if let variable = setting.variable { ways.append(variable) }
        if let also = alsoWritten(setting) { ways.append("in the file also \(also)") }
        if !ways.isEmpty { lines.append("      \(ways.joined(separator: ", "))") }
      }
    }
    lines += ["", "A file is YAML or JSON:", ""] + example.map { "  " + $0 }
    return lines.joined(separator: "\n")
  }

  private static let example = [
    "server:", "  port: 8080", "loadBalance:", "  algorithm: least-connections", "  backends:",
    "    - url: http://10.0.0.1:9001", "    - url: http://10.0.0.2:9001", "health:", "  path: /health",
  ]

  // MARK: The file of `init`

  /// Loads as it is; what differs from the defaults is the backend alone.
  static var file: String {
    var lines = [
      "# Settings of ExampleApp proxy. Every setting is here with its default; take away the # to change one.",
      "#   ExampleApp check --config FILE    says whether all is well, and what each setting comes to",
      "#   ExampleApp proxy --config FILE    runs it; after a change: kill -HUP, or ExampleApp reload",
      "# ${NAME} stands for a variable of the environment or of config.env, ${NAME:-text} for one that may be unset.",
    ]
    for section in sections where section.settings.contains(where: { $0.type != "not yet" }) {
      let isActive = section.settings.contains { $0.key == ProxySetting.backends.key }
      lines += ["", "\(isActive ? "" : "# ")\(section.name):"]
      for setting in section.settings where setting.type != "not yet" {
        let name = setting.key.dropFirst(section.name.count + 1)
        lines.append("  # \(setting.help)")
        lines.append("  #   allowed: \(allowed(setting))")
        if setting.key == ProxySetting.backends.key {
          lines += [
            "  \(name):", "    - url: http://127.0.0.1:9001", "    # - url: http://127.0.0.1:9002", "    #   weight: 2",
          ]
        } else if setting.isList {
          lines.append("  # \(name): []")
        } else {
          let value = setting.standard ?? (setting.isImpliedBySection ? "true" : "  # \(setting.absence ?? "")")
          lines.append("  # \(name): \(value)" + (setting.ceiling.map { "  # or \($0) where that is less" } ?? ""))
        }
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  // MARK: Docs/Settings.md

  /// The part of `Docs/Settings.md` that is made of the list.
  static var reference: String {
    var lines: [String] = []
    for section in sections {
      lines += [
        "### \(section.name)", "", "| key | type | default | allowed | flag, variable | |", "|---|---|---|---|---|---|",
      ]
      for setting in section.settings {
        let ways = [setting.flag.map { "`--\($0)`" }, setting.variable.map { "`\($0)`" }].compactMap { $0 }
        let also = setting.aliases.map { alias in
          ", `\(alias.key)`" + (alias.allowed.map { " (\($0))" } ?? "")
        }.joined()
        let cells = [
          "`\(setting.key)`\(also)", setting.type, standard(setting), allowed(setting), ways.joined(separator: " "),
          setting.help,
        ]
        lines.append("| " + cells.map { $0.replacing("|", with: "\\|") }.joined(separator: " | ") + " |")
      }
      lines.append("")
    }
    return lines.joined(separator: "\n")
  }
}
