internal import Pipeline

/// What the next bytes of a chunked body are.
enum ChunkStep: Equatable {
  /// Data stands at this range of the bytes that were given; so many of them are done with.
  case data(Range<Int>, consumed: Int)
  /// All that was given is done with, and more is needed.
  case needMore(consumed: Int)
  /// The body has ended; what stands behind `consumed` is the next message.
  case end(consumed: Int)
}

/// Decodes a chunked body (RFC 9112, 7.1) in place: data is pointed at, not copied, and only trailers are kept.
///
/// Strict where others are known to differ: a size is digits and nothing else, white space around it, a line feed alone or a
/// missing line end behind the data end the body as broken. Extensions are checked, counted and dropped.
struct ChunkedDecoder {
  private enum State: Equatable {
    /// The first digit of a size.
    case sizeBegin
    /// More digits, or what ends them.
    case size
    /// Behind a semicolon: the name of an extension must follow.
    case extensionBegin
    /// In an extension, which nobody here knows.
    case chunkExtension(ExtensionPart)
    /// The line feed behind a size.
    case sizeEnd
    /// In the data.
    case data
    /// The carriage return behind the data.
    case dataCR
    /// The line feed behind the data.
    case dataLF
    /// In the trailers.
    case trailers
    /// The body has ended.
    case ended
  }

  /// Where in `name = value` (RFC 9112, 7.1.1) the next octet of an extension stands.
  private enum ExtensionPart {
    case name
    /// White space, which may stand before an equals sign or a semicolon.
    case behindName
    /// Behind the equals sign.
    case valueBegin
    case token
    case quoted
    /// Behind a backslash in a quoted string.
    case escaped
    /// Behind the quotation mark that ends a quoted string.
    case quotedEnd
    /// White space behind a value, which may stand before a semicolon.
    case behindValue
  }

  private let source: MessageSource
  private let maxExtensions: Int
  private let maxBody: UInt64
  private var state = State.sizeBegin
  private var digits = 0
  /// Of the chunk: its size while that is read, what is left of it afterwards.
  private var left: UInt64 = 0
  private var total: UInt64 = 0
  private var extensionBytes = 0
  private var collector: TrailerCollector

  /// The trailers that may be handed on, complete with `.end`.
  var trailers: HeaderFields { collector.fields }
  var hasTrailers: Bool { collector.fields.wireCount > 0 }

  init(_ options: HTTPOptions, from source: MessageSource) {
    self.source = source
    maxExtensions = options.maxChunkExtensions
    maxBody = source == .client ? options.maxBody ?? .max : .max
    collector = TrailerCollector(options, from: source)
  }

  /// Forgets everything: the next bytes begin a body.
  mutating func reset() {
    state = .sizeBegin
    total = 0
    extensionBytes = 0
    collector.reset()
  }

  /// - Parameter bytes: those that follow what was consumed.
  /// - Throws: `Rejection`: `malformed` (400), `bodyTooLarge` (413), `headTooLarge` (431, trailers); of an origin
  ///   `upstreamProtocol`. Nothing may be decoded afterwards.
  mutating func next(_ bytes: UnsafeRawBufferPointer) throws -> ChunkStep {
    guard bytes.count > 0, let octets = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else {
      return state == .ended ? .end(consumed: 0) : .needMore(consumed: 0)
    }
    var i = 0
    while i < bytes.count {
      let octet = octets[i]
      switch state {
      case .sizeBegin:
        let digit = hexDigit(octet)
        guard digit < 16 else { throw source.malformed("a chunk size begins with \(named(octet))") }
        left = UInt64(digit)
        digits = 1
        state = .size
        i &+= 1
      case .size:
        let digit = hexDigit(octet)
        if digit < 16 {
          // Fifteen digits are more than any body; others would overflow, or read leading zeros as they like.
          guard digits < 15 else { throw source.malformed("a chunk size of more than 15 digits") }
          left = left << 4 | UInt64(digit)
          digits += 1
        } else if octet == 13 {
          state = .sizeEnd
        } else if octet == UInt8(ascii: ";") {
          state = .extensionBegin
          try countExtension(1)
        } else {
          throw source.malformed("a chunk size goes on with \(named(octet))")
        }
        i &+= 1
      case .extensionBegin:
        if octet == 32 || octet == 9 {
          try countExtension(1)
          i &+= 1
        } else {
          guard OctetSet.token.contains(octet) else {
            throw source.malformed("a chunk extension begins with \(named(octet)): a name is needed")
          }
          state = .chunkExtension(.name)
        }
      case .chunkExtension(let part):
        if octet != 13 { try countExtension(1) }
        state = try following(part, octet)
        i &+= 1
      case .sizeEnd:
        guard octet == 10 else { throw source.malformed("a carriage return in a chunk's head without a line feed") }
        i &+= 1
        if left == 0 {
          state = .trailers
        } else {
          total &+= left
          guard total <= maxBody else {
            throw source.fault(.bodyTooLarge, "a chunked body of more than \(maxBody) bytes")
          }
          state = .data
        }
      case .data:
        let length = min(left, UInt64(bytes.count - i))
        left -= length
        if left == 0 { state = .dataCR }
        return .data(i..<(i + Int(length)), consumed: i + Int(length))
      case .dataCR:
        guard octet == 13 else {
          throw source.malformed("a chunk's data goes on with \(named(octet)): CR LF is needed")
        }
        state = .dataLF
        i &+= 1
      case .dataLF:
        guard octet == 10 else { throw source.malformed("a chunk's data is followed by a carriage return alone") }
        state = .sizeBegin
        i &+= 1
      case .trailers:
        guard let end = try collector.take(octets, i..<bytes.count) else { return .needMore(consumed: bytes.count) }
        state = .ended
        return .end(consumed: end)
      case .ended:
        return .end(consumed: i)
      }
    }
    return .needMore(consumed: bytes.count)
  }

  /// Where an extension is behind this octet.
  private func following(_ part: ExtensionPart, _ octet: UInt8) throws -> State {
    let isBlank = octet == 32 || octet == 9
    if !isBlank, octet < 32 || octet == 127, octet != 13 {
      throw source.malformed("a chunk extension holds \(named(octet))")
    }
    switch part {
    case .quoted:
      // Who goes by quotation marks would read on behind the line end.
      if octet == 13 { throw source.malformed("a chunk extension with an open quotation mark") }
      if octet == UInt8(ascii: "\"") { return .chunkExtension(.quotedEnd) }
      return .chunkExtension(octet == UInt8(ascii: "\\") ? .escaped : .quoted)
    case .escaped:
      if octet == 13 { throw source.malformed("a chunk extension with an open quotation mark") }
      return .chunkExtension(.quoted)
    case .valueBegin:
      if isBlank { return .chunkExtension(.valueBegin) }
      if octet == UInt8(ascii: "\"") { return .chunkExtension(.quoted) }
      if OctetSet.token.contains(octet) { return .chunkExtension(.token) }
    case .name, .behindName:
      if octet == UInt8(ascii: "=") { return .chunkExtension(.valueBegin) }
      if octet == UInt8(ascii: ";") { return .extensionBegin }
      if isBlank { return .chunkExtension(.behindName) }
      if octet == 13, part == .name { return .sizeEnd }
      if part == .name, OctetSet.token.contains(octet) { return .chunkExtension(.name) }
    case .token, .quotedEnd, .behindValue:
      if octet == UInt8(ascii: ";") { return .extensionBegin }
      if isBlank { return .chunkExtension(.behindValue) }
      if octet == 13, part != .behindValue { return .sizeEnd }
      if part == .token, OctetSet.token.contains(octet) { return .chunkExtension(.token) }
    }
    throw source.malformed("a chunk extension goes on with \(named(octet))")
  }

  private mutating func countExtension(_ count: Int) throws {
    extensionBytes += count
    guard extensionBytes <= maxExtensions else {
      throw source.malformed("chunk extensions of more than \(maxExtensions) bytes in one body")
    }
  }
}
