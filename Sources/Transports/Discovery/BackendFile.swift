internal import Pipeline

/// A mistake in a list of backends, in one sentence with file and line.
struct BackendFileError: Error, Hashable, CustomStringConvertible {
  let description: String
}

/// The list of backends that a file holds: a line each, `#` begins a comment.
///
///     10.0.0.1:9001 weight=2 priority=1 name=blue max=200 queue=50
struct BackendFile: Sendable {
  private static let keys = ["weight", "priority", "name", "max", "queue"]
  static let backendLimit = 10_000

  private(set) var backends: [Backend] = []

  /// - Throws: ``BackendFileError``: one mistake is enough, and nothing of the file is used.
  init(_ bytes: [UInt8], path: String) throws(BackendFileError) {
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw BackendFileError(description: "\(path): it is no UTF-8 text")
    }
    var names: [String: Int] = [:]
    for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
      let number = index + 1
      func fault(_ what: String) -> BackendFileError { BackendFileError(description: "\(path):\(number): \(what)") }
      let words = line.prefix { $0 != "#" }.split { $0 == " " || $0 == "\t" }
      guard let address = words.first else { continue }
      let backend = try Self.backend(String(address), words.dropFirst(), fault)
      if let problem = backend.problems.first { throw fault(problem) }
      if let before = names[backend.name] {
        throw fault("\(backend.name) stands in line \(before) already: give this one a name of its own (name=TEXT)")
      }
      names[backend.name] = number
      backends.append(backend)
      if backends.count > Self.backendLimit { throw fault("at most \(Self.backendLimit) backends are read") }
    }
    if backends.isEmpty {
      throw BackendFileError(description: "\(path): it names no backend: write host:port, a line each")
    }
  }

  private static func backend(
    _ address: String, _ options: ArraySlice<Substring>, _ fault: (String) -> BackendFileError
  ) throws(BackendFileError) -> Backend {
    var values: [String: String] = [:]
    for option in options {
      let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard parts.count == 2, keys.contains(parts[0]) else {
        throw fault("\"\(option)\" is no option: weight=N, priority=N, name=TEXT, max=N and queue=N are allowed")
      }
      if values.updateValue(parts[1], forKey: parts[0]) != nil { throw fault("\(parts[0]) is given twice") }
    }
    func number(_ key: String) throws(BackendFileError) -> Int? {
      guard let text = values[key] else { return nil }
      guard let number = Int(text), text.utf8.allSatisfy({ (48...57).contains($0) }) else {
        throw fault("\(key)=\(text): write a whole number")
      }
      return number
    }
    return Backend(
      address, named: values["name"], weight: try number("weight") ?? 1, priority: try number("priority") ?? 0,
      maxConnections: try number("max"), queue: try number("queue") ?? 0)
  }
}
