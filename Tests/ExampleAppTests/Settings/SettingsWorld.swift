import Glibc
import Testing

@testable import ExampleApp

/// A directory with a settings file and perhaps `config.env`, and an environment of its own.
final class SettingsWorld {
  let directory: String
  var environment: [String: String] = [:]

  init() throws {
    var template = Array("/tmp/sluice-settings-XXXXXX".utf8CString)
    _ = try #require(template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) })
    directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self) + "/"
  }

  deinit {
    for name in ["proxy.yaml", "config.env"] { unlink(directory + name) }
    rmdir(directory)
  }

  func write(_ text: String, to name: String = "proxy.yaml") throws {
    let file = open(directory + name, O_CREAT | O_WRONLY | O_TRUNC, 0o600)
    try #require(file >= 0)
    defer { close(file) }
    #expect(Glibc.write(file, text, text.utf8.count) == text.utf8.count)
  }

  func source(_ flags: [String] = []) throws -> SettingsSource {
    let names = environment
    let hasFile = access(directory + "proxy.yaml", F_OK) == 0
    return SettingsSource(
      try ParsedFlags(
        (hasFile ? ["--config", directory + "proxy.yaml"] : []) + flags, declared: CheckCommand.flags),
      Environment(value: { names[$0] }, names: { Array(names.keys) }), directory: directory)
  }

  func load(_ flags: String...) throws -> ProxySettings { try ProxySettings(source(flags).read()) }

  /// What is said about the file with this text: one line each, without the directory.
  func said(_ text: String? = nil, _ flags: String...) -> [String] {
    do {
      if let text { try write(text) }
      let settings = try ProxySettings(source(flags).read())
      return settings.notes.map { "note: \(mended($0))" }
    } catch {
      return sentences(of: error).map(mended)
    }
  }

  func mended(_ text: String) -> String { text.replacing(directory, with: "") }
}

/// What a settings file needs besides.
let oneBackend = "servers: [http://127.0.0.1:9001]\n"
