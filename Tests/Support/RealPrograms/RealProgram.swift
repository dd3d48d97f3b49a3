internal import Glibc
internal import Synchronization

/// A program of this machine that runs for the length of a test: behind a shell that ends it when the test's process is gone.
public final class RealProgram: Sendable {
  private let process: Mutex<(pid: pid_t, input: Int32, output: Int32)?>

  /// Whether this machine has it.
  public static func exists(_ name: String) -> Bool {
    ["/usr/bin/", "/usr/sbin/", "/usr/local/bin/"].contains { access($0 + name, X_OK) == 0 }
  }

  /// - Parameters:
  ///   - ready: what it says, on either output, when it serves; `nil`: it says nothing.
  public init(_ words: [String], ready: String?) throws {
    let script =
      #"PATH=$PATH:/usr/sbin; "$@" 2>&1 & child=$!; while read -r line; do kill -$line $child; done; kill -9 $child; wait $child 2>/dev/null"#
    var input: [Int32] = [0, 0]
    var output: [Int32] = [0, 0]
    guard pipe(&input) == 0, pipe(&output) == 0 else { throw ProgramFailure(description: "pipe: errno \(errno)") }
    for descriptor in input + output { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, input[0], 0)
    posix_spawn_file_actions_adddup2(&actions, output[1], 1)
    // Threads of the pool block every signal, and a shell that does not hear SIGCHLD waits for ever.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    let all = ["/bin/sh", "-c", script, "sh"] + words
    let pointers = all.map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    var pid: pid_t = 0
    let code = posix_spawn(&pid, "/bin/sh", &actions, &attributes, pointers, environ)
    Glibc.close(input[0])
    Glibc.close(output[1])
    guard code == 0 else { throw ProgramFailure(description: "posix_spawn: \(code)") }
    process = Mutex((pid, input[1], output[0]))
    var said = ""
    var buffer = [UInt8](repeating: 0, count: 4096)
    while let ready, !said.contains(ready) {
      let count = Glibc.read(output[0], &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw ProgramFailure(description: "\(words[0]) ended: \(said.suffix(400))") }
      said += String(decoding: buffer[..<count], as: UTF8.self)
    }
  }

  /// Sends it a signal by its name: `HUP`.
  public func signal(_ name: String) {
    guard let input = process.withLock({ $0?.input }) else { return }
    let line = Array("\(name)\n".utf8)
    _ = Glibc.write(input, line, line.count)
  }

  deinit { kill() }

  /// Kills it, and waits until it is gone. More than once is as good as once.
  public func kill() {
    let taken = process.withLock { process in
      defer { process = nil }
      return process
    }
    guard let (pid, input, output) = taken else { return }
    Glibc.close(input)
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    Glibc.close(output)
  }
}

/// Why a program does not run.
public struct ProgramFailure: Error, CustomStringConvertible {
  public let description: String

  public init(description: String) { self.description = description }
}
