internal import Foundation

/// A small program, wrong on purpose, and what the compiler says of it.
public struct Mistake: Sendable, CustomStringConvertible {
  /// Names the function that holds the program; letters only.
  public let name: String
  /// Statements; the first line is line 1.
  public let program: String
  /// `line:column: message`, one for each error.
  public let errors: [String]

  public init(_ name: String, _ program: String, _ errors: String...) {
    self.name = name
    self.program = program
    self.errors = errors
  }

  public var description: String { name }
}

/// Why the compiler could not be asked.
public struct CompilerFailure: Error, CustomStringConvertible {
  public let description: String
}

/// Compiles small programs against the modules of this very build, all in one process of the compiler.
public struct CompilerChecks: Sendable {
  private let prelude: String

  /// - Parameter prelude: imports and declarations that every program sees.
  public init(prelude: String) { self.prelude = prelude }

  /// The errors of each program, by its name.
  ///
  /// Region checks run in passes over SIL, so type-checking alone would not show them; and they run only where nothing else
  /// is wrong, so programs that fail in them are compiled apart from the others.
  ///
  /// The compiler takes its time, on a thread of its own: a thread of the pool that waits for it would starve the other tests.
  public func errors(of mistakes: [Mistake]) async throws -> [String: [String]] {
    try await withCheckedThrowingContinuation { continuation in
      Thread.detachNewThread { continuation.resume(with: Result { try compile(mistakes) }) }
    }
  }

  private func compile(_ mistakes: [Mistake]) throws -> [String: [String]] {
    let directory = FileManager.default.temporaryDirectory.appending(path: "mistakes-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer {
      do { try FileManager.default.removeItem(at: directory) } catch { print("left behind: \(directory.path)") }
    }
    var files = [directory.appending(path: "Prelude.swift")]
    try prelude.write(to: files[0], atomically: true, encoding: .utf8)
    let imports = prelude.split(separator: "\n").filter { $0.hasPrefix("import ") }.joined(separator: "; ")
    for mistake in mistakes {
      let file = directory.appending(path: "\(mistake.name).swift")
      // All on line 0, so that the program's own first line is line 1.
      let source =
        "\(imports); @MainActor func \(mistake.name)() async throws {\n#sourceLocation(file: \"\(mistake.name)\", line: 1)\n\(mistake.program)\n}\n"
      try source.write(to: file, atomically: true, encoding: .utf8)
      files.append(file)
    }
    return Self.parse(try compile(files))
  }

  private func compile(_ files: [URL]) throws -> String {
    let products = try Self.buildProducts()
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments =
      [
        "swiftc", "-emit-sil", "-o", "/dev/null", "-wmo", "-parse-as-library", "-module-name", "Mistakes",
        "-swift-version", "6", "-enable-upcoming-feature", "NonisolatedNonsendingByDefault",
        "-diagnostic-style", "llvm", "-I", products.appending(path: "Modules").path,
        "-module-cache-path", products.appending(path: "ModuleCache").path,
      ] + Self.moduleMaps(products) + files.map(\.path)
    let pipe = Pipe()
    process.standardError = pipe
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return String(decoding: output, as: UTF8.self)
  }

  /// Who imports Transports imports its C shim with it, whose module map lies beside the products.
  private static func moduleMaps(_ products: URL) -> [String] {
    let map = products.appending(path: "CShim.build/module.modulemap").path
    return FileManager.default.fileExists(atPath: map) ? ["-Xcc", "-fmodule-map-file=\(map)"] : []
  }

  /// Where this test's own executable lies, and beside it the modules that it was built from.
  private static func buildProducts() throws -> URL {
    let executable = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
    var directory = executable.deletingLastPathComponent()
    while directory.path != "/" {
      if FileManager.default.fileExists(atPath: directory.appending(path: "Modules/Pipeline.swiftmodule").path) {
        return directory
      }
      directory.deleteLastPathComponent()
    }
    throw CompilerFailure(description: "no Modules/Pipeline.swiftmodule above \(executable.path)")
  }

  /// `name:line:column: error: message` → `line:column: message`, by name.
  private static func parse(_ output: String) -> [String: [String]] {
    var errors: [String: [String]] = [:]
    for line in output.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 4).map(String.init)
      guard parts.count == 5, parts[3] == " error", Int(parts[1]) != nil else { continue }
      errors[parts[0], default: []].append("\(parts[1]):\(parts[2]):\(parts[4])")
    }
    return errors
  }
}
