import Foundation
import Glibc
import PostgreSQLLedger
import Synchronization

struct TestFailure: Error, CustomStringConvertible { let description: String }

/// The server that `Scripts/postgresql-tests` has started.
enum PostgreSQLServer {
  static let password = "geheim-kennwort"
  static let user = "sluice"
  private static let lastDatabase = Atomic<Int>(0)

  static func port() throws -> UInt16 {
    guard let port = getenv("SLUICE_POSTGRESQL_PORT").flatMap({ UInt16(String(cString: $0)) }) else {
      throw TestFailure(description: "SLUICE_POSTGRESQL_PORT is not set: run Scripts/postgresql-tests")
    }
    return port
  }

  /// Runs SQL as psql does, and returns what it prints.
  @discardableResult static func sql(_ text: String, in database: String = "postgres") throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["psql", try url(database), "-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-c", text]
    let output = Pipe()
    process.standardOutput = output
    process.standardError = output
    try process.run()
    let said = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw TestFailure(description: "\(text): \(said)") }
    return said.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// A database of the caller's own, empty.
  static func makeDatabase() throws -> String {
    let name = "test\(lastDatabase.add(1, ordering: .relaxed).newValue)"
    try sql("CREATE DATABASE \(name)")
    return name
  }

  static func url(_ database: String, port: UInt16? = nil, password: String = password) throws -> String {
    "postgres://\(user):\(password)@127.0.0.1:\(try port ?? self.port())/\(database)"
  }
}

/// Holds a lock in a transaction of its own until it is let go.
final class LockHolder {
  private let process = Process()
  private let input = Pipe()

  init(_ statement: String, in database: String) throws {
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["psql", try PostgreSQLServer.url(database), "-X", "-q", "-t", "-A"]
    let output = Pipe()
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    input.fileHandleForWriting.write(Data("BEGIN; \(statement); SELECT 'held';\n".utf8))
    // It answers when it has the lock.
    var said = Data()
    while !String(decoding: said, as: UTF8.self).contains("held") {
      let more = output.fileHandleForReading.availableData
      if more.isEmpty { throw TestFailure(description: "psql ended: \(String(decoding: said, as: UTF8.self))") }
      said += more
    }
  }

  func release() throws {
    try input.fileHandleForWriting.close()
    process.waitUntilExit()
  }
}

/// Stands between a client and the server, and cuts a connection after the server's answer to a COMMIT, which it keeps.
final class AnswerThief: Sendable {
  let port: UInt16
  private let listener: Int32
  private let thefts = Atomic<Int>(0)

  /// - Parameter thefts: how many answers it keeps; then it lets all pass.
  init(to target: UInt16, thefts: Int) throws {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    self.listener = listener
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, size) == 0 && listen(listener, 16) == 0 && getsockname(listener, $0, &size) == 0
      }
    }
    guard bound else { throw TestFailure(description: "listen: errno \(errno)") }
    port = UInt16(bigEndian: address.sin_port)
    self.thefts.store(thefts, ordering: .relaxed)
    Thread.detachNewThread { [self] in
      while true {
        let client = accept(listener, nil, nil)
        if client < 0 { return }
        Thread.detachNewThread { [self] in carry(client, to: target) }
      }
    }
  }

  /// Ends the thread that accepts.
  func stop() { shutdown(listener, Int32(SHUT_RDWR)) }

  /// A port that accepts and never says a word.
  static func silent() throws -> AnswerThief { try AnswerThief(to: 0, thefts: 0) }

  private func carry(_ client: Int32, to target: UInt16) {
    defer { close(client) }
    let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(server) }
    if target != 0 {
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_addr.s_addr = inet_addr("127.0.0.1")
      address.sin_port = target.bigEndian
      let connected = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          connect(server, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
      if connected != 0 { return }
    }
    var buffer = [UInt8](repeating: 0, count: 65_536)
    var isCommitting = false
    while true {
      var sockets = [pollfd(fd: client, events: Int16(POLLIN), revents: 0)]
      if target != 0 { sockets.append(pollfd(fd: server, events: Int16(POLLIN), revents: 0)) }
      if poll(&sockets, nfds_t(sockets.count), -1) < 0 { continue }
      if sockets[0].revents != 0 {
        let count = read(client, &buffer, buffer.count)
        if count <= 0 { return }
        if String(decoding: buffer[..<count], as: UTF8.self).contains("COMMIT") { isCommitting = true }
        if target != 0 { write(server, buffer, count) }
      }
      if sockets.count > 1, sockets[1].revents != 0 {
        let count = read(server, &buffer, buffer.count)
        if count <= 0 { return }
        // The server has committed: its answer goes nowhere.
        if isCommitting, thefts.subtract(1, ordering: .relaxed).oldValue > 0 { return }
        isCommitting = false
        write(client, buffer, count)
      }
    }
  }
}
