internal import CShim
internal import Glibc
internal import Pipeline

/// Asks name servers. Discovery takes it as a parameter, so that its tests need no server.
protocol DNSAsking: Sendable {
  /// - Throws: ``DNSFailure``, `CancellationError`.
  func ask(_ question: DNSQuestion, on runtime: LoopRuntime) async throws -> DNSResponse
}

/// No server gave an answer: what each said or did.
struct DNSFailure: Error, Sendable, CustomStringConvertible {
  let description: String
}

/// A stub resolver (RFC 1034, 5.3.1) of our own, because `getaddrinfo` tells neither how long an answer holds nor what a service
/// record says: UDP with a port and a number that nobody can guess, TCP where an answer does not fit.
///
/// Each server is asked in turn, twice in all. It takes a task on a loop and blocks nothing.
struct DNSClient: DNSAsking {
  /// Nobody named: those of `resolv.conf`, read anew for each question.
  var servers: [SocketAddress] = []
  var timeout = Duration.seconds(2)
  private static let rounds = 2

  func ask(_ question: DNSQuestion, on runtime: LoopRuntime) async throws -> DNSResponse {
    guard let task = runtime as? LoopTask else { preconditionFailure("names are asked for on a loop of the engine") }
    let servers = self.servers.isEmpty ? try await systemServers(task) : self.servers
    var complaints: [String] = []
    for _ in 0..<Self.rounds {
      for server in servers {
        do {
          var response = try await askOverUDP(question, server, task)
          if response.isTruncated { response = try await askOverTCP(question, server, task) }
          switch response.code {
          case .good, .noName: return response
          case .failed(let code): throw DNSFault(description: "code \(code)")
          }
        } catch let error as CancellationError {
          throw error
        } catch {
          let complaint = "\(server): \(Self.sentence(error, timeout))"
          if !complaints.contains(complaint) { complaints.append(complaint) }
        }
      }
    }
    throw DNSFailure(description: "\(question): " + complaints.joined(separator: "; "))
  }

  private static func sentence(_ error: any Error, _ timeout: Duration) -> String {
    switch error {
    case is DeadlineExceeded: "no answer within \(timeout)"
    case let rejection as Rejection: rejection.kind.rawValue
    default: "\(error)"
    }
  }

  private func systemServers(_ task: LoopTask) async throws -> [SocketAddress] {
    try await task.offload {
      // A machine without the file asks itself, as resolv.conf(5) says.
      let file = try FileContents.readIfThere(ResolvConf.path, atMost: 64 * 1024)
      return ResolvConf(file.map { String(decoding: $0.bytes, as: UTF8.self) } ?? "").servers
    }
  }

  /// 16 bits that nobody can guess: with the port that the kernel chooses, all that a forger has to hit.
  private static func number() -> UInt16 {
    var number: UInt16 = 0
    let count = withUnsafeMutableBytes(of: &number) { shim_getrandom($0.baseAddress!, $0.count) }
    precondition(count == 2, "the kernel has no random numbers")
    return number
  }

  // MARK: UDP

  private func askOverUDP(
    _ question: DNSQuestion, _ server: SocketAddress, _ task: LoopTask
  ) async throws -> DNSResponse {
    let socket = try open(server, task)
    defer { socket.close() }
    let id = Self.number()
    let query = question.query(id: id)
    let sent = query.withUnsafeBytes { socket.send($0.baseAddress!, $0.count) }
    if case .failed(let code) = sent { throw SystemError("send", code) }
    let limit = task.now + timeout
    while true {
      if let response = try receive(socket, question, id) { return response }
      if try await !task.awaitSockets(until: limit) { throw DeadlineExceeded(deadline: limit) }
    }
  }

  /// A connected socket takes datagrams of its server only.
  private func open(_ server: SocketAddress, _ task: LoopTask) throws -> Socket {
    let kind = SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue
    let fd = Glibc.socket(server.family, Int32(kind), 0)
    guard fd >= 0 else { throw SystemError("socket", errno) }
    let code = server.withSockaddr { Glibc.connect(fd, $0, $1) == 0 ? 0 : errno }
    guard code == 0 else {
      close(fd)
      throw SystemError("connect", code)
    }
    guard let socket = Socket(adopting: fd, on: task.loop, remoteAddress: server) else {
      throw Rejection(.overloaded, detail: "the kernel watches no further socket")
    }
    socket.waker = task
    return socket
  }

  /// Looks through what has come; what is no answer to this question is passed over.
  private func receive(_ socket: Socket, _ question: DNSQuestion, _ id: UInt16) throws -> DNSResponse? {
    var buffer = [UInt8](repeating: 0, count: 64 * 1024)
    while true {
      let outcome = buffer.withUnsafeMutableBytes { socket.receive($0.baseAddress!, $0.count) }
      switch outcome {
      case .bytes(let count):
        do {
          let response = try DNSResponse(Array(buffer[..<count]))
          if response.answers(question, id: id) { return response }
        } catch {
          // A datagram that cannot be read may be anybody's: the true answer may still come.
        }
      // An empty datagram.
      case .end: continue
      case .wouldBlock: return nil
      case .failed(let code): throw SystemError("recv", code)
      }
    }
  }

  // MARK: TCP

  private func askOverTCP(
    _ question: DNSQuestion, _ server: SocketAddress, _ task: LoopTask
  ) async throws -> DNSResponse {
    guard case .ip(let ip, let port) = server else { throw DNSFault(description: "no IP address") }
    let outer = task.deadline
    task.deadline = min(outer, task.now + timeout)
    defer { task.deadline = outer }
    let destination = try AddressPolicy.anything.approve(Endpoint(.ip(ip), port: port), resolved: [ip])
    let stream = try await task.connect(to: destination, timeout: timeout)
    defer { stream.close() }
    let id = Self.number()
    let query = question.query(id: id)
    try await task.write([UInt8(query.count >> 8), UInt8(query.count & 0xff)] + query, to: stream)
    let head = try await read(2, from: stream, task)
    let bytes = try await read(Int(head[0]) << 8 | Int(head[1]), from: stream, task)
    let response = try DNSResponse(bytes)
    guard response.answers(question, id: id), !response.isTruncated else {
      throw DNSFault(description: "an answer to another question")
    }
    return response
  }

  private func read(_ count: Int, from stream: any ByteStream, _ task: LoopTask) async throws -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count {
      guard try await task.read(from: stream, into: &bytes, atMost: count - bytes.count) else {
        throw DNSFault(description: "it closed in the middle of an answer")
      }
    }
    return bytes
  }
}
