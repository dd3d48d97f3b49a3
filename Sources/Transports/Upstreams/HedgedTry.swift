internal import Pipeline
internal import Synchronization

/// One try of an exchange that may be with two backends at the same time. Kept by the connection for the next one.
final class HedgedTry: Hedge {
  private let desk: HedgeDesk
  private let group: UpstreamGroup
  /// The backend that answers, as far as is known: the first one, until the second has won.
  private(set) var serving: Seat
  private var second: Seat?
  /// Of the second one's cap.
  private var permit: Permit?
  private var startedAt = Instant(nanoseconds: 0)
  private var secondStartedAt = Instant(nanoseconds: 0)
  private var hasGiven = false
  /// The numbers of the backends that were asked.
  private(set) var tried: [Int] = []

  init(_ desk: HedgeDesk, _ group: UpstreamGroup, _ first: Seat) {
    self.desk = desk
    self.group = group
    serving = first
  }

  /// Whether it was made for exchanges of this group.
  func isOf(_ group: UpstreamGroup) -> Bool { self.group === group }

  func begin(_ first: Seat, at now: Instant) {
    serving = first
    second = nil
    hasGiven = false
    startedAt = now
    tried.removeAll(keepingCapacity: true)
    tried.append(first.live.number)
    desk.earn()
  }

  /// The try is over.
  func end(_ exchange: Exchange) {
    if let answered = exchange.upstreamAnsweredAt { desk.note(answered - startedAt) }
    permit = nil
  }

  // MARK: What the transport asks

  var patience: Duration { desk.patience }

  func second(for exchange: Exchange) async throws -> HedgeTarget? {
    guard !hasGiven, desk.take() else { return nil }
    hasGiven = true
    guard let seat = group.seat(besides: serving, for: exchange) else {
      desk.noteWithoutSecond()
      return nil
    }
    if let limit = seat.backend.maxConnections {
      // Nobody waits in a queue in order to be asked a second time.
      guard case .enter = seat.live.gate.enter(limit: limit, queue: 0) else {
        desk.noteWithoutSecond()
        return nil
      }
      permit = Permit(seat.live.gate)
    }
    seat.live.active.add(1, ordering: .relaxed)
    seat.live.tries.add(1, ordering: .relaxed)
    secondStartedAt = exchange.now
    do {
      let destination = try await seat.live.target.destination(for: exchange.runtime, by: seat.live.link.way)
      second = seat
      tried.append(seat.live.number)
      desk.noteAsked()
      return HedgeTarget(destination, over: seat.live.link)
    } catch let rejection as Rejection where rejection.source != .client {
      // Its name does not resolve, say: the first one goes on by itself.
      permit = nil
      group.exchangeLeft(seat)
      desk.noteWithoutSecond()
      return nil
    } catch {
      permit = nil
      group.exchangeLeft(seat)
      throw error
    }
  }

  func decided(_ winner: HedgeWinner, on exchange: Exchange) {
    guard let second else { return }
    self.second = nil
    switch winner {
    case .first, .nobody:
      permit = nil
      group.exchangeLeft(second)
    case .second:
      desk.noteWon()
      // Nobody knows how long it would have taken: at least so long.
      group.noteSlow(serving, exchange.now - startedAt, at: exchange.now)
      group.exchangeLeft(serving)
      serving = second
      exchange.upstreamWatch = second
      exchange.upstreamTriedAt = secondStartedAt
    }
  }
}

/// The try that a connection keeps.
private enum KeptTry: ExchangeKey {
  static var defaultValue: HedgedTry? { nil }
  static var outlivesExchange: Bool { true }
}

extension UpstreamGroup {
  /// What the hedges have brought; `nil` without any.
  public var hedges: HedgeReport? { hedging?.report }

  /// A try that may be hedged; `nil`: this group does not hedge.
  func hedgedTry(_ first: Seat, _ exchange: Exchange) -> HedgedTry? {
    guard let hedging else { return nil }
    let kept: HedgedTry
    if let old = exchange[KeptTry.self], old.isOf(self) {
      kept = old
    } else {
      kept = HedgedTry(hedging, self, first)
      exchange[KeptTry.self] = kept
    }
    kept.begin(first, at: exchange.now)
    return kept
  }

  /// Another backend, that is well and has room.
  fileprivate func seat(besides first: Seat, for exchange: Exchange) -> Seat? {
    let roster = roster.withLock { $0 }
    let candidates = Candidates(
      roster: roster, now: exchange.now, slowStart: configuration.slowStart, decay: decay,
      tried: triedBackends(exchange) + [first.live.number])
    let key = hashKey(of: exchange)
    guard let index = roster.balancer.pick(from: candidates, key: key, bits: exchange.runtime.randomBits()) else {
      return nil
    }
    let seat = roster.seats[index]
    // Nobody is gone, so the reserve is not asked.
    guard seat.backend.priority <= first.backend.priority else { return nil }
    // A trial is an exchange's own, with nobody beside it.
    return seat.live.entrance(at: exchange.now) == .open ? seat : nil
  }

  fileprivate func noteSlow(_ seat: Seat, _ latency: Duration, at now: Instant) {
    seat.live.update { $0.latency.note(latency, at: now, decay: decay) }
  }

  /// An exchange goes.
  func exchangeLeft(_ seat: Seat) {
    let left = seat.live.active.subtract(1, ordering: .relaxed).newValue
    if left == 0, seat.live.office == .draining { noteDrained(seat) }
  }
}
