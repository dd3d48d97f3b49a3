import Glibc

/// A child that adds batches until it is killed.
final class LedgerChildProcess {
  private let pid: pid_t
  private let output: Int32
  private var said = ""

  init(_ path: String, from sequence: UInt64) throws {
    guard let resolved = realpath("/proc/self/exe", nil) else { throw TestFailure(description: "/proc/self/exe") }
    defer { free(resolved) }
    // Next to the program of the tests.
    let own = String(cString: resolved)
    let program = own[..<(own.lastIndex(of: "/") ?? own.startIndex)] + "/LedgerChild"
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw TestFailure(description: "pipe: errno \(errno)") }
    for descriptor in ends { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    let arguments = [String(program), path, "\(sequence)"]
    let words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var child: pid_t = 0
    let code = posix_spawn(&child, String(program), &actions, nil, words, environ)
    close(ends[1])
    guard code == 0 else { throw TestFailure(description: "posix_spawn \(program): \(code)") }
    pid = child
    output = ends[0]
  }

  /// The number of the next batch that it says is in the ledger.
  func nextAnswer() throws -> UInt64 {
    while true {
      if let answer = takeAnswer() { return answer }
      guard readMore() else { throw TestFailure(description: "the child ended: \(said)") }
    }
  }

  /// Kills it, and returns what it had said that nobody has read.
  func kill() -> [UInt64] {
    Glibc.kill(pid, SIGKILL)
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    while readMore() {}
    close(output)
    var rest: [UInt64] = []
    while let answer = takeAnswer() { rest.append(answer) }
    return rest
  }

  private func takeAnswer() -> UInt64? {
    guard let end = said.firstIndex(of: "\n") else { return nil }
    defer { said = String(said[said.index(after: end)...]) }
    return UInt64(said[..<end])
  }

  private func readMore() -> Bool {
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = read(output, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      if count <= 0 { return false }
      said += String(decoding: buffer[..<count], as: UTF8.self)
      return true
    }
  }
}
