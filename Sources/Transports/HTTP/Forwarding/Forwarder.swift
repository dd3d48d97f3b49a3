internal import Glibc
internal import Pipeline

/// One connection's part in what heads say of their way: it takes from a request what is not to be believed, finds the
/// client, and writes what the next hop is told. Knows bytes and addresses, never a socket.
///
/// For each request, in this order:
/// - ``receive(_:)`` as soon as the head is parsed, before the chain sees it;
/// - ``turn(of:)`` when it is to be forwarded: whether it may go on;
/// - for each attempt, the serializer asks ``claim(_:_:)`` for every line and copies those that nobody claims; then
///   ``appendToRequest(_:_:seen:toStranger:toProxy:hasPrincipal:)`` writes the rest.
///
/// Allocates for the connection's first request only. Retries write the same again: the request's own fields stay as they are.
final class Forwarder {
  private let rules: ForwardingRules
  /// Who is at the other end: by the socket, or by the PROXY protocol.
  private let peer: ClientAddress
  /// Whether the fields are believed in which the peer tells of its clients.
  private let isBelieved: Bool
  /// The peer as `for=` says it, and as `x-forwarded-for` does.
  private let forwardedNode: [UInt8]
  private let plainNode: [UInt8]
  /// `host` of the present request as it came; elements may rewrite the field.
  private var host: [UInt8] = []
  /// The lines for the last request of this host that said nothing of its way, and what else they depend on: nearly always those of
  /// the next.
  private var usual = ByteBuilder(capacity: 256)
  private var usualIsOld = false
  private var usualIsForStranger = false

  init(_ rules: ForwardingRules, peer: ClientAddress) {
    self.rules = rules
    self.peer = peer
    isBelieved = rules.believes(peer)
    switch peer.kind {
    case .ip(let address, port: _):
      plainNode = Array(address.description.utf8)
      // RFC 7239, 6: brackets, and quotation marks because of the colons.
      forwardedNode = address.isIPv6 ? Array("\"[\(address)]\"".utf8) : plainNode
    // RFC 7239, 6.2. The user id is nobody else's business.
    case .unix:
      plainNode = Array("unknown".utf8)
      forwardedNode = plainNode
    }
  }

  // MARK: A request comes in

  /// Removes what an unknown peer says of its clients, so that no element and no origin takes it for the truth, and says who
  /// the client is.
  ///
  /// Where a trusted peer sends `forwarded` and `x-forwarded-for` and they name different clients, one of the two was passed
  /// on unread, perhaps as the client wrote it. Neither is believed then: the fields go, and the peer is the client.
  ///
  /// - Throws: `Rejection(.loopDetected)` when the request has been here before.
  func receive(_ head: inout HTTPRequestHead) throws -> ClientAddress {
    if let names = KnownNames(of: head.fields), names.isDisjoint(with: [.via, .ofClient]) {
      head.fields.withHost(keepHost)
      return peer
    }
    return try receiveSlowly(&head)
  }

  /// Of one connection nearly always the same.
  private func keepHost(_ value: Span<UInt8>?) {
    guard let value else {
      usual.clear()
      return host.removeAll(keepingCapacity: true)
    }
    let isKept = value.withUnsafeBufferPointer { new in
      host.withUnsafeBufferPointer { old in
        old.count == new.count && (new.isEmpty || memcmp(old.baseAddress!, new.baseAddress!, new.count) == 0)
      }
    }
    if isKept { return }
    usual.clear()
    host.removeAll(keepingCapacity: true)
    host.append(copying: value)
  }

  private func receiveSlowly(_ head: inout HTTPRequestHead) throws -> ClientAddress {
    let rules = rules
    let isBelieved = isBelieved
    var claims = false
    var forwarded: TrustedWalk?
    var xForwarded: TrustedWalk?
    var hops = Hops()
    try head.fields.withWireBytes { bytes in
      var line = FieldCursor()
      usual.clear()
      host.removeAll(keepingCapacity: true)
      while line.next(in: bytes) {
        let name = bytes.extracting(line.name)
        if name.count == 4, name.isName("host") {
          host.append(bytes.extracting(line.value))
        } else if name.count == 3, name.isName("via") {
          try hops.count(bytes.extracting(line.value), own: rules.name)
        } else if tellsOfClient(name) {
          claims = true
          guard isBelieved else { continue }
          switch RelayedField(name) {
          case .forwarded:
            var walk = forwarded ?? TrustedWalk(trusted: rules.trusted)
            walk.walkForwarded(bytes.extracting(line.value))
            forwarded = walk
          case .xForwardedFor:
            var walk = xForwarded ?? TrustedWalk(trusted: rules.trusted)
            walk.walkXForwardedFor(bytes.extracting(line.value))
            xForwarded = walk
          case .via, .maxForwards, .xForwardedProto, .xForwardedHost, .xForwardedBy, .xBackendURL, .proxyAuthorization,
            .proxyAuthenticate, .proxyAuthenticationInfo, .authorization, nil:
            break
          }
        }
      }
    }
    guard claims else { return peer }
    if isBelieved {
      let client = (forwarded ?? xForwarded)?.client(behind: peer) ?? peer
      let other = (xForwarded ?? forwarded)?.client(behind: peer) ?? peer
      if client.ip == other.ip { return client }
    }
    head.fields.removeAll(where: tellsOfClient)
    return peer
  }

  /// `https` where the proxy in front says so and is believed. Of several words none counts: they would be of several
  /// proxies, of which it is not known who is whose. Ask it of a head that ``receive(_:)`` has seen.
  func scheme(of head: HTTPRequestHead) -> String {
    guard isBelieved, head.fields.count(of: "x-forwarded-proto") == 1 else { return "http" }
    return head.fields.withValue(of: "x-forwarded-proto") { value in
      guard let value else { return "http" }
      return value.isName("https") ? "https" : "http"
    }
  }

  // MARK: A request goes on

  /// Whether the line is for ``appendToRequest(_:_:seen:toStranger:toProxy:hasPrincipal:)`` to write; notes that it is there.
  func claim(_ name: borrowing Span<UInt8>, _ seen: inout RelayedField.Set) -> Bool {
    guard let field = RelayedField(name), Self.claimed.contains(field) else { return false }
    seen.insert(field)
    return true
  }

  /// What ``claim(_:_:)`` claims.
  static let claimed = RelayedField.Set(
    .via, .forwarded, .xForwardedFor, .xForwardedProto, .xForwardedHost, .xForwardedBy, .maxForwards,
    .proxyAuthorization)

  /// Appends the lines that tell of the way: `via` always; of a reverse proxy's client what the options say. A forward proxy's
  /// origins are told nothing more of its clients.
  ///
  /// Lists are continued in one line, because origins are known to look at the first line of a name only.
  ///
  /// - Parameters:
  ///   - seen: what was claimed of the fields.
  ///   - toStranger: whether the client chose the next hop. What form its target has says nothing of that: a reverse proxy's
  ///     client may use the absolute form, too, and must not come to the origin unannounced.
  ///   - toProxy: whether the next hop is a proxy.
  ///   - hasPrincipal: whether the client's credentials were used here. If so, or if no proxy follows, they end here.
  func appendToRequest(
    _ out: inout ByteBuilder, _ head: HTTPRequestHead, seen: RelayedField.Set, toStranger: Bool, toProxy: Bool,
    hasPrincipal: Bool
  ) {
    let isOld = head.version == .http10
    if seen.isEmpty {
      if usual.isEmpty || usualIsOld != isOld || usualIsForStranger != toStranger {
        usual.clear()
        appendVia(&usual, Span(), seen, isOld: isOld)
        appendOfClient(&usual, Span(), seen, toStranger: toStranger)
        (usualIsOld, usualIsForStranger) = (isOld, toStranger)
      }
      return usual.withSpan { out.append(copying: $0) }
    }
    head.fields.withWireBytes { fields in
      appendVia(&out, fields, seen, isOld: isOld)
      appendOfClient(&out, fields, seen, toStranger: toStranger)
      if seen.contains(.maxForwards) { appendMaxForwards(&out, head, fields) }
      if seen.contains(.proxyAuthorization), toProxy, !hasPrincipal {
        copy(.proxyAuthorization, "proxy-authorization: ", fields, &out)
      }
    }
  }

  private func appendVia(_ out: inout ByteBuilder, _ fields: Span<UInt8>, _ seen: RelayedField.Set, isOld: Bool) {
    beginList(.via, "via: ", fields, seen, &out)
    out.append(isOld ? "1.0 " : "1.1 ")
    out.append(contentsOf: rules.name)
    endLine(&out)
  }

  private func appendOfClient(
    _ out: inout ByteBuilder, _ fields: Span<UInt8>, _ seen: RelayedField.Set, toStranger: Bool
  ) {
    let writes = toStranger ? [] : rules.fields
    if writes.contains(.forwarded) {
      beginList(.forwarded, "forwarded: ", fields, seen, &out)
      out.append("for=")
      out.append(contentsOf: forwardedNode)
      if !host.isEmpty {
        out.append(";host=")
        appendTokenOrQuoted(&out)
      }
      out.append(";proto=http")
      endLine(&out)
    } else if seen.contains(.forwarded) {
      copy(.forwarded, "forwarded: ", fields, &out)
    }
    if writes.contains(.xForwarded) {
      beginList(.xForwardedFor, "x-forwarded-for: ", fields, seen, &out)
      out.append(contentsOf: plainNode)
      endLine(&out)
    } else if seen.contains(.xForwardedFor) {
      copy(.xForwardedFor, "x-forwarded-for: ", fields, &out)
    }
    // These two are no lists: what the proxy in front says is nearer to the client.
    if seen.contains(.xForwardedProto) {
      copy(.xForwardedProto, "x-forwarded-proto: ", fields, &out)
    } else if writes.contains(.xForwarded) {
      out.append("x-forwarded-proto: http\r\n")
    }
    if seen.contains(.xForwardedHost) {
      copy(.xForwardedHost, "x-forwarded-host: ", fields, &out)
    } else if writes.contains(.xForwarded), !host.isEmpty {
      out.append("x-forwarded-host: ")
      out.append(contentsOf: host)
      endLine(&out)
    }
    if writes.contains(.forwardedBy) {
      beginList(.xForwardedBy, "x-forwarded-by: ", fields, seen, &out)
      out.append(contentsOf: rules.name)
      endLine(&out)
    } else if seen.contains(.xForwardedBy) {
      copy(.xForwardedBy, "x-forwarded-by: ", fields, &out)
    }
  }

  // MARK: A response comes back

  /// Whether the line of an origin's head is dropped, or is for ``appendToResponse(_:version:backend:)`` to write.
  ///
  /// - Parameter fromProxy: whether the origin is a proxy, which may ask for credentials of its own.
  func claimsOfResponse(_ name: borrowing Span<UInt8>, fromProxy: Bool) -> Bool {
    guard let field = RelayedField(name) else { return false }
    return fromProxy ? field == .xBackendURL && claimedOfResponse.contains(field) : claimedOfResponse.contains(field)
  }

  /// What ``claimsOfResponse(_:fromProxy:)`` claims of an origin's head. An origin that asks for proxy credentials is after those
  /// that the client has for us.
  var claimedOfResponse: RelayedField.Set { rules.fields.contains(.backendURL) ? Self.withURL : Self.withoutURL }

  private static let withoutURL = RelayedField.Set(.proxyAuthenticate, .proxyAuthenticationInfo)
  private static let withURL = RelayedField.Set(.proxyAuthenticate, .proxyAuthenticationInfo, .xBackendURL)

  /// Appends the lines of a response that an upstream has sent, at once or before it was stored: `via` (another line of a list continues it; RFC 9110, 5.3), and who
  /// answered, where the options say so.
  ///
  /// - Parameters:
  ///   - version: that the origin spoke.
  ///   - backend: the URL of the origin; `nil`: nobody was asked for this response.
  func appendToResponse(_ out: inout ByteBuilder, version: HTTPVersion, backend: @autoclosure () -> String?) {
    out.append(version == .http10 ? "via: 1.0 " : "via: 1.1 ")
    out.append(contentsOf: rules.name)
    endLine(&out)
    if rules.fields.contains(.backendURL), let backend = backend() {
      out.append("x-backend-url: ")
      for byte in backend.utf8 where byte > 32 && byte != 127 { out.append(byte) }
      endLine(&out)
    }
  }

  // MARK: Lines

  /// Writes the name, and what stands under it already, with a comma behind.
  private func beginList(
    _ field: RelayedField, _ name: StaticString, _ fields: Span<UInt8>, _ seen: RelayedField.Set,
    _ out: inout ByteBuilder
  ) {
    out.append(name)
    guard seen.contains(field) else { return }
    var line = FieldCursor()
    while line.next(in: fields) {
      guard !line.value.isEmpty, RelayedField(fields.extracting(line.name)) == field else { continue }
      out.append(copying: fields.extracting(line.value))
      out.append(", ")
    }
  }

  private func copy(_ field: RelayedField, _ name: StaticString, _ fields: Span<UInt8>, _ out: inout ByteBuilder) {
    var line = FieldCursor()
    while line.next(in: fields) {
      guard RelayedField(fields.extracting(line.name)) == field else { continue }
      out.append(name)
      out.append(copying: fields.extracting(line.value))
      endLine(&out)
    }
  }

  private func endLine(_ out: inout ByteBuilder) {
    out.append(13)
    out.append(10)
  }

  /// The host as a value of RFC 7239, 4: in quotation marks unless it is a token (a port makes it none).
  private func appendTokenOrQuoted(_ out: inout ByteBuilder) {
    if host.allSatisfy(isToken) { return out.append(contentsOf: host) }
    out.append(UInt8(ascii: "\""))
    for byte in host {
      if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { out.append(UInt8(ascii: "\\")) }
      out.append(byte)
    }
    out.append(UInt8(ascii: "\""))
  }
}
