internal import Pipeline

/// How a message that is written delimits its body.
enum OutgoingBody: Equatable {
  case none
  case length(UInt64)
  case chunked
  /// Ends with the connection; responses only.
  case untilClose
}

/// What is said of a request besides its head when it goes to an origin.
struct OutgoingRequest {
  var body = OutgoingBody.none
  /// Absolute form, for an origin that is a proxy itself; else origin form (RFC 9112, 3.2).
  var isForProxy = false
  /// Asks for the protocol of the head's `upgrade` field.
  var upgrades = false
  /// Lets the origin say whether it wants the body.
  var expectsContinue = false
  /// Says that trailers will be read.
  var acceptsTrailers = false
  /// Ends the connection afterwards.
  var closes = false
}

/// What is said of a response besides its head when it goes to a client.
struct OutgoingResponse {
  var body = OutgoingBody.none
  /// The length that is declared where no body follows: HEAD and 304.
  var declaredLength: UInt64?
  /// Names the protocol of the head's `upgrade` field: 101 and 426.
  var upgrades = false
  var closes = false
  /// Says `connection: keep-alive`, which an HTTP/1.0 client needs.
  var saysKeepAlive = false
}

/// Writes heads as bytes. Nothing that a peer sent is written as it came: lines are complete and checked, and what says where
/// the message ends is written here alone.
enum HeadSerializer {
  /// Appends request line, fields, `lines`, framing and the empty line.
  ///
  /// - Parameters:
  ///   - host: for a head that has neither a `host` field, as HTTP/1.0 clients may leave it out, nor a host in its target;
  ///     HTTP/1.1 needs one.
  ///   - without: fields that are left out: `lines` has them.
  ///   - lines: further field lines, checked, each with its line end.
  static func append<Wire: WireSink & ~Copyable>(
    _ head: HTTPRequestHead, _ outgoing: OutgoingRequest, host: [UInt8] = [],
    without: RelayedField.Set = RelayedField.Set(), lines: Span<UInt8> = Span(), to wire: inout Wire
  ) {
    wire.reserveRoom(for: head.targetBytes.count + head.fields.wireCount + lines.count + host.count + 192)
    head.method.withName { wire.append(copying: $0) }
    wire.append(32)
    appendTarget(of: head, outgoing, host: host, to: &wire)
    wire.append(" HTTP/1.1\r\n")
    if !host.isEmpty, !head.fields.contains("host") {
      wire.append("host: ")
      if let authority = head.authorityRange {
        wire.append(copying: head.targetBytes.span.extracting(authority))
      } else {
        wire.append(contentsOf: host)
      }
      wire.append("\r\n")
    }
    append(head.fields, keepsUpgrade: outgoing.upgrades, without, to: &wire)
    wire.append(copying: lines)
    append(outgoing.body, to: &wire)
    if outgoing.expectsContinue { wire.append("expect: 100-continue\r\n") }
    if outgoing.acceptsTrailers { wire.append("te: trailers\r\n") }
    if outgoing.upgrades {
      wire.append(outgoing.acceptsTrailers ? "connection: upgrade, te\r\n" : "connection: upgrade\r\n")
    } else if outgoing.closes {
      wire.append(outgoing.acceptsTrailers ? "connection: close, te\r\n" : "connection: close\r\n")
    } else if outgoing.acceptsTrailers {
      wire.append("connection: te\r\n")
    }
    wire.append("\r\n")
  }

  /// Appends status line, fields, `lines`, framing and the empty line.
  static func append<Wire: WireSink & ~Copyable>(
    _ head: HTTPResponseHead, _ outgoing: OutgoingResponse, without: RelayedField.Set = RelayedField.Set(),
    lines: Span<UInt8> = Span(), to wire: inout Wire
  ) {
    wire.reserveRoom(for: head.fields.wireCount + lines.count + 192)
    appendStatusLine(head.status, to: &wire)
    append(head.fields, keepsUpgrade: outgoing.upgrades, without, to: &wire)
    wire.append(copying: lines)
    append(outgoing.body, to: &wire)
    if let length = outgoing.declaredLength, outgoing.body == .none {
      wire.append("content-length: ")
      wire.append(decimal: length)
      wire.append("\r\n")
    }
    if outgoing.upgrades {
      wire.append(outgoing.closes ? "connection: close, upgrade\r\n" : "connection: upgrade\r\n")
    } else if outgoing.closes {
      wire.append("connection: close\r\n")
    } else if outgoing.saysKeepAlive {
      wire.append("connection: keep-alive\r\n")
    }
    wire.append("\r\n")
  }

  private static func append<Wire: WireSink & ~Copyable>(
    _ fields: HeaderFields, keepsUpgrade: Bool, _ unwanted: RelayedField.Set, to wire: inout Wire
  ) {
    guard fields.mayHoldConnectionFields || !unwanted.isEmpty else {
      return fields.withWireBytes { wire.append(copying: $0) }
    }
    fields.forEachLine { line, nameLength in
      let isWritten = line.withUnsafeBufferPointer { buffer in
        guard let octets = buffer.baseAddress else { return false }
        if !unwanted.isEmpty, unwanted.containsName(UnsafeBufferPointer(start: octets, count: nameLength).span) {
          return false
        }
        return !isOfConnection(octets, nameLength, keepsUpgrade: keepsUpgrade)
      }
      if isWritten { wire.append(copying: line) }
    }
  }

  private static func append<Wire: WireSink & ~Copyable>(_ body: OutgoingBody, to wire: inout Wire) {
    switch body {
    case .none, .untilClose: break
    case .chunked: wire.append("transfer-encoding: chunked\r\n")
    case .length(let length):
      wire.append("content-length: ")
      wire.append(decimal: length)
      wire.append("\r\n")
    }
  }

  /// What an element may have added, and what is written here or not at all.
  private static func isOfConnection(_ name: Octets, _ length: Int, keepsUpgrade: Bool) -> Bool {
    switch (length, name[0] | 0x20) {
    case (2, UInt8(ascii: "t")): name.spells("te", at: 0)
    case (6, UInt8(ascii: "e")): name.spells("expect", at: 0)
    case (7, UInt8(ascii: "t")): name.spells("trailer", at: 0)
    case (7, UInt8(ascii: "u")): name.spells("upgrade", at: 0) && !keepsUpgrade
    case (10, UInt8(ascii: "c")): name.spells("connection", at: 0)
    case (10, UInt8(ascii: "k")): name.spells("keep-alive", at: 0)
    case (14, UInt8(ascii: "c")): name.spells("content-length", at: 0)
    case (16, UInt8(ascii: "p")): name.spells("proxy-connection", at: 0)
    case (17, UInt8(ascii: "t")): name.spells("transfer-encoding", at: 0)
    default: false
    }
  }

  // MARK: - Start lines

  private static func appendTarget<Wire: WireSink & ~Copyable>(
    of head: HTTPRequestHead, _ outgoing: OutgoingRequest, host: [UInt8], to wire: inout Wire
  ) {
    let target = head.targetBytes.span
    guard head.method != .connect, let authority = head.authorityRange else {
      if outgoing.isForProxy, head.method != .connect, target.count > 0, target[0] == UInt8(ascii: "/") {
        wire.append("http://")
        head.fields.withHost { field in
          if let field { wire.append(copying: field) } else { wire.append(contentsOf: host) }
        }
      }
      return wire.append(copying: target)
    }
    if outgoing.isForProxy { return wire.append(copying: target) }
    let rest = target.extracting(authority.upperBound..<target.count)
    if rest.count == 0 {
      // For the server as a whole (RFC 9112, 3.2.4).
      wire.append(head.method == .options ? "*" : "/")
    } else {
      if rest[0] == UInt8(ascii: "?") { wire.append(UInt8(ascii: "/")) }
      wire.append(copying: rest)
    }
  }

  static func appendStatusLine<Wire: WireSink & ~Copyable>(_ status: Int, to wire: inout Wire) {
    if status == 200 { return wire.append("HTTP/1.1 200 OK\r\n") }
    wire.append("HTTP/1.1 ")
    wire.append(decimal: UInt64(min(max(status, 100), 999)))
    wire.append(32)
    wire.append(ReasonPhrase.of(status))
    wire.append("\r\n")
  }
}
