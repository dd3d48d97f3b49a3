internal import Pipeline

/// What the steps of a relayed exchange wait for.
struct Wants {
  var client: Readiness = []
  var upstream: Readiness = []
  /// A step has used up its share of the turn.
  var again = false
}

extension HTTPConnection {
  /// Where bodies begin in the loop's scratch buffer: before them there is room for a head.
  static let bodyOffset = 16 * 1024
  /// Room behind a body for what ends it.
  static let bodyTail = 16 * 1024

  @inline(__always)
  func relay(to destination: ApprovedDestination, over link: UpstreamLink) async throws -> Summary {
    upstreamAnsweredAt = nil
    upstreamStatus = nil
    if hasTakenBody, !replay.isWhole || !replay.isAtStart {
      throw Rejection(
        .upstreamReset, source: .proxy, retry: .pointless,
        detail: "the request's body was sent already, and cannot be again")
    }
    if isDetached { connection.outlivesClient = true }
    if case .answer(let status, let type, let body) = try withRequest({ try Forwarder.turn(of: $0) }) {
      return try await respond(status, body: body) { if !type.isEmpty { $0.fields.set("content-type", type) } }
    }
    var mayReuse = true
    while true {
      if !mayReuse || !takeKept(destination, link) {
        let stream = try await dial(destination, over: link)
        call.begin(RelaySide(stream), over: link, to: upstreamAddress, isReused: false, now: connection.now)
      }
      do {
        if try await exchangeMessages(destination, link) {
          if let switched { return switched }
          finishCall()
          return Summary(traffic: traffic, endedBy: .upstream)
        }
      } catch {
        call.abort(on: connection.loop)
        closeTap(complete: false)
        throw error
      }
      // The kept connection had been closed before the request reached anybody: once more, over a new one.
      call.abort(on: connection.loop)
      replay.rewind()
      mayReuse = false
    }
  }

  // MARK: The connection to the upstream

  /// Whether a request may be sent again when nothing at all came back (RFC 9112, 9.3.1): only what is idempotent, and whose
  /// body is still here as far as it has been sent.
  private var mayBeSentAgain: Bool { isIdempotent }

  /// Takes a connection from the pool. False when there is none.
  func takeKept(_ destination: ApprovedDestination, _ link: UpstreamLink) -> Bool {
    guard link.proxyProtocol == nil else { return false }
    var address: SocketAddress?
    while let side = share.pool.take(link, destination.addresses, &address) {
      // What cannot be sent again is not sent on a guess: the kernel's word, for one system call.
      if !mayBeSentAgain || !requestBody.hasEnded, let socket = side.socket, !socket.isQuiet {
        socket.close()
        continue
      }
      side.setWaker(connection)
      upstreamAddress = address
      call.begin(side, over: link, to: address, isReused: true, now: connection.now)
      return true
    }
    return false
  }

  private func finishCall() {
    let mayKeep = call.isReusable
    guard let side = call.takeSide(on: connection.loop) else { return }
    if mayKeep, let address = call.address, let link = call.link, link.proxyProtocol == nil {
      share.pool.put(side, to: address, for: link)
    } else {
      side.stream.close()
    }
  }

  // MARK: Request and response

  /// Sends the request and relays the response, both at the same time where the request has a body: a response may come early.
  ///
  /// - Returns: false when a kept connection turned out to be dead, and the request may be sent again.
  @inline(__always)
  private func exchangeMessages(_ destination: ApprovedDestination, _ link: UpstreamLink) async throws -> Bool {
    guard var upstream = call.side else { return true }
    allowance.begin(self)
    try sendRequest(destination, link, upstream)
    if hedge != nil { beginHedge() }
    while true {
      var wants = Wants()
      if call.isUploading || !call.outbox.isEmpty { try stepUpload(upstream, &wants) }
      switch call.stage {
      case .head:
        var step = try stepHead(upstream, &wants)
        if call.hedgeAt <= connection.now, case .blocked = step, !call.hasAnswered {
          step = try await raceHeads()
          if let side = call.side { upstream = side }
          wants = Wants(upstream: .readable)
        }
        switch step {
        case .blocked: break
        case .lost:
          if call.isReused, !call.hasAnswered, mayBeSentAgain { return false }
          throw Rejection(
            .upstreamReset, retry: isRepeatable ? nil : .pointless, detail: "the upstream closed without an answer")
        case .switching:
          noteAnswer()
          try await switchProtocol(upstream)
          return true
        case .final:
          noteAnswer()
          if call.link?.isProxy == true, call.head.status == 407 {
            // Our own configuration is to blame; the client would take it for a question for its credentials.
            throw Rejection(
              .upstreamProtocol, source: .proxy, retry: .pointless,
              detail:
                "\(upstreamAddress?.description ?? ""): the far proxy refused our user name and password (status 407)")
          }
          if try commitRelayed() { continue }
          try await write(preparedAnswer)
          // Nobody wants what is left of the upstream's body.
          call.stage = .done
          continue
        }
      case .body:
        try stepBody(upstream, &wants)
        if case .done = call.stage { return true }
      case .done:
        return true
      }
      if wants.again {
        await connection.passTurn()
      } else {
        try await wait(wants, upstream)
      }
    }
  }

  private func noteAnswer() {
    upstreamStatus = call.head.status
    noteUpstreamAnswer(at: connection.now)
  }

  // MARK: Waiting

  @inline(__always)
  private func wait(_ wants: Wants, _ upstream: RelaySide) async throws {
    let limit = limit(for: wants)
    let came: Bool
    if wants.client.isEmpty, wants.upstream == .readable, let socket = upstream.socket {
      came = try await connection.wait(for: socket, .readable, until: limit)
    } else {
      came = try await connection.wait(
        for: StreamInterest(upstream, wants.upstream), or: StreamInterest(wire, wants.client), until: limit)
      pace.ended(connection.now)
    }
    if !came { try timedOut(wants) }
  }

  private func limit(for wants: Wants) -> Instant {
    var limit = allowance.renewAt
    if allowance.rests(.down) {
      // The time of the upstream does not run while it is us who do not read.
    } else if case .head = call.stage {
      limit = min(limit, call.headEnds, call.hedgeAt)
    } else {
      limit = min(limit, call.lastMove + options.bodyIdleTimeout)
    }
    if call.isUploading {
      if wants.client.contains(.readable) {
        limit = min(limit, uploadLimit())
      } else if wants.upstream.contains(.writable) {
        limit = min(limit, call.lastMove + options.bodyIdleTimeout)
      }
    }
    return limit
  }

  /// How long the next bytes of the request's body are waited for.
  private func uploadLimit() -> Instant {
    // The client waits for a word of the origin: it is the origin's time that runs.
    if framing.expectsContinue, !hasSentContinue, bodyReceived == 0 { return call.lastMove + options.responseTimeout }
    return pace.limit(connection.now, received: bodyReceived, options)
  }

  /// One of the limits passed; the nearest says which.
  private func timedOut(_ wants: Wants) throws {
    let now = connection.now
    if allowance.renewAt <= now {
      if allowance.rests(.down) {
        call.lastMove = now
        if call.headEnds != .distantFuture { call.headEnds = now + options.responseTimeout }
      }
      return try allowance.renew(self, unsent: outbox.count)
    }
    if case .head = call.stage {
      // Another upstream is about to be asked.
      if call.hedgeAt <= now, !call.hasAnswered { return }
      if call.headEnds <= now { throw noHead() }
    }
    if call.isUploading, wants.client.contains(.readable), answer == .none {
      if framing.expectsContinue, !hasSentContinue, bodyReceived == 0 { throw noHead() }
      throw tooSlow()
    }
    throw Rejection(
      .idleTimeout, source: wants.client.contains(.writable) ? .client : .upstream,
      detail: "nothing of the body moved for \(options.bodyIdleTimeout)")
  }

  func noHead() -> Rejection {
    Rejection(
      .deadlineExceeded, source: .upstream, retry: isRepeatable ? nil : .pointless,
      detail: "the upstream did not answer within \(options.responseTimeout)")
  }
}

extension Exchange {
  /// As ``forward(to:over:)``, by a call whose callee is known, after which nobody has to ask where it returned.
  @inline(__always)
  func passOn(to destination: ApprovedDestination, over link: UpstreamLink) async throws -> Summary {
    if type(of: self) == HTTPConnection.self {
      // Sound: it is one.
      return try await unsafeDowncast(self, to: HTTPConnection.self).forward(to: destination, over: link)
    }
    if type(of: self) == TCPConnection.self {
      return try await unsafeDowncast(self, to: TCPConnection.self).forward(to: destination, over: link)
    }
    return try await forward(to: destination, over: link)
  }
}
