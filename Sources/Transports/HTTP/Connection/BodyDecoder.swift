internal import Pipeline

/// Finds the payload of a body in the bytes that carry it (RFC 9112, 6 and 7). Pure.
enum BodyDecoder {
  /// Nothing more belongs to the body, or there is none.
  case ended
  /// So many bytes are missing; at least 1.
  case bytes(UInt64)
  case chunked(ChunkedDecoder)
  /// Whatever comes until the other side finishes.
  case untilClose

  /// What was found in some bytes.
  struct Step {
    /// Where the payload stands; the pieces of several chunks have been moved together.
    var payload = 0..<0
    /// How many of the bytes belong to the body: all of them, unless it has ended.
    var consumed = 0
  }

  init(_ length: UInt64) { self = length == 0 ? .ended : .bytes(length) }

  var hasEnded: Bool { if case .ended = self { true } else { false } }

  /// Bytes that may be read without touching what follows the body; `nil`: nobody knows.
  var needed: UInt64? {
    switch self {
    case .ended: 0
    case .bytes(let left): left
    case .chunked, .untilClose: nil
    }
  }

  /// Takes the next bytes, and moves pieces of payload together within them.
  mutating func decode(_ bytes: UnsafeMutableRawBufferPointer) throws -> Step {
    switch self {
    case .ended:
      return Step()
    case .bytes(let left):
      let count = Int(min(left, UInt64(bytes.count)))
      self = BodyDecoder(left - UInt64(count))
      return Step(payload: 0..<count, consumed: count)
    case .untilClose:
      return Step(payload: 0..<bytes.count, consumed: bytes.count)
    case .chunked(var decoder):
      // Taken out while it is used, so that it is not copied.
      self = .ended
      var step = Step()
      let hasEnded = try Self.decode(bytes, &decoder, &step)
      self = hasEnded ? .ended : .chunked(decoder)
      return step
    }
  }

  /// Returns whether the body has ended.
  private static func decode(
    _ bytes: UnsafeMutableRawBufferPointer, _ decoder: inout ChunkedDecoder, _ step: inout Step
  ) throws -> Bool {
    while true {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[step.consumed...])
      switch try decoder.next(rest) {
      case .data(let piece, let consumed):
        let found = (step.consumed + piece.lowerBound)..<(step.consumed + piece.upperBound)
        if step.payload.isEmpty {
          step.payload = found
        } else if let base = bytes.baseAddress {
          // Towards the front, over what has been consumed.
          (base + step.payload.upperBound).copyMemory(from: base + found.lowerBound, byteCount: found.count)
          step.payload = step.payload.lowerBound..<(step.payload.upperBound + found.count)
        }
        step.consumed += consumed
        if step.consumed == bytes.count { return false }
      case .needMore(let consumed):
        step.consumed += consumed
        return false
      case .end(let consumed):
        step.consumed += consumed
        return true
      }
    }
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
