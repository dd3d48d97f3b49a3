import Glibc
import Pipeline
import Synchronization

@testable import Transports

/// A name server of the test's own: UDP and TCP on one loopback port, each answer from a script.
final class ScriptedNameServer: @unchecked Sendable {
  // Sound as Sendable: set once, before the threads start.
  let address: SocketAddress
  private let udp: Int32
  private let queries = Mutex<[DNSQuery]>([])

  /// What came so far.
  var seen: [DNSQuery] { queries.withLock { $0 } }

  init(_ script: @escaping @Sendable (DNSQuery) -> [[UInt8]]) throws {
    let tcp = try BlockingOrigin()
    address = tcp.address
    let udp = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    self.udp = udp
    guard udp >= 0, address.withSockaddr({ bind(udp, $0, $1) }) == 0 else { throw SystemError("bind", errno) }
    var limit = timeval(tv_sec: 60, tv_usec: 0)
    setsockopt(udp, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    let queries = Weak(self)
    detachedThread {
      var buffer = [UInt8](repeating: 0, count: 2048)
      while true {
        var from = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let count = withUnsafeMutablePointer(to: &from) {
          $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { recvfrom(udp, &buffer, buffer.count, 0, $0, &length) }
        }
        guard count > 0, let query = DNSQuery(Array(buffer[..<count]), isTCP: false) else { return }
        queries.value?.note(query)
        for reply in script(query) {
          _ = withUnsafePointer(to: &from) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { sendto(udp, reply, reply.count, 0, $0, length) }
          }
        }
      }
    }
    detachedThread {
      while let peer = try? tcp.accept() {
        guard let head = try? peer.receive(exactly: 2), head.count == 2,
          let bytes = try? peer.receive(exactly: Int(head[0]) << 8 | Int(head[1])),
          let query = DNSQuery(bytes, isTCP: true)
        else { continue }
        queries.value?.note(query)
        for reply in script(query) { try? peer.send(DNSAnswer.word(reply.count) + reply) }
      }
    }
  }

  private func note(_ query: DNSQuery) { queries.withLock { $0.append(query) } }

  deinit {
    shutdown(udp, Int32(SHUT_RDWR))
    close(udp)
  }

  private final class Weak: @unchecked Sendable {
    // Sound as Sendable: weak references are atomic.
    weak var value: ScriptedNameServer?
    init(_ value: ScriptedNameServer) { self.value = value }
  }
}

/// A query as a name server reads it.
struct DNSQuery: Sendable {
  let id: UInt16
  let question: DNSQuestion
  let isTCP: Bool

  init?(_ bytes: [UInt8], isTCP: Bool) {
    guard bytes.count > 16 else { return nil }
    id = UInt16(bytes[0]) << 8 | UInt16(bytes[1])
    var place = 12
    var labels: [String] = []
    while bytes[place] != 0 {
      labels.append(String(decoding: bytes[(place + 1)...(place + Int(bytes[place]))], as: UTF8.self))
      place += Int(bytes[place]) + 1
    }
    guard let name = DomainName(labels.joined(separator: ".")),
      let type = DNSType(rawValue: UInt16(bytes[place + 1]) << 8 | UInt16(bytes[place + 2])),
      let question = DNSQuestion(name, type)
    else { return nil }
    self.question = question
    self.isTCP = isTCP
  }

  func answer(flags: UInt16 = 0x8180, id: UInt16? = nil, _ edit: (inout DNSAnswer) -> Void = { _ in }) -> [UInt8] {
    var answer = DNSAnswer(to: question, id: id ?? self.id, flags: flags)
    edit(&answer)
    return answer.bytes
  }
}

/// A program of this machine that runs for the length of a test: behind a shell that ends it when the test's process is gone.
final class RealProgram: Sendable {
  private let process: Mutex<(pid: pid_t, input: Int32, output: Int32)?>

  /// Whether this machine has it.
  static func exists(_ name: String) -> Bool {
    ["/usr/bin/", "/usr/sbin/", "/usr/local/bin/"].contains { access($0 + name, X_OK) == 0 }
  }

  /// - Parameters:
  ///   - ready: what it says, on either output, when it serves; `nil`: it says nothing.
  init(_ words: [String], ready: String?) throws {
    let script =
      #"PATH=$PATH:/usr/sbin; "$@" 2>&1 & child=$!; while read -r line; do kill -$line $child; done; kill -9 $child; wait $child 2>/dev/null"#
    var input: [Int32] = [0, 0]
    var output: [Int32] = [0, 0]
    guard pipe(&input) == 0, pipe(&output) == 0 else { throw SystemError("pipe", errno) }
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
    guard code == 0 else { throw SystemError("posix_spawn", code) }
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
  func signal(_ name: String) {
    guard let input = process.withLock({ $0?.input }) else { return }
    let line = Array("\(name)\n".utf8)
    _ = Glibc.write(input, line, line.count)
  }

  deinit {
    guard let (pid, input, output) = process.withLock({ $0 }) else { return }
    Glibc.close(input)
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    Glibc.close(output)
  }

  /// A loopback port that nobody uses at the moment.
  static func freePort() throws -> UInt16 { try BlockingOrigin().address.port }

  /// Returns when somebody listens there.
  static func awaitListener(on port: UInt16) throws {
    let end = Loop.preciseNow + .seconds(30)
    while true {
      do {
        try BlockingPeer.connect(.ip(.loopbackV4, port: port)).close()
        return
      } catch {
        if Loop.preciseNow > end { throw error }
        sched_yield()
      }
    }
  }
}

struct ProgramFailure: Error, CustomStringConvertible { let description: String }
