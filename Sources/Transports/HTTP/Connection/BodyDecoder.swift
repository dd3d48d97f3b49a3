internal import Glibc
internal import Pipeline

/// Finds the payload of a body in the bytes that carry it (RFC 9112, 6 and 7). Pure; used again by the next message, so that what
/// has grown is kept.
struct BodyDecoder {
  private enum State {
    /// Nothing more belongs to the body, or there is none.
    case ended
    /// So many bytes are missing; at least 1.
    case bytes(UInt64)
    case chunked
    /// Whatever comes until the other side finishes.
    case untilClose
  }

  /// What was found in some bytes.
  struct Step {
    /// Where the payload stands; the pieces of several chunks have been moved together.
    var payload = 0..<0
    /// How many of the bytes belong to the body: all of them, unless it has ended.
    var consumed = 0
  }

  private var state = State.ended
  private var chunks: ChunkedDecoder

  init(_ options: HTTPOptions, from source: MessageSource) { chunks = ChunkedDecoder(options, from: source) }

  // MARK: Beginning

  mutating func beginNone() { state = .ended }
  mutating func begin(_ length: UInt64) { state = length == 0 ? .ended : .bytes(length) }
  mutating func beginUntilClose() { state = .untilClose }

  mutating func beginChunked() {
    chunks.reset()
    state = .chunked
  }

  // MARK: What is known

  var hasEnded: Bool { if case .ended = state { true } else { false } }
  var endsWithClose: Bool { if case .untilClose = state { true } else { false } }

  /// Bytes that may be read without touching what follows the body; `nil`: nobody knows.
  var needed: UInt64? {
    switch state {
    case .ended: 0
    case .bytes(let left): left
    case .chunked, .untilClose: nil
    }
  }

  /// The trailers of a chunked body that has ended; of every other body those of the last chunked one, which nobody asks for.
  var trailers: HeaderFields { chunks.trailers }

  // MARK: Going on

  /// The other side has finished. Where that ends the body, nothing more is expected.
  mutating func end() { state = .ended }

  /// Takes the next bytes, and moves pieces of payload together within them.
  mutating func decode(_ bytes: UnsafeMutableRawBufferPointer) throws -> Step {
    switch state {
    case .ended:
      return Step()
    case .bytes(let left):
      let count = Int(min(left, UInt64(bytes.count)))
      begin(left - UInt64(count))
      return Step(payload: 0..<count, consumed: count)
    case .untilClose:
      return Step(payload: 0..<bytes.count, consumed: bytes.count)
    case .chunked:
      return try decodeChunks(bytes)
    }
  }

  private mutating func decodeChunks(_ bytes: UnsafeMutableRawBufferPointer) throws -> Step {
    var step = Step()
    while step.consumed < bytes.count {
      switch try chunks.next(UnsafeRawBufferPointer(rebasing: bytes[step.consumed...])) {
      case .data(let piece, let consumed):
        let found = (step.consumed + piece.lowerBound)..<(step.consumed + piece.upperBound)
        if step.payload.isEmpty {
          step.payload = found
        } else if let base = bytes.baseAddress {
          // Towards the front, over what has been consumed.
          memmove(base + step.payload.upperBound, base + found.lowerBound, found.count)
          step.payload = step.payload.lowerBound..<(step.payload.upperBound + found.count)
        }
        step.consumed += consumed
      case .needMore(let consumed):
        step.consumed += consumed
      case .end(let consumed):
        step.consumed += consumed
        state = .ended
        return step
      }
    }
    return step
  }
}

/// How a body is written. Pure.
enum BodyEncoder: Equatable {
  /// No byte of a body goes on the wire: HEAD, 204, 304, or an answer that is complete.
  case none
  /// So many are missing.
  case bytes(UInt64)
  case chunked
  /// The close ends it (HTTP/1.0).
  case close

  /// Bytes that have to be free before a payload for what is written in front of it.
  static let headroom = 20

  /// Puts what belongs around a payload of at least one byte around it, in place.
  ///
  /// - Parameter base: where `headroom` bytes before and 2 bytes behind the payload are free.
  /// - Returns: what is to be sent.
  func frame(_ base: UnsafeMutableRawPointer, _ payload: Range<Int>) -> Range<Int> {
    switch self {
    case .none: return payload.lowerBound..<payload.lowerBound
    case .bytes, .close: return payload
    case .chunked: break
    }
    (base + payload.upperBound).storeBytes(of: 0x0a0d, as: UInt16.self)
    var at = payload.lowerBound - 2
    (base + at).storeBytes(of: 0x0a0d, as: UInt16.self)
    var size = payload.count
    repeat {
      at -= 1
      let digit = UInt8(size & 15)
      (base + at).storeBytes(of: digit < 10 ? 48 + digit : 87 + digit, as: UInt8.self)
      size >>= 4
    } while size > 0
    return at..<(payload.upperBound + 2)
  }
}
