internal import CShim
internal import Glibc
internal import Pipeline

/// One end of a relay: a socket, which is read and written by system calls directly, or any other byte stream.
struct RelaySide {
  /// The stream, if it is a plain socket.
  let socket: Socket?
  /// The stream, if it is none. One of the two is there: a copy counts one reference, and there are many.
  private let other: (any ByteStream)?

  init(_ stream: any ByteStream) {
    socket = stream as? Socket
    other = socket == nil ? stream : nil
  }

  @inline(__always)
  var stream: any ByteStream {
    if let socket { return socket }
    // Sound: see `init`.
    return other!
  }

  @inline(__always)
  func setWaker(_ waker: (any StreamWaker)?) {
    if let socket { socket.waker = waker } else { stream.waker = waker }
  }

  @inline(__always)
  func setWaker(_ connection: Connection) {
    if let socket { socket.setWaker(connection) } else { stream.waker = connection }
  }

  /// Only plain sockets know beforehand; another stream is asked by trying.
  @inline(__always)
  var mayRead: Bool { socket?.mayRead ?? true }

  @inline(__always)
  var mayWrite: Bool { socket?.mayWrite ?? true }

  @inline(__always)
  func read(_ buffer: UnsafeMutableRawPointer, _ capacity: Int) -> Socket.Outcome {
    if let socket, !socket.hasPushedBack { return socket.receive(buffer, capacity) }
    return readStream(buffer, capacity)
  }

  private func readStream(_ buffer: UnsafeMutableRawPointer, _ capacity: Int) -> Socket.Outcome {
    var span = OutputRawSpan(
      buffer: UnsafeMutableRawBufferPointer(start: buffer, count: capacity), initializedCount: 0)
    do {
      switch try stream.read(into: &span) {
      case .bytes(let count): return .bytes(count)
      case .end: return .end
      case .wouldBlock: return .wouldBlock
      }
    } catch {
      return .failed(Self.code(error))
    }
  }

  @inline(__always)
  func write(_ bytes: UnsafeRawPointer, _ count: Int, isMoreAtHand: Bool = false) -> Socket.Outcome {
    if let socket { return socket.send(bytes, count, isMoreAtHand: isMoreAtHand) }
    return writeStream(bytes, count)
  }

  private func writeStream(_ bytes: UnsafeRawPointer, _ count: Int) -> Socket.Outcome {
    do {
      let taken = try stream.write(RawSpan(_unsafeBytes: UnsafeRawBufferPointer(start: bytes, count: count)))
      return taken == 0 ? .wouldBlock : .bytes(taken)
    } catch {
      return .failed(Self.code(error))
    }
  }

  /// Passes the end on. An error means that the other side is gone, which the next read of it reports.
  func finishWriting() {
    do {
      try stream.finishWriting()
    } catch {
      // Nothing to do here: see above.
    }
  }

  private static func code(_ error: any Error) -> Int32 {
    switch error as? StreamError {
    case .reset: ECONNRESET
    case .closed: EBADF
    case .system(let code): code
    case nil: EIO
    }
  }
}

/// What is wanted of one of two streams that a task waits for.
struct StreamInterest {
  // Sound because whoever waits keeps the stream for the length of the wait.
  private unowned(unsafe) let stream: any ByteStream
  private unowned(unsafe) let socket: Socket?
  private let wanted: Readiness

  /// - Parameter wanted: `.readable`, `.writable`, both or neither.
  init(_ side: RelaySide, _ wanted: Readiness) {
    stream = side.stream
    socket = side.socket
    self.wanted = wanted
  }

  /// Whether an event may have brought what is wanted. A stream that is no socket only says that something may have
  /// changed.
  var isReady: Bool { !wanted.isEmpty && (socket == nil || isKnownReady) }

  /// Whether what is wanted is there. Of a stream that is no socket nobody knows.
  var isKnownReady: Bool {
    guard let socket, !wanted.isEmpty else { return false }
    if socket.descriptor < 0 { return true }
    return !socket.readiness.isDisjoint(with: wanted) || (wanted.contains(.readable) && socket.hasPushedBack)
  }

  func reads(_ other: Socket) -> Bool { socket === other && wanted.contains(.readable) }

  func setWaker(_ waker: any StreamWaker) {
    if socket == nil { stream.waker = waker }
  }
}
