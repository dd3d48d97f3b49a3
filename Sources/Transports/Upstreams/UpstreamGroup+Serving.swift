public import Pipeline
internal import Synchronization

/// The numbers of the backends that an exchange has tried; only failures cost an allocation.
private enum TriedBackends: ExchangeKey {
  static var defaultValue: [Int] { [] }
}

extension UpstreamGroup {
  private struct Choice {
    let seat: Seat
    /// Nothing better was left: it is taken whatever its health is.
    let isDesperate: Bool
  }

  /// Serves an exchange by one backend.
  @usableFromInline func serve(_ exchange: Exchange, foundBy discovery: Discovery?) async throws -> Summary {
    // Nothing is dialled for a client that has not finished its handshake.
    if let client = exchange as? SOCKS5Exchange { _ = try await client.destination() }
    if let discovery { try await discovery.awaitBackends(of: self, exchange) }
    let key = hashKey(of: exchange)
    var passedOver: [Int] = []
    while true {
      guard let choice = choose(for: exchange, key, passedOver) else { throw refusal() }
      let seat = choice.seat
      guard let limit = seat.backend.maxConnections else {
        if let summary = try await attempt(choice, exchange) { return summary }
        continue
      }
      let gate = seat.live.gate
      switch gate.enter(limit: limit, queue: seat.backend.queue) {
      case .enter: break
      case .queueFull:
        // Others were faster.
        seat.live.turnedAway.add(1, ordering: .relaxed)
        passedOver.append(seat.live.number)
        continue
      case .wait(let waiter):
        do {
          try await waiter.wait(at: gate, on: exchange, atMost: seat.backend.maxWait)
        } catch let late as WaitedTooLong {
          seat.live.turnedAway.add(1, ordering: .relaxed)
          throw Rejection(
            .overloaded,
            detail: "waited \(seat.backend.maxWait) for one of \(limit) connections of \(seat.backend.name)",
            cause: late)
        }
      }
      let summary = try await Permit(gate).hold { try await attempt(choice, exchange) }
      if let summary { return summary }
    }
  }

  /// Where the strategy hashes.
  func hashKey(of exchange: Exchange) -> UInt64? {
    guard isHashing, case .hash(let key, _) = configuration.strategy.innermost else { return nil }
    return key.hash(of: exchange)
  }

  func triedBackends(_ exchange: Exchange) -> [Int] { exchange[TriedBackends.self] }

  /// Tries one backend; `nil`: it may not be used any more, and nothing was done.
  @inline(__always)
  private func attempt(_ choice: Choice, _ exchange: Exchange) async throws -> Summary? {
    let seat = choice.seat
    let live = seat.live
    var trial: UInt64?
    if !choice.isDesperate {
      switch live.entrance(at: exchange.now) {
      case .closed: return nil
      case .open: break
      case .trial:
        endEjection(seat, at: exchange.now)
        guard let ticket = live.takeTrial() else { return nil }
        trial = ticket
      }
    }
    live.active.add(1, ordering: .relaxed)
    live.tries.add(1, ordering: .relaxed)
    exchange.upstreamAnsweredAt = nil
    exchange.upstreamTriedAt = exchange.now
    exchange.upstreamWatch = seat
    // A trial is to find out how one backend does.
    let hedge = trial != nil ? nil : hedgedTry(seat, exchange)
    if let hedge { exchange.hedge = hedge }
    defer {
      if hedge != nil { exchange.hedge = nil }
      exchange.upstreamWatch = nil
      if let trial { live.leaveTrial(trial) }
      hedge?.end(exchange)
      exchangeLeft(hedge?.serving ?? seat)
    }
    if isSticky { setCookie(for: seat, on: exchange) }
    do {
      let summary: Summary
      if let known = live.target.known {
        summary = try await exchange.passOn(to: known, over: live.link)
      } else {
        let destination = try await live.target.destination(for: exchange.runtime, by: live.link.way)
        summary = try await exchange.passOn(to: destination, over: live.link)
      }
      exchange.noteReturn()
      return summary
    } catch {
      if let failure = UpstreamFailure(error, on: exchange) { failed(hedge?.serving ?? seat, failure, on: exchange) }
      // The next try shall go elsewhere; after the commit there is none.
      if !exchange.isCommitted {
        exchange[TriedBackends.self] += hedge?.tried ?? [live.number]
        // Whoever answers instead is not the one that the client is to come back to.
        (exchange as? HTTPExchange)?.affinityCookie = nil
      }
      throw error
    }
  }

  // MARK: The choice

  private func choose(for exchange: Exchange, _ key: UInt64?, _ passedOver: [Int]) -> Choice? {
    let roster = roster.withLock { $0 }
    let now = exchange.now
    let tried = exchange[TriedBackends.self]
    if roster.seats.count == 1, tried.isEmpty, passedOver.isEmpty {
      let only = roster.seats[0]
      // There is nothing to choose.
      if only.live.office == .enabled, only.live.health == .open, only.hasRoom {
        return Choice(seat: only, isDesperate: false)
      }
    }
    var candidates = Candidates(
      roster: roster, now: now, slowStart: configuration.slowStart, decay: decay, tried: tried, passedOver: passedOver)
    if let seat = keptByCookie(exchange, candidates) { return Choice(seat: seat, isDesperate: false) }
    let bits = exchange.runtime.randomBits()
    func pick() -> Seat? { roster.balancer.pick(from: candidates, key: key, bits: bits).map { roster.seats[$0] } }

    if !startsInPanic(roster) {
      if let seat = pick() { return Choice(seat: seat, isDesperate: false) }
      candidates.takesFull = true
      if let seat = pick() { return Choice(seat: seat, isDesperate: false) }
      if !candidates.tried.isEmpty {
        candidates.takesTried = true
        if let seat = pick() { return Choice(seat: seat, isDesperate: false) }
      }
      guard isPanicking(roster) else { return nil }
      candidates.takesTried = false
      candidates.takesFull = false
    }
    candidates.ignoresHealth = true
    if let seat = pick() { return Choice(seat: seat, isDesperate: true) }
    candidates.takesFull = true
    candidates.takesTried = true
    return pick().map { Choice(seat: $0, isDesperate: true) }
  }

  /// Whether the rule ignores health before anybody is looked for.
  private func startsInPanic(_ roster: Roster) -> Bool {
    if case .below = configuration.panic.kind { isPanicking(roster) } else { false }
  }

  /// Whether too few are healthy, by the group's rule.
  func isPanicking(_ roster: Roster) -> Bool {
    var (healthy, all) = (0, 0)
    for seat in roster.seats where seat.live.office == .enabled {
      all += 1
      // One on trial takes one exchange at a time: that is no way out for the others.
      if seat.live.health == .open { healthy += 1 }
    }
    switch configuration.panic.kind {
    case .never: return false
    case .whenNone: return healthy == 0 && all > 0
    case .below(let share): return all > 0 && Double(healthy) < share * Double(all)
    }
  }

  private func refusal() -> Rejection {
    refused.add(1, ordering: .relaxed)
    let seats = seats
    if seats.isEmpty { return Rejection(.overloaded, retryAfter: .seconds(1), detail: "\(name) has no backend") }
    let usable = seats.count { $0.live.office == .enabled && $0.live.health == .open }
    return Rejection(
      .overloaded, retryAfter: .seconds(1),
      detail: usable == 0
        ? "none of the \(seats.count) backends of \(name) may be used"
        : "each of the \(usable) usable backends of \(name) has all the connections that it takes")
  }

  // MARK: Sticky clients

  private func keptByCookie(_ exchange: Exchange, _ candidates: Candidates) -> Seat? {
    guard isSticky, case .sticky(let cookie, _) = configuration.strategy.kind,
      let request = exchange as? HTTPExchange, let token = cookie.token(in: request),
      let seat = candidates.roster.seats.first(where: { $0.token == token })
    else { return nil }
    var patient = candidates
    // It waits there in the queue rather than to lose its session.
    patient.takesFull = true
    return seat.live.office != .disabled && patient.mayTake(seat) ? seat : nil
  }

  private func setCookie(for seat: Seat, on exchange: Exchange) {
    guard case .sticky(let cookie, _) = configuration.strategy.kind, let request = exchange as? HTTPExchange else {
      return
    }
    request.affinityCookie =
      cookie.token(in: request) == seat.token ? nil : cookie.text(for: seat.token, isSecure: request.scheme == "https")
  }

  // MARK: What exchanges find

  /// A backend has answered: an HTTP head is there, or a tunnel is connected.
  func answered(_ seat: Seat, _ exchange: Exchange) {
    let now = exchange.upstreamAnsweredAt ?? exchange.now
    let latency = now - exchange.upstreamTriedAt
    let nanoseconds = UInt64(max(0, latency.nanosecondsClamped))
    let status = statusOfUpstream(exchange)
    if let status, let bad = badStatuses, bad.contains(status) {
      answeredBadly(seat, exchange, status, latency, nanoseconds, at: now)
    } else if seat.live.noteAnswer(latency, nanoseconds, decay: decay, configuration.passive, at: now) {
      noteStanding(of: seat, at: now)
    }
    if judgesLatency { judgeOutliers(at: now) }
  }

  private func statusOfUpstream(_ exchange: Exchange) -> Int? {
    // A dynamic cast would cost more than all the rest.
    if type(of: exchange) == HTTPConnection.self {
      return unsafeDowncast(exchange, to: HTTPConnection.self).upstreamStatus
    }
    return (exchange as? HTTPExchange)?.upstreamStatus
  }

  /// Its status counts as a failure.
  private func answeredBadly(
    _ seat: Seat, _ exchange: Exchange, _ status: Int, _ latency: Duration, _ nanoseconds: UInt64, at now: Instant
  ) {
    let rules = configuration.passive
    let began = exchange.upstreamTriedAt
    let why = seat.live.update { record in
      record.noteTime(nanoseconds)
      record.failures[.status] &+= 1
      record.latency.noteFailure(latency, at: now, decay: decay)
      return record.health.failed(.status, began: began, rules, at: now)
    }
    if let why { eject(seat, "\(why) (\(status))", at: now) }
  }

  private func failed(_ seat: Seat, _ kind: UpstreamFailure, on exchange: Exchange) {
    let now = exchange.now
    let rules = configuration.passive
    let why = seat.live.update { record in
      record.failures[kind] &+= 1
      record.latency.noteFailure(now - exchange.upstreamTriedAt, at: now, decay: decay)
      return record.health.failed(kind, began: exchange.upstreamTriedAt, rules, at: now)
    }
    if let why { eject(seat, why, at: now) }
  }

  /// Ejects a backend unless too many are.
  private func eject(_ seat: Seat, _ why: String, at now: Instant) {
    let rules = configuration.passive
    let isDone = ejecting.withLock { _ in
      let seats = seats
      let out = seats.count { $0.live !== seat.live && ($0.live.health == .ejected || $0.live.health == .trial) }
      let limit = min(seats.count - 1, max(1, Int(rules.maxEjected * Double(seats.count))))
      guard out < limit, rules.maxEjected > 0 else { return false }
      return seat.live.update { record in
        guard record.health.standing != .ejected else { return false }
        record.ejections &+= 1
        return record.health.eject(why, rules, at: now)
      }
    }
    if isDone { noteStanding(of: seat, at: now) }
  }

  /// An ejection that is over by the time becomes a trial.
  func endEjection(_ seat: Seat, at now: Instant) {
    guard seat.live.health == .ejected else { return }
    if seat.live.update({ $0.health.endEjection(at: now) }) { noteStanding(of: seat, at: now) }
  }

  /// Once a window: who has answered so much more slowly than the others?
  private func judgeOutliers(at now: Instant) {
    let rules = configuration.passive
    let due = nextJudgement.load(ordering: .relaxed)
    guard let factor = rules.latencyFactor, due <= now.nanoseconds else { return }
    let next = (now + rules.window).nanoseconds
    guard nextJudgement.compareExchange(expected: due, desired: next, ordering: .relaxed).exchanged, due > 0 else {
      return
    }
    var means: [(seat: Seat, mean: Double)] = []
    for seat in seats {
      let (time, count) = seat.live.update { record in
        defer { (record.recentTime, record.recentCount) = (0, 0) }
        return (record.recentTime, record.recentCount)
      }
      if count >= UInt64(rules.minimumAnswers) { means.append((seat, Double(time) / Double(count))) }
    }
    for (index, candidate) in means.enumerated() {
      let others = means.indices.filter { $0 != index }.map { means[$0].mean }.sorted()
      guard !others.isEmpty else { continue }
      let median = others[others.count / 2]
      let margin = Double(rules.latencyMargin.nanosecondsClamped)
      if candidate.mean > factor * median, candidate.mean > median + margin, candidate.seat.live.health == .open {
        let (own, usual) = (Duration.nanoseconds(Int64(candidate.mean)), Duration.nanoseconds(Int64(median)))
        eject(candidate.seat, "it answers in \(own), the others in \(usual)", at: now)
      }
    }
  }
}

extension LoadBalancing {
  /// Of a sticky strategy the one that it falls back to.
  var innermost: Kind {
    if case .sticky(_, let otherwise) = kind { otherwise.kind } else { kind }
  }
}
