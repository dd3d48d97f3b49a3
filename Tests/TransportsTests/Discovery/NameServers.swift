import Glibc
import Pipeline
import RealPrograms
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

extension RealProgram {
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
