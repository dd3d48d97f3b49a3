internal import Pipeline

extension Forwarder {
  /// Who is to answer a request.
  enum Turn: Equatable {
    /// The next hop.
    case forward
    /// We: it has gone as far as its client lets it (RFC 9110, 7.6.2).
    case answer(status: Int, contentType: String, body: [UInt8])
  }

  /// Looks at `max-forwards`, which counts for TRACE and OPTIONS only.
  ///
  /// - Throws: `Rejection(.malformed)` when it is no number, or stands there twice, where it counts.
  static func turn(of head: HTTPRequestHead) throws -> Turn {
    guard head.method == .trace || head.method == .options, let left = try maxForwards(of: head), left == 0 else {
      return .forward
    }
    if head.method == .options { return .answer(status: 204, contentType: "", body: []) }
    return .answer(status: 200, contentType: "message/http", body: trace(of: head))
  }

  /// The most that is passed on; what is more is as good as no limit (RFC 9110, 7.6.2: "the maximum supported value").
  private static let most: UInt64 = 1_000_000

  private static func maxForwards(of head: HTTPRequestHead) throws -> UInt64? {
    try head.fields.withWireBytes { fields in
      var found: UInt64?
      var line = FieldCursor()
      while line.next(in: fields) {
        guard RelayedField(fields.extracting(line.name)) == .maxForwards else { continue }
        guard found == nil, let number = decimal(fields.extracting(line.value)) else {
          throw Rejection(.malformed, detail: "max-forwards: one number of up to 18 digits is allowed")
        }
        found = number
      }
      return found
    }
  }

  private static func decimal(_ text: Span<UInt8>) -> UInt64? {
    guard (1...18).contains(text.count) else { return nil }
    var value: UInt64 = 0
    for i in 0..<text.count {
      guard UInt8(ascii: "0")...UInt8(ascii: "9") ~= text[i] else { return nil }
      value = value * 10 + UInt64(text[i] - UInt8(ascii: "0"))
    }
    return value
  }

  /// One less where it counts; elsewhere as it came.
  func appendMaxForwards(_ out: inout ByteBuilder, _ head: HTTPRequestHead, _ fields: Span<UInt8>) {
    let counts = head.method == .trace || head.method == .options
    var line = FieldCursor()
    while line.next(in: fields) {
      guard RelayedField(fields.extracting(line.name)) == .maxForwards else { continue }
      let value = fields.extracting(line.value)
      out.append("max-forwards: ")
      if counts, let number = Self.decimal(value), number > 0 {
        out.append(decimal: min(number - 1, Self.most))
      } else {
        out.append(copying: value)
      }
      out.append("\r\n")
    }
  }

  /// What a TRACE is answered with: the request as it came here, without what is nobody else's business (RFC 9110, 9.3.8).
  private static func trace(of head: HTTPRequestHead) -> [UInt8] {
    var out = Array("\(head.method.name) \(head.target) HTTP/\(head.version.rawValue)\r\n".utf8)
    head.fields.withWireBytes { fields in
      var line = FieldCursor()
      while line.next(in: fields) {
        let name = fields.extracting(line.name)
        if name.isName("authorization") || name.isName("proxy-authorization") || name.isName("cookie") { continue }
        out.append(name)
        out.append(": ")
        out.append(fields.extracting(line.value))
        out.append("\r\n")
      }
    }
    out.append("\r\n")
    return out
  }
}
