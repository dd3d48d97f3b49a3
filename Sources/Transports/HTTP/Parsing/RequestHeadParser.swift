internal import Glibc
internal import Pipeline

/// Parses the head of a request (RFC 9112, 3 and 5), and refuses whatever could be read in two ways.
///
/// A value that knows bytes and nothing else. The caller gives it all that has come since the head's begin, as often as
/// more has come; it remembers how far it is, so the work is linear however the bytes are cut.
///
/// Steps that only look are inlined: they would get a copy of it all.
struct RequestHeadParser {
  private let maxRequestLine: Int
  private let maxHead: Int
  private let maxBody: UInt64

  private var fields: FieldSection
  /// Where the line begins that is not complete yet.
  private var lineStart = 0
  /// Up to here no line feed is in that line.
  private var scanned = 0
  private var hasRequestLine = false
  private var isConnect = false
  private var forbidsContent = false
  private var target: RequestTarget = .origin

  init(_ options: HTTPOptions) {
    maxRequestLine = options.maxRequestLine
    maxHead = options.maxHead
    maxBody = options.maxBody ?? .max
    fields = FieldSection(source: .client, maxFields: options.maxFields)
  }

  /// Forgets everything: the next bytes begin a head.
  mutating func reset() {
    fields.reset()
    lineStart = 0
    scanned = 0
    hasRequestLine = false
  }

  /// - Parameters:
  ///   - bytes: all that has come since the head's begin.
  ///   - head: gets method, target and version as soon as they are known, fields and body length with the end.
  /// - Throws: `Rejection`: `malformed` (400), `requestLineTooLong` (414), `headTooLarge` (431), `unsupportedVersion`
  ///   (505), `bodyTooLarge` (413, for a declared length). Nothing may be parsed afterwards.
  mutating func parse(
    _ bytes: UnsafeRawBufferPointer, into head: inout HTTPRequestHead, _ framing: inout RequestFraming
  ) throws -> HeadProgress {
    guard bytes.count > 0, let octets = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else {
      return .incomplete
    }
    if lineStart == 0 {
      if scanned == 0 { head.fields.removeAll() }
      skipEmptyLine(octets, bytes.count)
    }
    if !hasRequestLine { try checkBegin(octets, bytes.count) }
    while let feed = nextLineFeed(octets, bytes.count) {
      // A carriage return at the end is not counted.
      if !hasRequestLine, feed - lineStart > maxRequestLine + 1 { throw lineTooLong() }
      guard feed < maxHead else { throw tooLarge() }
      guard feed > lineStart, octets[feed - 1] == 13 else { throw bareLineFeed() }
      let start = lineStart
      lineStart = feed + 1
      scanned = lineStart
      if !hasRequestLine {
        try takeRequestLine(octets, start..<(feed - 1), into: &head)
      } else if feed - 1 > start {
        try fields.take(octets, start, feed - 1, into: &head.fields)
      } else {
        try finish(octets, into: &head, &framing)
        return .complete(length: feed + 1)
      }
    }
    if !hasRequestLine, bytes.count - lineStart > maxRequestLine + 1 { throw lineTooLong() }
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

  // MARK: - The request line

  /// One empty line before a request is borne: some clients send one after a body (RFC 9112, 2.2).
  private mutating func skipEmptyLine(_ octets: Octets, _ count: Int) {
    guard count > 1, octets[0] == 13, octets[1] == 10 else { return }
    lineStart = 2
    scanned = 2
  }

  /// What cannot become a request is refused before its line ends, which might never come: TLS to this port, for one.
  @inline(__always)
  private func checkBegin(_ octets: Octets, _ count: Int) throws {
    guard lineStart < count, !OctetSet.token.contains(octets[lineStart]) else { return }
    guard octets[lineStart] == 13 else { throw noMethod(octets[lineStart]) }
    if count - lineStart > 1, octets[lineStart + 1] != 10 {
      throw MessageSource.client.malformed("a carriage return without a line feed")
    }
  }

  private mutating func takeRequestLine(_ octets: Octets, _ line: Range<Int>, into head: inout HTTPRequestHead) throws {
    let source = MessageSource.client
    let token = OctetSet.token
    var i = line.lowerBound
    while i < line.upperBound, token.contains(octets[i]) { i &+= 1 }
    let method = line.lowerBound..<i
    guard !method.isEmpty else {
      throw line.isEmpty ? source.malformed("an empty line in place of a request line") : noMethod(octets[i])
    }
    guard i < line.upperBound, octets[i] == 32 else {
      guard i < line.upperBound else { throw source.malformed("request line without a target") }
      throw source.malformed("method \(quoted(octets, method)) goes on with \(named(octets[i]))")
    }
    // The version is the last word: what stands before it is the target, and a space in it is found there.
    guard let version = endOfTarget(octets, i + 1, line.upperBound) else {
      throw source.malformed("request line without a version: HTTP/0.9 is not served")
    }
    let targetRange = (i + 1)..<version
    guard !targetRange.isEmpty, octets[targetRange.lowerBound] != 32 else {
      throw source.malformed("request line with two spaces or an empty target")
    }
    head.version = try httpVersion(octets, (version + 1)..<line.upperBound)
    let methodBytes = octets.part(method).span
    target = try RequestTarget(octets, targetRange, of: methodBytes)
    head.method = HTTPMethod(methodBytes)
    head.setTarget(octets.part(targetRange).span)
    if case .authority = target { isConnect = true } else { isConnect = false }
    forbidsContent = isConnect || (method.count == 5 && head.method == .trace)
    hasRequestLine = true
  }

  /// The space behind the target; `nil` without one.
  private func endOfTarget(_ octets: Octets, _ start: Int, _ end: Int) -> Int? {
    // `HTTP/1.1` has eight octets; for other lengths the space is searched for.
    if end - start > 9, octets[end - 9] == 32 { return end - 9 }
    return (start..<end).last { octets[$0] == 32 }
  }

  private func httpVersion(_ octets: Octets, _ range: Range<Int>) throws -> HTTPVersion {
    let source = MessageSource.client
    let at = range.lowerBound
    guard range.count == 8, octets.isHTTPName(at), octets[at + 4] == UInt8(ascii: "/"),
      octets[at + 6] == UInt8(ascii: "."),
      octets[at + 5] &- UInt8(ascii: "0") <= 9, octets[at + 7] &- UInt8(ascii: "0") <= 9
    else { throw source.malformed("version \(quoted(octets, range)): HTTP/1.1 or HTTP/1.0 is needed") }
    guard octets[at + 5] == UInt8(ascii: "1") else {
      throw Rejection(.unsupportedVersion, detail: "version \(quoted(octets, range)): only HTTP/1 is spoken here")
    }
    // A higher minor version is served as the highest one that is known (RFC 9110, 2.5).
    return octets[at + 7] == UInt8(ascii: "0") ? .http10 : .http11
  }

  // MARK: - The end of the head

  private mutating func finish(
    _ octets: Octets, into head: inout HTTPRequestHead, _ framing: inout RequestFraming
  ) throws {
    let source = MessageSource.client
    let isHTTP10 = head.version == .http10
    try checkHost(octets, isNeeded: !isHTTP10)
    head.body = try bodyLength(isHTTP10: isHTTP10)
    // One by one: together they are a copy of all the names that may be listed.
    let (closes, staysOpen, upgrades) = (
      fields.connection.closes, fields.connection.keepsAlive, fields.connection.upgrades
    )
    var isForProxy = false
    switch target {
    case .absolute, .authority: isForProxy = true
    case .origin, .asterisk: break
    }
    // A proxy in between that knows nothing of keep-alive passes it on to us (RFC 9112, 9.3 and C.2.2).
    framing.keepsAlive = !closes && (!isHTTP10 || (staysOpen && !isForProxy))
    framing.expectsContinue = fields.expectsContinue && !isHTTP10 && head.body != .none && head.body != .bytes(0)
    framing.acceptsTrailers = fields.acceptsTrailers && !isHTTP10
    framing.hasHost = fields.host != nil
    framing.wantsUpgrade = upgrades && fields.hasUpgrade && !fields.offersH2C && !isHTTP10 && !isConnect
    fields.finish(octets, into: &head.fields)
    if fields.hasUpgrade {
      if framing.wantsUpgrade { head.fields.noteConnectionField() } else { head.fields.remove("upgrade") }
    }
    if case .bytes(let length) = head.body, length > maxBody {
      throw source.fault(.bodyTooLarge, "content-length \(length): at most \(maxBody) bytes are allowed")
    }
  }

  @inline(__always)
  private func bodyLength(isHTTP10: Bool) throws -> HTTPBodyLength {
    let source = MessageSource.client
    if fields.hasTransferEncoding {
      if fields.contentLength != nil { throw source.malformed("both transfer-encoding and content-length") }
      if isHTTP10 { throw source.malformed("transfer-encoding in HTTP/1.0") }
      if forbidsContent { throw source.malformed("transfer-encoding with a method that has no content") }
      return .unknown
    }
    guard let length = fields.contentLength else { return .none }
    if forbidsContent, length > 0 { throw source.malformed("content-length with a method that has no content") }
    return .bytes(length)
  }

  @inline(__always)
  private func checkHost(_ octets: Octets, isNeeded: Bool) throws {
    let source = MessageSource.client
    guard let range = fields.host else {
      if isNeeded { throw source.malformed("no host field: HTTP/1.1 needs exactly one") }
      return
    }
    let host = try Authority(octets, range, called: "host", from: source)
    switch target {
    case .origin, .asterisk: return
    case .absolute(let authority):
      if host.isSame(as: authority, in: octets, standardPort: 80) { return }
    case .authority(let authority):
      // Clients leave the port out.
      if host.hasSameHost(as: authority, in: octets),
        !host.hasPort || host.isSame(as: authority, in: octets, standardPort: 0)
      {
        return
      }
    }
    throw source.malformed("host: \(quoted(octets, range)) contradicts the target")
  }

  // MARK: - Faults

  private func tooLarge() -> Rejection {
    MessageSource.client.fault(.headTooLarge, "a head of more than \(maxHead) bytes")
  }

  private func lineTooLong() -> Rejection {
    MessageSource.client.fault(.requestLineTooLong, "a request line of more than \(maxRequestLine) bytes")
  }

  private func bareLineFeed() -> Rejection {
    MessageSource.client.malformed("a line feed without a carriage return")
  }

  private func noMethod(_ octet: UInt8) -> Rejection {
    MessageSource.client.malformed("a request begins with \(named(octet)), which no method may hold")
  }
}

extension Octets {
  func isHTTPName(_ at: Int) -> Bool {
    self[at] == UInt8(ascii: "H") && self[at + 1] == UInt8(ascii: "T") && self[at + 2] == UInt8(ascii: "T")
      && self[at + 3] == UInt8(ascii: "P")
  }
}
