internal import Pipeline

/// What goes on the wire as a head: assembled in `share.head`, which every connection of the loop uses between two suspensions.
extension HTTPConnection {
  // MARK: Towards the upstream

  func appendRequestHead(_ destination: ApprovedDestination, _ link: UpstreamLink) {
    var outgoing = OutgoingRequest()
    switch request.body {
    case .none: outgoing.body = .none
    case .bytes(let length): outgoing.body = .length(length)
    case .unknown: outgoing.body = .chunked
    }
    outgoing.isForProxy = link.isProxy
    outgoing.upgrades = framing.wantsUpgrade
    // Who has been told to go on need not be told by the origin, too.
    outgoing.expectsContinue = framing.expectsContinue && !hasSentContinue
    outgoing.acceptsTrailers = framing.acceptsTrailers
    outgoing.closes = (link.maxIdle == 0 || link.proxyProtocol != nil) && !framing.wantsUpgrade
    var seen = claimedFields()
    share.lines.clear()
    let hasPrincipal = principal != nil || link.proxyAuthorization != nil
    withRequest {
      forwarder.appendToRequest(
        &share.lines, $0, seen: seen, toStranger: link.isChosenByClient, toProxy: link.isProxy,
        hasPrincipal: hasPrincipal)
    }
    if let authorization = link.proxyAuthorization {
      share.lines.append("proxy-authorization: ")
      share.lines.append(contentsOf: authorization.reveal())
      share.lines.append("\r\n")
    }
    if !withheldCredentials.isEmpty { withholdCredentials(&seen) }
    // HTTP/1.0 clients may say no host, which HTTP/1.1 needs.
    let host = framing.hasHost ? [] : Array((destination.endpoint?.description ?? "localhost").utf8)
    withRequest { head in
      share.lines.withSpan {
        HeadSerializer.append(head, outgoing, host: host, without: seen, lines: $0, to: &share.head)
      }
    }
  }

  /// Leaves out the `authorization` that was for us, and no other: an element may have set one for the upstream.
  private func withholdCredentials(_ seen: inout RelayedField.Set) {
    seen.insert(.authorization)
    request.fields.withWireBytes { bytes in
      var line = FieldCursor()
      while line.next(in: bytes) {
        guard RelayedField(bytes.extracting(line.name)) == .authorization else { continue }
        let value = bytes.extracting(line.value)
        if value.withUnsafeBufferPointer({ $0.elementsEqual(withheldCredentials) }) { continue }
        share.lines.append("authorization: ")
        share.lines.append(copying: value)
        share.lines.append("\r\n")
      }
    }
  }

  private func claimedFields() -> RelayedField.Set {
    if let names = withRequest({ KnownNames(of: $0.fields) }) {
      return RelayedField.Set(names, of: Forwarder.claimed)
    }
    var seen = RelayedField.Set()
    request.fields.withWireBytes { bytes in
      var line = FieldCursor()
      while line.next(in: bytes) { _ = forwarder.claim(bytes.extracting(line.name), &seen) }
    }
    return seen
  }

  // MARK: Towards the client

  /// The head of the answer, whose body is written as `answerBody` says.
  ///
  /// - Parameter length: of a body that is not written (HEAD, 304), or that is in the head.
  func appendAnswerHead(_ head: HTTPResponseHead, length: UInt64?) {
    var outgoing = OutgoingResponse()
    switch answerBody {
    case .none: outgoing.declaredLength = length
    case .bytes(let length): outgoing.body = .length(length)
    case .chunked: outgoing.body = .chunked
    case .close: outgoing.body = .untilClose
    }
    outgoing.upgrades = head.status == 426 && head.origin == .upstream
    outgoing.closes = !keepsAlive
    outgoing.saysKeepAlive = keepsAlive && request.version == .http10
    append(head, outgoing)
  }

  /// 101, behind which another protocol is spoken.
  func appendSwitchingHead(_ head: HTTPResponseHead) {
    var outgoing = OutgoingResponse()
    outgoing.upgrades = true
    append(head, outgoing)
  }

  /// The success of a CONNECT: no field that would say anything of a body (RFC 9110, 9.3.6).
  func appendTunnelHead(_ head: HTTPResponseHead) { append(head, OutgoingResponse()) }

  func appendInterimHead(_ head: HTTPResponseHead) {
    HeadSerializer.append(head, OutgoingResponse(), to: &share.head)
  }

  /// An answer has a date: the origin's, or else ours (RFC 9110, 6.6.1). It has a `server` field only if its origin sent one.
  private func append(_ head: HTTPResponseHead, _ outgoing: OutgoingResponse) {
    var hasDate = false
    var unwanted = RelayedField.Set()
    let isRelayed = head.origin == .upstream
    if let names = KnownNames(of: head.fields) {
      hasDate = names.contains(.date)
      if isRelayed { unwanted = RelayedField.Set(names, of: forwarder.claimedOfResponse) }
    } else {
      (hasDate, unwanted) = look(at: head, isRelayed: isRelayed)
    }
    share.lines.clear()
    if !hasDate { share.appendDateLine() }
    if isRelayed {
      forwarder.appendToResponse(&share.lines, version: head.receivedVersion ?? .http11, backend: backendURL)
    } else if let version = head.receivedVersion {
      forwarder.appendToResponse(&share.lines, version: version, backend: nil)
    }
    share.lines.withSpan { HeadSerializer.append(head, outgoing, without: unwanted, lines: $0, to: &share.head) }
  }

  /// Line by line: an element has changed them.
  private func look(at head: HTTPResponseHead, isRelayed: Bool) -> (hasDate: Bool, unwanted: RelayedField.Set) {
    var hasDate = false
    var unwanted = RelayedField.Set()
    head.fields.withWireBytes { bytes in
      var line = FieldCursor()
      while line.next(in: bytes) {
        let name = bytes.extracting(line.name)
        if name.count == 4, name.isName("date") { hasDate = true }
        if isRelayed, forwarder.claimsOfResponse(name, fromProxy: false), let field = RelayedField(name) {
          unwanted.insert(field)
        }
      }
    }
    return (hasDate, unwanted)
  }

  private var backendURL: String {
    if let url = call.link?.url, !url.isEmpty { return url }
    return call.address.map { "http://\($0)" } ?? ""
  }

  // MARK: Behind a body

  /// The last chunk, with the trailers that came (RFC 9112, 7.1.2).
  func appendLastChunk(_ trailers: HeaderFields?) {
    if let trailers {
      ChunkSerializer.appendLast(trailers: trailers, to: &share.head)
    } else {
      ChunkSerializer.appendLast(to: &share.head)
    }
  }
}
