internal import Glibc
internal import Pipeline

/// Parses the head of a response (RFC 9112, 4 to 6) as strictly as that of a request: an origin that can be read in two ways
/// would let one client's answer reach another. Every breach is `upstreamProtocol` (502).
struct ResponseHeadParser {
  private let maxHead: Int

  private var fields: FieldSection
  /// Where the line begins that is not complete yet.
  private var lineStart = 0
  /// Up to here no line feed is in that line.
  private var scanned = 0
  private var version = HTTPVersion.http11

  init(_ options: HTTPOptions) {
    maxHead = options.maxHead
    fields = FieldSection(source: .origin, maxFields: options.maxFields)
  }

  /// Forgets everything: the next bytes begin a head.
  mutating func reset() {
    fields.reset()
    lineStart = 0
    scanned = 0
  }

  /// - Parameters:
  ///   - bytes: all that has come since the head's begin.
  ///   - method: of the request, which decides whether a body follows (RFC 9112, 6.3).
  ///   - head: gets status and fields.
  /// - Throws: `Rejection(.upstreamProtocol)`. Nothing may be parsed afterwards.
  mutating func parse(
    _ bytes: UnsafeRawBufferPointer, for method: HTTPMethod, into head: inout HTTPResponseHead,
    _ framing: inout ResponseFraming
  ) throws -> HeadProgress {
    guard bytes.count > 0, let octets = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else {
      return .incomplete
    }
    if lineStart == 0 {
      if scanned == 0 { head.fields.removeAll() }
      try checkBegin(octets, bytes.count)
    }
    while let feed = nextLineFeed(octets, bytes.count) {
      guard feed < maxHead else { throw tooLarge() }
      guard feed > lineStart, octets[feed - 1] == 13 else {
        throw MessageSource.origin.malformed("a line feed without a carriage return")
      }
      let start = lineStart
      lineStart = feed + 1
      scanned = lineStart
      if start == 0 {
        head.status = try takeStatusLine(octets, feed - 1)
      } else if feed - 1 > start {
        try fields.take(octets, start, feed - 1, into: &head.fields)
      } else {
        framing = try finish(octets, for: method, into: &head)
        return .complete(length: feed + 1)
      }
    }
    if bytes.count > maxHead { throw tooLarge() }
    return .incomplete
  }

  @inline(__always) private mutating func nextLineFeed(_ octets: Octets, _ count: Int) -> Int? {
    guard scanned < count, let found = memchr(octets + scanned, 10, count - scanned) else {
      scanned = max(scanned, count)
      return nil
    }
    return UnsafeRawPointer(found) - UnsafeRawPointer(octets)
  }

  private func tooLarge() -> Rejection {
    MessageSource.origin.fault(.headTooLarge, "a head of more than \(maxHead) bytes")
  }

  // MARK: - The status line

  /// Something else than HTTP is refused before its line ends, which might never come.
  @inline(__always)
  private func checkBegin(_ octets: Octets, _ count: Int) throws {
    let name: StaticString = "HTTP/"
    for i in 0..<min(count, name.utf8CodeUnitCount) where octets[i] != name.utf8Start[i] {
      throw MessageSource.origin.malformed("a response begins with \(quoted(octets, 0..<(i + 1))): no HTTP/1")
    }
  }

  private mutating func takeStatusLine(_ octets: Octets, _ end: Int) throws -> Int {
    // `HTTP/1.x nnn`, and the end or a space: nearly every one.
    if end >= 12, end == 12 || octets[12] == 32, octets[5] == UInt8(ascii: "1"), octets[6] == UInt8(ascii: "."),
      octets[8] == 32, octets[7] &- 48 <= 9, octets[9] &- 49 <= 8, octets[10] &- 48 <= 9, octets[11] &- 48 <= 9,
      octets.firstControl(12, end) == end
    {
      version = octets[7] == UInt8(ascii: "0") ? .http10 : .http11
      return Int(octets[9] &- 48) &* 100 &+ Int(octets[10] &- 48) &* 10 &+ Int(octets[11] &- 48)
    }
    return try takeUnusualStatusLine(octets, end)
  }

  private mutating func takeUnusualStatusLine(_ octets: Octets, _ end: Int) throws -> Int {
    let source = MessageSource.origin
    let name = 0..<((0..<end).first { octets[$0] == 32 } ?? end)
    guard name.count == 8, octets[5] == UInt8(ascii: "1"), octets[6] == UInt8(ascii: "."), octets[7] &- 48 <= 9 else {
      throw source.malformed("version \(quoted(octets, name)): HTTP/1.1 or HTTP/1.0 is needed")
    }
    version = octets[7] == UInt8(ascii: "0") ? .http10 : .http11
    let begin = min(9, end)
    let word = begin..<((begin..<end).first { octets[$0] == 32 } ?? end)
    guard word.count == 3, word.allSatisfy({ octets[$0] &- 48 <= 9 }), octets[9] > 48 else {
      throw source.malformed("status \(quoted(octets, word)): a space and three digits from 100 on are needed")
    }
    // The reason says nothing to a machine and is written anew. Some origins leave out the space before an empty one.
    let control = octets.firstControl(word.upperBound, end)
    guard control == end else { throw source.malformed("reason of the status line holds \(named(octets[control]))") }
    return word.reduce(0) { $0 * 10 + Int(octets[$1] - 48) }
  }

  // MARK: - The end of the head

  private mutating func finish(
    _ octets: Octets, for method: HTTPMethod, into head: inout HTTPResponseHead
  ) throws -> ResponseFraming {
    let (closes, staysOpen) = (fields.connection.closes, fields.connection.keepsAlive)
    var framing = ResponseFraming()
    framing.version = version
    head.receivedVersion = version
    framing.isInterim = head.status < 200 && head.status != 101
    framing.opensTunnel = head.status == 101 || (method == .connect && head.status / 100 == 2)
    framing.keepsAlive = !closes && (version == .http11 || staysOpen)
    try setBody(&framing, status: head.status, of: method)
    fields.finish(octets, into: &head.fields)
    if fields.hasUpgrade {
      // It goes on where the client has to know: what is spoken now (101), or what would have to be (426).
      if (head.status == 101 || head.status == 426) && !fields.offersH2C {
        head.fields.noteConnectionField()
      } else {
        head.fields.remove("upgrade")
      }
    }
    return framing
  }

  /// RFC 9112, 6.3. Inlined: it would get a copy of the parser.
  @inline(__always)
  private func setBody(_ framing: inout ResponseFraming, status: Int, of method: HTTPMethod) throws {
    let source = MessageSource.origin
    // What follows a 101 is another protocol's; one with a body leaves open where that begins (RFC 9110, 15.2.2).
    if status == 101, fields.hasTransferEncoding || (fields.contentLength ?? 0) > 0 {
      throw source.malformed("status 101 with a body")
    }
    if framing.opensTunnel {
      // What lengths a success of CONNECT declares is to be ignored (RFC 9110, 9.3.6).
      framing.keepsAlive = false
      return
    }
    if fields.hasTransferEncoding {
      if fields.contentLength != nil { throw source.malformed("both transfer-encoding and content-length") }
      if version == .http10 { throw source.malformed("transfer-encoding in HTTP/1.0") }
    }
    if status < 200 || status == 204 {
      // None may follow, so one that is declared may follow or not: nothing that comes can be trusted.
      if fields.hasTransferEncoding || (fields.contentLength ?? 0) > 0 {
        if status < 200 { throw source.malformed("status \(status) with a body") }
        framing.keepsAlive = false
      }
    } else if method == .head || status == 304 {
      framing.declaredLength = fields.contentLength
    } else if fields.isChunked {
      framing.body = .chunked
    } else if let length = fields.contentLength {
      framing.body = .bytes(length)
    } else {
      framing.body = .untilClose
      framing.keepsAlive = false
    }
  }
}
