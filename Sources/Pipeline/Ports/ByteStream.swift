/// What one call of ``ByteStream/read(into:)`` found.
@frozen public enum StreamRead: Hashable, Sendable {
  /// So many bytes were appended; at least 1.
  case bytes(Int)
  /// The other side has finished writing: nothing more will come.
  case end
  /// Nothing is there now; the waker is called when that may have changed.
  case wouldBlock
}

/// Why a stream can be used no longer.
public enum StreamError: Error, Hashable, Sendable {
  /// The other side reset it (RST, or a broken TLS session).
  case reset
  /// It was closed on this side.
  case closed
  /// The operating system reported another error.
  case system(errno: Int32)
}

/// Told that a stream may have become readable or writable.
public protocol StreamWaker: AnyObject {
  /// Called on the stream's own loop; may be called without need, and from within a call into the stream. The caller does not
  /// keep the stream: who lets go of it in here touches it no more.
  func wake(_ stream: any ByteStream)
}

/// A two-way stream of bytes that never blocks: a socket, a TLS session over one, an in-memory pair in tests.
///
/// Belongs to one connection and one loop, like everything of an exchange. Reading and writing are attempts; who gets
/// `.wouldBlock` or 0 waits for its waker. So the same relay runs over sockets, TLS and memory.
public protocol ByteStream: AnyObject {
  /// Appends what is there to `buffer`, as far as it has room.
  ///
  /// - Throws: ``StreamError``.
  func read(into buffer: inout OutputRawSpan) throws -> StreamRead

  /// Takes as many of `bytes` as fit now and says how many; 0 means "would block".
  ///
  /// - Throws: ``StreamError``.
  func write(_ bytes: RawSpan) throws -> Int

  /// Says that no more bytes follow (FIN), when all that was taken has been sent. The other direction stays open.
  func finishWriting() throws

  /// Closes both directions in order. Safe to call more than once.
  func close()

  /// Closes at once and tells the other side that something went wrong (RST). Safe to call more than once.
  func abort()

  /// Who is told when the stream may have become readable or writable. One at a time; held weakly or unowned.
  var waker: (any StreamWaker)? { get set }

  /// The address of this end, where the stream has one (SOCKS5's BND.ADDR).
  var localAddress: SocketAddress? { get }

  /// The address of the other end, where the stream has one.
  var remoteAddress: SocketAddress? { get }
}
