internal import Pipeline

/// Collects the trailers of a chunked body (RFC 9110, 6.5) up to the empty line that ends them.
///
/// What belongs into a head is dropped: it has been decided upon, and whoever merged it later would decide anew. What says
/// where a message ends is refused: nobody sends it there who means well.
struct TrailerCollector {
  private let source: MessageSource
  private let maxBytes: Int
  private let maxFields: Int
  private(set) var fields = HeaderFields()
  /// The line that is not complete.
  private var line: [UInt8] = []
  private var size = 0
  private var count = 0

  init(_ options: HTTPOptions, from source: MessageSource) {
    self.source = source
    maxBytes = options.maxTrailers
    maxFields = options.maxFields
  }

  mutating func reset() {
    fields.removeAll()
    line.removeAll(keepingCapacity: true)
    size = 0
    count = 0
  }

  /// - Returns: the index behind the empty line; `nil`: all is taken, and more is needed.
  mutating func take(_ octets: Octets, _ range: Range<Int>) throws -> Int? {
    var i = range.lowerBound
    while i < range.upperBound {
      let octet = octets[i]
      i &+= 1
      size &+= 1
      guard size <= maxBytes else { throw source.fault(.headTooLarge, "trailers of more than \(maxBytes) bytes") }
      if octet != 10 {
        line.append(octet)
        continue
      }
      guard line.last == 13 else { throw source.malformed("a line feed without a carriage return in the trailers") }
      if line.count == 1 { return i }
      count += 1
      guard count <= maxFields else { throw source.fault(.headTooLarge, "more than \(maxFields) trailers") }
      try Self.take(line, into: &fields, from: source)
      line.removeAll(keepingCapacity: true)
    }
    return nil
  }

  private static func take(_ line: [UInt8], into fields: inout HeaderFields, from source: MessageSource) throws {
    let parts: (name: Range<Int>, value: Range<Int>)? = try line.withUnsafeBufferPointer { buffer in
      guard let octets = buffer.baseAddress else { return nil }
      let parts = try FieldSection.split(octets, 0, buffer.count - 1, from: source)
      switch try Self.fate(octets, parts.name, from: source) {
      case .kept: return parts
      case .dropped: return nil
      }
    }
    guard let parts else { return }
    let line = line.span
    fields.append(name: line.extracting(parts.name), value: line.extracting(parts.value))
  }

  private enum Fate { case kept, dropped }

  /// RFC 9110, 6.5.1: framing, routing, request modifiers, authentication, and what content is to be read as.
  private static func fate(_ octets: Octets, _ name: Range<Int>, from source: MessageSource) throws -> Fate {
    for refused in refused
    where name.count == refused.utf8CodeUnitCount && octets.spellsFolded(refused, at: name.lowerBound) {
      throw source.malformed("field \(quoted(octets, name)) among the trailers")
    }
    for prefix in droppedPrefixes
    where name.count >= prefix.utf8CodeUnitCount && octets.spellsFolded(prefix, at: name.lowerBound) { return .dropped }
    for dropped in dropped
    where name.count == dropped.utf8CodeUnitCount && octets.spellsFolded(dropped, at: name.lowerBound) {
      return .dropped
    }
    return .kept
  }

  private static let refused: [StaticString] = ["content-length", "transfer-encoding", "host"]
  private static let droppedPrefixes: [StaticString] = ["x-forwarded-", "proxy-", "if-", "access-control-"]
  private static let dropped: [StaticString] = [
    "age", "authorization", "cache-control", "connection", "content-encoding", "content-range", "content-type",
    "cookie", "date", "expect", "expires", "forwarded", "keep-alive", "location", "max-forwards", "pragma", "range",
    "retry-after", "set-cookie", "te", "trailer", "upgrade", "vary", "via", "warning", "www-authenticate", "x-real-ip",
  ]
}
