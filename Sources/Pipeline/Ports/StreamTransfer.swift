// Reading and writing a stream: for destinations that speak to the client themselves, and for transports.

extension Exchange {
  /// Waits until `stream` has bytes and appends them to `buffer`.
  ///
  /// - Parameter limit: bytes taken at most; at least 1.
  /// - Returns: `false` when the other side has finished writing.
  /// - Throws: ``StreamError``, or what ends a wait (see ``ConnectionRuntime``).
  public final func read(
    from stream: any ByteStream, into buffer: inout [UInt8], atMost limit: Int = 16 * 1024
  ) async throws -> Bool {
    try await runtime.read(from: stream, into: &buffer, atMost: limit)
  }

  /// Writes all of `bytes`, waiting where the stream takes no more.
  ///
  /// - Throws: ``StreamError``, or what ends a wait (see ``ConnectionRuntime``).
  public final func write(_ bytes: [UInt8], to stream: any ByteStream) async throws {
    try await runtime.write(bytes, to: stream)
  }
}

extension ConnectionRuntime {
  /// As `Exchange.read(from:into:atMost:)`.
  package final func read(
    from stream: any ByteStream, into buffer: inout [UInt8], atMost limit: Int = 16 * 1024
  ) async throws -> Bool {
    while true {
      switch try Self.readNow(from: stream, into: &buffer, atMost: limit) {
      case .bytes: return true
      case .end: return false
      case .wouldBlock: try await wait(for: stream, .readable)
      }
    }
  }

  /// Appends what is there now.
  package static func readNow(
    from stream: any ByteStream, into buffer: inout [UInt8], atMost limit: Int = 16 * 1024
  ) throws -> StreamRead {
    precondition(limit > 0, "atMost: \(limit); allowed is 1 or more")
    var found = StreamRead.wouldBlock
    try buffer.append(addingCapacity: limit) { out in
      found = try out.withUnsafeMutableBufferPointer { storage, count in
        // The free part of the array's storage, handed to the stream as raw bytes for the length of this call.
        let free = UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(storage)[count...])
        var raw = OutputRawSpan(buffer: free, initializedCount: 0)
        let result = try stream.read(into: &raw)
        count += raw.finalize(for: free)
        return result
      }
    }
    return found
  }

  /// As `Exchange.write(_:to:)`.
  package final func write(_ bytes: [UInt8], to stream: any ByteStream) async throws {
    var sent = 0
    while sent < bytes.count {
      let taken = try stream.write(bytes.span.bytes.extracting(sent...))
      sent += taken
      if taken == 0 { try await wait(for: stream, .writable) }
    }
  }
}
