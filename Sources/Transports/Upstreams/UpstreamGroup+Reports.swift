internal import Pipeline
internal import Synchronization

extension UpstreamGroup {
  /// How everything stands. Copies; costs a short lock for each backend.
  public func report() -> UpstreamReport {
    let now = clock()
    let roster = roster.withLock { $0 }
    return UpstreamReport(
      name: name, strategy: configuration.strategy.description, isPanicking: isPanicking(roster),
      backends: roster.seats.map { report(of: $0, at: now) }, events: events,
      refused: refused.load(ordering: .relaxed))
  }

  private func report(of seat: Seat, at now: Instant) -> BackendReport {
    let live = seat.live
    endEjection(seat, at: now)
    let warmth = live.warmth(configuration.slowStart, at: now)
    return live.read { record in
      let (state, reason, since) = Self.state(record, warmth)
      let latency = record.latency.value(at: now, decay: decay)
      return BackendReport(
        name: seat.backend.name, address: seat.backend.address, weight: seat.backend.weight,
        priority: seat.backend.priority, state: state,
        reason: reason, lasting: now - since, active: live.active.load(ordering: .relaxed),
        waiting: live.waiting(cap: seat.backend.maxConnections), maxConnections: seat.backend.maxConnections,
        totals: BackendTotals(
          tries: live.tries.load(ordering: .relaxed), answered: record.answered,
          latency: .nanoseconds(Int64(clamping: record.answeredTime)), failures: record.failures,
          checksPassed: record.checksPassed, checksFailed: record.checksFailed, ejections: record.ejections,
          turnedAway: live.turnedAway.load(ordering: .relaxed)),
        latency: latency < 1 ? nil : .nanoseconds(Int64(latency)),
        lastCheck: record.lastCheck.map {
          CheckReport(passed: $0.passed, detail: $0.detail, took: $0.took, age: now - $0.at)
        })
    }
  }

  private static func state(
    _ record: borrowing LiveBackend.Record, _ warmth: Double
  ) -> (BackendState, String, Instant) {
    switch record.office {
    case .disabled: return (.disabled, "by the operator", record.officeSince)
    case .draining: return (.draining, "by the operator", record.officeSince)
    case .enabled: break
    }
    let (reason, since) = (record.health.reason, record.health.since)
    switch record.health.standing {
    case .open:
      if warmth < 1 { return (.startingSlowly, reason, since) }
      if case .not = record.health.checked, reason.isEmpty { return (.unchecked, reason, since) }
      return (.healthy, reason, since)
    case .trial: return (.onTrial, reason, since)
    case .ejected: return (.ejected, reason, since)
    case .down: return (.unhealthy, reason, since)
    }
  }

  // MARK: Events

  /// The latest, oldest first.
  var events: [UpstreamEvent] {
    journal.withLock { Array($0.events[$0.oldest...] + $0.events[..<$0.oldest]) }
  }

  func note(_ seat: Seat, _ kind: UpstreamEvent.Kind, _ reason: String, at instant: Instant? = nil) {
    let event = UpstreamEvent(
      at: instant ?? clock(), group: name, backend: seat.backend.name, kind: kind, reason: reason)
    journal.withLock { journal in
      if journal.events.count < Self.eventLimit {
        journal.events.append(event)
      } else {
        journal.events[journal.oldest] = event
        journal.oldest = (journal.oldest + 1) % Self.eventLimit
      }
    }
    let services = watch.withLock { $0.services }
    services?.log(kind.level, event.description)
  }

  func noteDrained(_ seat: Seat) { note(seat, .drained, "nothing runs there any more") }

  /// Says how a backend stands after a change.
  func noteStanding(of seat: Seat, at now: Instant) {
    let (standing, reason) = seat.live.read { ($0.health.standing, $0.health.reason) }
    switch standing {
    case .open: note(seat, .up, reason, at: now)
    case .trial: note(seat, .trial, reason, at: now)
    case .ejected: note(seat, .ejected, reason, at: now)
    case .down: note(seat, .unhealthy, reason, at: now)
    }
  }
}

extension UpstreamEvent.Kind {
  fileprivate var level: LogLevel {
    switch self {
    case .unhealthy, .ejected: .warning
    case .up, .trial, .enabled, .disabled, .draining, .drained, .added, .removed, .weight: .notice
    }
  }
}
