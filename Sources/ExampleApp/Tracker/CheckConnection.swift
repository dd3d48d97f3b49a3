import Glibc
import Pipeline

/// One connection of the check to a front end: a plain HTTP client that sends one request after another and never repeats one
/// by itself. It is driven by `poll`, so that some dozens of them need no thread.
struct CheckConnection {
  /// What has become of the request.
  enum Event {
    /// Nothing yet.
    case waiting
    case answered(status: Int, body: [UInt8])
    /// The request did not go out, or nothing at all came back: a front end that ends by a drain has not counted it.
    case unanswered(String)
    /// Part of an answer, or none in time: it may have been counted.
    case lost(String)
  }

  private enum Phase {
    case closed
    case connecting
    /// Kept, without a request.
    case idle
    case sending(from: Int)
    case receiving
  }

  let address: SocketAddress
  private var descriptor: Int32 = -1
  private var phase = Phase.closed
  private var request: [UInt8] = []
  private var received: [UInt8] = []

  init(_ address: SocketAddress) { self.address = address }

  var isBusy: Bool {
    switch phase {
    case .closed, .idle: false
    case .connecting, .sending, .receiving: true
    }
  }

  /// What `poll` is asked.
  var interest: pollfd {
    let events =
      switch phase {
      case .connecting, .sending: POLLOUT
      case .idle, .receiving, .closed: POLLIN
      }
    return pollfd(fd: descriptor, events: Int16(events), revents: 0)
  }

  /// Begins a request; connects where there is no connection.
  mutating func send(_ request: [UInt8]) -> Event {
    self.request = request
    received = []
    switch phase {
    case .closed:
      if let failure = open() { return fail(failure) }
      phase = .connecting
      return .waiting
    case .idle:
      phase = .sending(from: 0)
      return advance()
    case .connecting, .sending, .receiving: preconditionFailure("one request at a time")
    }
  }

  /// Goes on as far as it can without waiting.
  mutating func advance() -> Event {
    switch phase {
    case .closed, .idle: return .waiting
    case .connecting:
      var code: Int32 = 0
      var size = socklen_t(MemoryLayout<Int32>.size)
      getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size)
      if code != 0 { return fail(Self.text(code)) }
      phase = .sending(from: 0)
      return advance()
    case .sending(let sent):
      let count = request[sent...].withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      if count < 0 { return errno == EAGAIN || errno == EINTR ? .waiting : fail(Self.text(errno)) }
      if sent + count < request.count {
        phase = .sending(from: sent + count)
        return .waiting
      }
      phase = .receiving
      return .waiting
    case .receiving: return receive()
    }
  }

  private mutating func receive() -> Event {
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = recv(descriptor, &buffer, buffer.count, 0)
      if count < 0 { return errno == EAGAIN || errno == EINTR ? .waiting : fail(Self.text(errno)) }
      if count == 0 { return fail("closed") }
      received += buffer[..<count]
      guard let answer = HTTPAnswer(received) else { continue }
      guard answer.isReadable else { return fail("an answer that is no HTTP") }
      if answer.keepsAlive { phase = .idle } else { close() }
      return .answered(status: answer.status, body: answer.body)
    }
  }

  /// The answer does not come.
  mutating func giveUp() -> Event {
    if case .connecting = phase { return fail("no connection in time") }
    close()
    return .lost("no answer in time")
  }

  private mutating func fail(_ why: String) -> Event {
    close()
    return received.isEmpty ? .unanswered(why) : .lost("\(why) in the middle of an answer")
  }

  mutating func close() {
    if descriptor >= 0 { Glibc.close(descriptor) }
    descriptor = -1
    phase = .closed
  }

  /// Returns why there is no connection.
  private mutating func open() -> String? {
    switch address {
    case .ip(let ip, let port):
      descriptor = socket(
        ip.isIPv6 ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
      guard descriptor >= 0 else { return Self.text(errno) }
      var on: Int32 = 1
      setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
      return connect(ip, port)
    case .unix: return "a Unix socket is no front end"
    }
  }

  private func connect(_ ip: IPAddress, _ port: UInt16) -> String? {
    let code: Int32
    if ip.isIPv6 {
      var address = sockaddr_in6()
      address.sin6_family = sa_family_t(AF_INET6)
      address.sin6_port = port.bigEndian
      guard inet_pton(AF_INET6, "\(ip)", &address.sin6_addr) == 1 else { return "\(ip) is no address" }
      code = Self.connect(descriptor, &address)
    } else {
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = port.bigEndian
      guard inet_pton(AF_INET, "\(ip)", &address.sin_addr) == 1 else { return "\(ip) is no address" }
      code = Self.connect(descriptor, &address)
    }
    return code == 0 || code == EINPROGRESS ? nil : Self.text(code)
  }

  private static func connect<Address>(_ descriptor: Int32, _ address: inout Address) -> Int32 {
    let size = socklen_t(MemoryLayout<Address>.size)
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(descriptor, $0, size) == 0 ? 0 : errno
      }
    }
  }

  private static func text(_ code: Int32) -> String { strerror(code).map { String(cString: $0) } ?? "error \(code)" }
}

/// An answer of the tracker: a head and a body whose length is declared.
struct HTTPAnswer {
  let status: Int
  let body: [UInt8]
  let keepsAlive: Bool
  /// False for what is no such answer.
  let isReadable: Bool

  /// `nil` while it is not complete.
  init?(_ bytes: [UInt8]) {
    let end = Array("\r\n\r\n".utf8)
    guard let headEnd = bytes.indices.first(where: { bytes[$0...].starts(with: end) }) else { return nil }
    let lines = String(decoding: bytes[..<headEnd], as: UTF8.self).split(
      separator: "\r\n", omittingEmptySubsequences: false)
    var length: Int?
    var closes = false
    for line in lines.dropFirst() {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard parts.count == 2 else { continue }
      let value = parts[1].drop { $0 == " " }
      switch parts[0].lowercased() {
      case "content-length": length = Int(value)
      case "connection": closes = value.lowercased().contains("close")
      default: continue
      }
    }
    let words = lines[0].split(separator: " ")
    guard words.count >= 2, words[0] == "HTTP/1.1", let status = Int(words[1]), let length else {
      (status, body, keepsAlive, isReadable) = (0, [], false, false)
      return
    }
    let rest = bytes[(headEnd + 4)...]
    guard rest.count >= length else { return nil }
    self.status = status
    body = Array(rest.prefix(length))
    keepsAlive = !closes
    isReadable = rest.count == length
  }
}
