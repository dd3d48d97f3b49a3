internal import Pipeline

/// A request that is with two upstreams at the same time, until one of them begins to answer.
extension HTTPConnection {
  /// Whether the request may be with two upstreams: it has no effect that counts twice, no body, and leads to no tunnel.
  private var mayBeHedged: Bool {
    request.method.isIdempotent && requestBody.hasEnded && !hasTakenBody && !framing.wantsUpgrade && !isDetached
      && !allowance.isStrict && call.outbox.isEmpty
  }

  /// The request has been sent: from when on a second upstream is asked.
  func beginHedge() {
    guard let hedge, mayBeHedged else { return }
    call.hedgeAt = connection.now + hedge.patience
  }

  /// The two calls. What everybody looks at is `call`, so the one that is looked at is put there.
  private struct Race {
    let other: UpstreamCall
    let target: HedgeTarget
    /// Whose call stands in `call`.
    var looksAt = HedgeWinner.first
    /// A connection to the second that is being made.
    var dial: Socket?
    var dialEnds: Instant
    /// What the first of the two ended in that ended.
    var failure: (any Error)?
  }

  /// The first upstream takes long. Asks a second one, and waits until one of the two has begun to answer, which is in `call`
  /// from then on; the other one is let go of.
  ///
  /// - Returns: what was found of the head; `.blocked` where the first is on its own again; `.lost` where both ended.
  func raceHeads() async throws -> HeadStep {
    call.hedgeAt = .distantFuture
    guard let hedge, mayBeHedged, let target = try await hedge.second(for: self) else { return .blocked }
    let other = rival ?? UpstreamCall(options)
    rival = other
    let address = upstreamAddress
    var race = Race(other: other, target: target, dialEnds: connection.now + listener.options.connectTimeout)
    var winner = HedgeWinner.nobody
    defer {
      // On every path one call goes on, and the other one is over.
      look(at: winner == .second ? .second : .first, &race)
      other.abort(on: connection.loop)
      race.dial?.abort()
      upstreamAddress = winner == .second ? call.address : address
      hedge.decided(winner, on: self)
    }
    try beginSecond(&race)
    while true {
      for side in [HedgeWinner.first, .second] where isUnderWay(side, race) {
        look(at: side, &race)
        if let step = stepRacing(&race) {
          winner = side
          return step
        }
      }
      try stepDial(&race)
      if race.dial == nil, !isUnderWay(.second, race) {
        if isUnderWay(.first, race) { return .blocked }
        if let failure = race.failure { throw failure }
        return .lost
      }
      try await waitForEither(race)
    }
  }

  private func look(at side: HedgeWinner, _ race: inout Race) {
    guard side != race.looksAt else { return }
    call.exchangeContents(with: race.other)
    race.looksAt = side
  }

  private func contents(_ side: HedgeWinner, _ race: Race) -> UpstreamCall {
    side == race.looksAt ? call : race.other
  }

  private func isUnderWay(_ side: HedgeWinner, _ race: Race) -> Bool { contents(side, race).side != nil }

  /// One look at the upstream in `call`. Not nil once it has begun to answer.
  private func stepRacing(_ race: inout Race) -> HeadStep? {
    do {
      guard let side = call.side, side.mayRead else {
        if call.headEnds <= connection.now { throw noHead() }
        return nil
      }
      var wants = Wants()
      let step = try stepHead(side, &wants)
      if call.hasAnswered { return step }
      if case .lost = step { call.abort(on: connection.loop) }
    } catch {
      race.failure = race.failure ?? error
      call.abort(on: connection.loop)
    }
    return nil
  }

  /// Sends the request over a kept connection, or begins to make one.
  private func beginSecond(_ race: inout Race) throws {
    look(at: .second, &race)
    let (destination, link) = (race.target.destination, race.target.link)
    if takeKept(destination, link) { return try sendToSecond(race) }
    // Whatever needs more than a connect (a way through proxies, a word of who the client is) is not worth a second try.
    guard link.way.isPlain, link.proxyProtocol == nil, let address = destination.addresses.first else { return }
    do {
      race.dial = try Dialer(connection, connection.engine.dialing, timeout: .zero).beginToConnect(address)
    } catch is Rejection {
      // No socket for the second one: the first goes on by itself.
    }
  }

  private func stepDial(_ race: inout Race) throws {
    guard let socket = race.dial else { return }
    switch Dialer<Connection>.progress(socket) {
    case .connecting:
      guard race.dialEnds <= connection.now else { return }
      race.dial = nil
      socket.abort()
    case .failed:
      race.dial = nil
      socket.abort()
    case .connected:
      race.dial = nil
      look(at: .second, &race)
      call.begin(
        RelaySide(socket), over: race.target.link, to: race.target.destination.addresses.first, isReused: false,
        now: connection.now)
      try sendToSecond(race)
    }
  }

  private func sendToSecond(_ race: Race) throws {
    guard let side = call.side else { return }
    try sendRequest(race.target.destination, race.target.link, side)
    // What does not fit into the socket at once is not waited for.
    if !call.outbox.isEmpty { call.abort(on: connection.loop) }
  }

  private func waitForEither(_ race: Race) async throws {
    let (first, second) = (contents(.first, race), contents(.second, race))
    var limit = race.dial == nil ? allowance.renewAt : min(allowance.renewAt, race.dialEnds)
    if first.side != nil { limit = min(limit, first.headEnds) }
    if second.side != nil { limit = min(limit, second.headEnds) }
    let rivalSide = race.dial.map { RelaySide($0) } ?? second.side
    let rivalWants: Readiness = race.dial == nil ? .readable : .writable
    // Nothing is wanted of the client but that it stays.
    _ = try await connection.wait(
      for: first.side.map { StreamInterest($0, .readable) } ?? StreamInterest(wire, []),
      or: rivalSide.map { StreamInterest($0, rivalWants) } ?? StreamInterest(wire, []), until: limit)
    if allowance.renewAt <= connection.now { try allowance.renew(self, unsent: outbox.count) }
  }
}
