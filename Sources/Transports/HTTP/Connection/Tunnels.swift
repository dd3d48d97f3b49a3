internal import Pipeline

/// What turns an HTTP connection into a tunnel: CONNECT, and 101 after a request for another protocol.
extension HTTPConnection {
  // MARK: CONNECT and absolute form

  /// The target's host and port: of CONNECT, or of a target in absolute form.
  ///
  /// - Throws: `Rejection`: `malformed` for a target that names none, `unsupportedCommand` for a scheme but `http`.
  func namedDestination() throws -> Endpoint {
    guard let range = request.authorityRange else {
      throw Rejection(
        .malformed, detail: "the target names no host: a forward proxy is asked with CONNECT or in absolute form")
    }
    if request.method != .connect, !isPlainHTTP {
      throw Rejection(.unsupportedCommand, detail: "a target of another scheme than http")
    }
    let text = String(decoding: request.targetBytes[range], as: UTF8.self)
    let endpoint =
      if request.method == .connect { Endpoint(text) } else {
        Endpoint(text) ?? Host(text).map { Endpoint($0, port: 80) }
      }
    guard let endpoint else {
      throw Rejection(.malformed, detail: "the target names no host and port that can be dialled")
    }
    requestedDestination = endpoint
    return endpoint
  }

  private var isPlainHTTP: Bool {
    request.targetBytes.prefix(5).elementsEqual("http:".utf8) { asciiLowercased($0) == $1 }
  }

  /// CONNECT. It opens a way only to the very place that the client named, and that a destination for such clients approved: a
  /// tunnel to the origin of a reverse proxy would pass everything by that the chain looks at.
  func connect(to destination: ApprovedDestination, over link: UpstreamLink) async throws -> Summary {
    guard link.isChosenByClient, requestedDestination == destination.endpoint, !link.isProxy else {
      throw Rejection(.unsupportedCommand, detail: "CONNECT to a destination that is no forward proxy")
    }
    return try await tunnel(through: try await dial(destination, over: link))
  }

  func openClientTunnel() async throws {
    guard request.method == .connect else {
      throw Rejection(.internalError, detail: "HTTP: a tunnel is opened for a request that asks for none")
    }
    try await commit { head in
      head.status = 200
      head.origin = .local
    }
    if answer != .tunnel { throw Rejection(.internalError, detail: "HTTP: an element answered a CONNECT with a body") }
  }

  /// Writes the head of a CONNECT's success.
  func writeTunnelHead(_ head: HTTPResponseHead) async throws {
    appendTunnelHead(head)
    try await beginTunnel()
    beginTunnelTraffic()
  }

  private func beginTunnel() async throws {
    try share.head.withBytes { try transmit($0) }
    try await flush()
    answer = .tunnel
    keepsAlive = false
    // From here on a FIN is half of an end, and is handed on.
    connection.finishedClientIsGone = false
    guard let stream = wire.stream as? any RewindableStream else { return }
    stream.pushBack(RawSpan(_unsafeBytes: inbox.bytes))
    inbox.release(on: connection.loop)
  }

  // MARK: Upgrade

  /// The origin speaks another protocol from now on, as the client wished (RFC 9110, 7.8).
  func switchProtocol(_ upstream: RelaySide) async throws {
    if !requestBody.hasEnded {
      throw Rejection(.upstreamProtocol, detail: "origin: status 101 before the request was complete")
    }
    let ahead = call.part
    if let stream = upstream.stream as? any RewindableStream {
      stream.pushBack(
        RawSpan(
          _unsafeBytes: UnsafeRawBufferPointer(start: connection.loop.scratch + ahead.lowerBound, count: ahead.count)))
    }
    try await commit { head in
      swap(&head, &call.head)
    }
    guard answer == .tunnel, let side = call.takeSide(on: connection.loop) else { return }
    switched = try await runtime.relay(client: wire.stream, upstream: side.stream, for: self)
  }

  func writeSwitchingHead(_ head: HTTPResponseHead) async throws {
    appendSwitchingHead(head)
    try await beginTunnel()
  }
}
