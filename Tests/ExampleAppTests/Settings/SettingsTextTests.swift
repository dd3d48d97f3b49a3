import Glibc
import Testing

@testable import ExampleApp

@Suite struct SettingsTextTests {
  @Test func theFileOfInitLoadsAndChangesNothingButTheBackend() throws {
    let (fresh, plain) = (try SettingsWorld(), try SettingsWorld())
    try fresh.write(SettingsText.file)
    let values = try fresh.source().read()
    let defaults = try plain.source(["--backend", "http://127.0.0.1:9001"]).read()
    #expect(values.notes == [])
    for setting in ProxySetting.all { #expect(values.shown(setting) == defaults.shown(setting), "\(setting.key)") }
  }

  @Test func everyLineOfTheFileOfInitLoadsWithoutItsComment() throws {
    let world = try SettingsWorld()
    // `# name: value` and `# section:`; sentences begin with a small letter and hold a blank before their first colon.
    let lines = SettingsText.file.split(separator: "\n", omittingEmptySubsequences: false).map { line -> String in
      let text = String(line)
      guard let mark = text.firstIndex(of: "#") else { return text }
      let rest = text[text.index(after: mark)...].dropFirst()
      let name = rest.prefix { $0.isLetter }
      guard rest.dropFirst(name.count).hasPrefix(":"), !rest.hasPrefix("allowed:") else { return "" }
      return String(text[..<mark]) + rest
    }
    try world.write(lines.joined(separator: "\n"))
    let settings = try world.load()
    #expect(settings.caching != nil && settings.bucket != nil && settings.health != nil)
    #expect("\(settings.address)" == "0.0.0.0:8080" && settings.notes == [])
  }

  @Test func helpNamesEveryKeyFlagAndVariable() {
    let text = help(for: ProxyCommand.self)
    for setting in ProxySetting.all {
      #expect(text.contains("  \(setting.key.split(separator: ".").last ?? ""): \(setting.help)"))
      if let flag = setting.flag { #expect(text.contains("--\(flag) ")) }
      if let variable = setting.variable { #expect(text.contains(variable)) }
    }
    #expect(text.contains("default: 30s") && text.contains("--config FILE"))
  }

  @Test func everyNameIsGivenOnce() {
    func twice(_ names: [String]) -> [String] { names.filter { name in names.count { $0 == name } > 1 } }
    #expect(twice(ProxySetting.all.flatMap { [$0.key] + $0.aliases.map(\.key) }) == [])
    #expect(twice(ProxyCommand.flags.map(\.name)) == [])
    #expect(twice(CheckCommand.flags.map(\.name)) == [])
    #expect(twice(ProxySetting.all.compactMap { $0.variable }) == [])
    for setting in ProxySetting.all {
      #expect(!setting.help.isEmpty && !setting.help.hasSuffix("."), "\(setting.key)")
      #expect(setting.standard != nil || setting.absence != nil || setting.isImpliedBySection, "\(setting.key)")
    }
  }

  /// `WRITE_SETTINGS_DOC=1 swift test --filter theDocumentation` writes it anew.
  @Test func theDocumentationIsMadeOfTheList() throws {
    let path = #filePath.split(separator: "/").dropLast(4).reduce("") { "\($0)/\($1)" } + "/Docs/Settings.md"
    let (begin, end) = ("<!-- made of the declared list -->\n", "<!-- end of the list -->\n")
    let text = String(decoding: try #require(try SettingsFile.bytes(path)), as: UTF8.self)
    let head = try #require(text.firstRange(of: begin))
    let tail = try #require(text.firstRange(of: end))
    if getenv("WRITE_SETTINGS_DOC") != nil {
      let new = text[..<head.upperBound] + SettingsText.reference + text[tail.lowerBound...]
      let file = open(path, O_WRONLY | O_TRUNC)
      defer { close(file) }
      #expect(write(file, String(new), new.utf8.count) == new.utf8.count)
      return
    }
    #expect(text[head.upperBound..<tail.lowerBound] == SettingsText.reference)
  }

  @Test func aReloadSaysWhatHasChanged() throws {
    let world = try SettingsWorld()
    try world.write("\(oneBackend)rateLimit: {capacity: 5}\n")
    let old = try world.load()
    try world.write("\(oneBackend)rateLimit: {capacity: 6}\nserver: {workers: 3}\n")
    let new = try world.load()
    #expect(
      ReloadOutcome(from: old, to: new).lines
        == ["server.workers: one for each processor -> 3, at the next start", "rateLimit.capacity: 5 -> 6"])
    #expect(ReloadOutcome(from: new, to: new).lines == ["the settings are as they were"])
  }
}
