import Pipeline

@testable import Transports

/// A socket that the engine cannot recognise as one, as a TLS session would be: every byte goes through the generic pump,
/// in pieces whose size a seeded generator chooses.
final class OpaqueStream: ByteStream, StreamWaker, @unchecked Sendable {
  // Sound as Sendable: belongs to one loop, like the socket.
  private let socket: Socket
  private var random: FastRandom
  private let largestPiece: Int
  private unowned(unsafe) var listener: (any StreamWaker)?

  init(_ socket: Socket, largestPiece: Int = .max, seed: UInt64 = 1) {
    self.socket = socket
    self.largestPiece = largestPiece
    random = FastRandom(state: (seed, 7, 7, 7))
  }

  private func piece(_ count: Int) -> Int {
    largestPiece == .max ? count : min(count, Int.random(in: 1...largestPiece, using: &random))
  }

  func read(into buffer: inout OutputRawSpan) throws -> StreamRead {
    let limit = piece(buffer.freeCapacity)
    let outcome = buffer.withUnsafeMutableBytes { bytes, initialized in
      guard socket.mayRead else { return Socket.Outcome.wouldBlock }
      let outcome = socket.receive(bytes.baseAddress! + initialized, limit)
      if case .bytes(let count) = outcome { initialized += count }
      return outcome
    }
    switch outcome {
    case .bytes(let count): return .bytes(count)
    case .end: return .end
    case .wouldBlock: return .wouldBlock
    case .failed(let code): throw Socket.streamError(code)
    }
  }

  func write(_ bytes: RawSpan) throws -> Int {
    try socket.write(bytes.extracting(first: piece(bytes.byteCount)))
  }

  func finishWriting() throws { try socket.finishWriting() }
  func close() { socket.close() }
  func abort() { socket.abort() }

  var waker: (any StreamWaker)? {
    get { listener }
    set {
      listener = newValue
      socket.waker = newValue == nil ? nil : self
    }
  }

  func wake(_ stream: any ByteStream) { listener?.wake(self) }

  var localAddress: SocketAddress? { socket.localAddress }
  var remoteAddress: SocketAddress? { socket.remoteAddress }
}
