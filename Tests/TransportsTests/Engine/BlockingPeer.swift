import CShim
import Glibc
import Pipeline

@testable import Transports

/// Runs blocking code on a thread of its own, so that a test may use plain blocking sockets as clients and origins.
func onThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
  try await withCheckedThrowingContinuation { continuation in
    let thread = startThread(named: "peer") { continuation.resume(with: Swift.Result { try body() }) }
    pthread_detach(thread)
  }
}

/// A blocking socket: the far side of what is tested. Every call gives up after a minute, so that a lost wake-up fails
/// a test instead of hanging it.
final class BlockingPeer: @unchecked Sendable {
  private(set) var fd: Int32

  init(_ fd: Int32) {
    self.fd = fd
    var limit = timeval(tv_sec: 60, tv_usec: 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    setSocketOption(fd, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
  }

  deinit { close() }

  static func connect(_ address: SocketAddress, receiveBuffer: Int32? = nil) throws -> BlockingPeer {
    let fd = socket(address.family, Int32(SOCK_STREAM.rawValue), 0)
    guard fd >= 0 else { throw SystemError("socket", errno) }
    if let receiveBuffer { setSocketOption(fd, SOL_SOCKET, SO_RCVBUF, receiveBuffer) }
    let peer = BlockingPeer(fd)
    let code = address.withSockaddr { Glibc.connect(fd, $0, $1) == 0 ? 0 : errno }
    if code != 0 { throw SystemError("connect", code) }
    return peer
  }

  func send(_ bytes: [UInt8]) throws {
    var offset = 0
    while offset < bytes.count {
      let sent = bytes.withUnsafeBytes {
        Glibc.send(fd, $0.baseAddress! + offset, bytes.count - offset, Int32(MSG_NOSIGNAL))
      }
      guard sent > 0 else { throw SystemError("send", errno) }
      offset += sent
    }
  }

  /// What is there, at most `count` bytes; empty at the end.
  func receive(upTo count: Int = 65536) throws -> [UInt8] {
    var failure: Int32?
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      let received = recv(fd, buffer.baseAddress, count, 0)
      if received < 0 { failure = errno }
      initialized = max(received, 0)
    }
    if let failure { throw SystemError("recv", failure) }
    return bytes
  }

  /// Exactly `count` bytes, fewer if the end comes first.
  func receive(exactly count: Int) throws -> [UInt8] {
    var all: [UInt8] = []
    while all.count < count {
      let part = try receive(upTo: count - all.count)
      if part.isEmpty { break }
      all += part
    }
    return all
  }

  func receiveToEnd() throws -> [UInt8] {
    var all: [UInt8] = []
    while true {
      let part = try receive()
      if part.isEmpty { return all }
      all += part
    }
  }

  func finishWriting() { shutdown(fd, Int32(SHUT_WR)) }

  func reset() {
    var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
    close()
  }

  func close() {
    if fd >= 0 { Glibc.close(fd) }
    fd = -1
  }
}

/// A blocking listener on an ephemeral loopback port.
final class BlockingOrigin: @unchecked Sendable {
  let address: SocketAddress
  private let fd: Int32

  init(backlog: Int32 = 64, _ bindAddress: SocketAddress = .ip(.loopbackV4, port: 0)) throws {
    let fd = socket(bindAddress.family, Int32(SOCK_STREAM.rawValue), 0)
    guard fd >= 0 else { throw SystemError("socket", errno) }
    self.fd = fd
    let bound = bindAddress.withSockaddr { bind(fd, $0, $1) == 0 ? 0 : errno }
    guard bound == 0, listen(fd, backlog) == 0 else { throw SystemError("listen", bound) }
    address = SocketAddress.ask(fd) { getsockname($0, $1, $2) }!
    var limit = timeval(tv_sec: 60, tv_usec: 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { Glibc.close(fd) }

  /// Lets a thread that waits in `accept` go, with an error.
  func stop() { shutdown(fd, Int32(SHUT_RDWR)) }

  func accept() throws -> BlockingPeer {
    let accepted = Glibc.accept(fd, nil, nil)
    guard accepted >= 0 else { throw SystemError("accept", errno) }
    return BlockingPeer(accepted)
  }
}

extension BlockingPeer {
  /// Begins to connect and does not wait for it.
  static func begin(_ address: SocketAddress) throws -> BlockingPeer {
    let fd = shim_stream_socket(address.family)
    guard fd >= 0 else { throw SystemError("socket", errno) }
    _ = address.withSockaddr { Glibc.connect(fd, $0, $1) }
    return BlockingPeer(fd)
  }
}

extension BlockingPeer {
  /// Sends `bytes` and its end, reads to the other's end at the same time, and returns what it read.
  func exchange(_ bytes: [UInt8]) throws -> [UInt8] {
    let writer = startThread(named: "writer") { [self] in
      do {
        try send(bytes)
      } catch {
        // The reader at the other end finds that bytes are missing.
      }
      finishWriting()
    }
    defer { pthread_join(writer, nil) }
    return try receiveToEnd()
  }

  /// The errno of a receive, nil when it brought bytes or an orderly end.
  func errorOfNextReceive() -> Int32? {
    var byte: UInt8 = 0
    return recv(fd, &byte, 1, 0) < 0 ? errno : nil
  }
}
