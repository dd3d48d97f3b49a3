import Pipeline

/// The text of a settings file, up to what `proxy` would run by: sentences about it are lines of plain text, and what is
/// a variable held that is nobody's business is in none of them.
@_cdecl("LLVMFuzzerTestOneInput") public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  let first = said(bytes)
  for sentence in first {
    let isPlain = sentence.unicodeScalars.allSatisfy { $0.value >= 32 && $0.value != 127 }
    Fuzzing.expect(isPlain && !sentence.isEmpty, "no plain sentence: \(sentence.debugDescription)")
    Fuzzing.expect(!sentence.contains(secret), "a secret is said: \(sentence)")
  }
  Fuzzing.expectSame(first, said(bytes), "sentences")
  do {
    let variables = try VariablesFile(bytes, file: "config.env")
    Fuzzing.expect(variables.entries.count <= bytes.count / 2, "\(variables.entries.count) variables")
  } catch {
    Fuzzing.expect("\(error)".hasPrefix("config.env"), "a sentence without its file: \(error)")
  }
  return 0
}

/// So long that no input holds it by chance; and no name of a host, which sentences about two backends repeat.
private let secret = "0f1c5a9e7d3b2846!hunter2"
private let environment = Environment(value: { ["HOST": "10.0.0.1", "API_TOKEN": secret][$0] })

/// What is wrong with a file of these bytes, one sentence each.
private func said(_ bytes: [UInt8]) -> [String] {
  var tree = SettingsTree(
    ProxySetting.all, openSections: ProxySetting.openSections, file: "proxy.yaml",
    variables: Variables(environment: environment, file: VariablesFile()))
  do {
    guard let root = try YAMLReader.read(bytes, file: "proxy.yaml") else { return [] }
    tree.read(root)
    let values = try SettingValues(tree.found, mistakes: tree.mistakes, notes: [])
    let settings = try ProxySettings(values)
    for row in values.table { Fuzzing.expect(!row.joined().contains(secret), "a secret is shown: \(row)") }
    return settings.notes
  } catch let error as SettingsProblems {
    return error.sentences
  } catch {
    return ["\(error)"]
  }
}
