import Foundation
import Pipeline
import PipelineTesting

@testable import Transports

/// A directory that goes away with the test.
final class TemporaryTree {
  let root: URL

  init() throws {
    root = FileManager.default.temporaryDirectory.appending(path: "files-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
  }

  deinit {
    do { try FileManager.default.removeItem(at: root) } catch { print("left behind: \(root.path)") }
  }

  /// Writes a file that was changed long ago.
  @discardableResult func file(_ path: String, _ content: String, age: TimeInterval = 86_400) throws -> URL {
    try file(path, Array(content.utf8), age: age)
  }

  @discardableResult func file(_ path: String, _ content: [UInt8], age: TimeInterval = 86_400) throws -> URL {
    let url = root.appending(path: path)
    try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(content).write(to: url)
    let date = Date(timeIntervalSince1970: (Date().timeIntervalSince1970 - age).rounded(.down))
    try FileManager.default.setAttributes([.modificationDate: date], ofItemAtPath: url.path)
    return url
  }

  func link(_ path: String, to target: String) throws {
    try FileManager.default.createSymbolicLink(
      atPath: root.appending(path: path).path, withDestinationPath: target)
  }

  /// Descriptors of this process that lie below the directory.
  var openDescriptors: Int {
    let own = "/proc/self/fd"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: own)) ?? []
    return names.filter {
      // A descriptor may be closed by another test between the two calls.
      (try? FileManager.default.destinationOfSymbolicLink(atPath: own + "/" + $0))?.hasPrefix(root.path) == true
    }.count
  }
}

/// Serves these files to clients in memory.
struct FileServer {
  let harness: ChainHarness<HTTPExchange>

  init(_ files: Files) throws {
    harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        files
      })
  }

  func ask(
    _ target: String, _ method: HTTPMethod = .get, _ fields: KeyValuePairs<HeaderName, String> = [:]
  ) async -> ExchangeRun {
    var client = MockClient(method: method, target: target)
    for (name, value) in fields { client.request.fields.add(name, value) }
    return await harness.start(client)
  }

  /// The status and the body.
  func text(
    _ target: String, _ method: HTTPMethod = .get, _ fields: KeyValuePairs<HeaderName, String> = [:]
  ) async -> String {
    let run = await ask(target, method, fields)
    let body = String(decoding: run.responseBody, as: UTF8.self)
    return "\(run.response?.status ?? 0)" + (body.isEmpty ? "" : " " + body)
  }
}
