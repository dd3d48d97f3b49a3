internal import Pipeline

/// A store whose answers need not be waited for.
protocol ImmediateLimitStore: LimitStore {
  func takeNow(_ key: LimitKey, _ cost: Int, _ rate: Rate?, _ exchange: Exchange) throws -> LimitDecision
  func refundNow(_ key: LimitKey, _ cost: Int, _ rate: Rate?, _ exchange: Exchange) throws
}

extension MemoryLimitStore: ImmediateLimitStore {
  func takeNow(_ key: LimitKey, _ cost: Int, _ rate: Rate?, _ exchange: Exchange) throws -> LimitDecision {
    try take(key, cost: cost, rate: rate, now: exchange.now)
  }

  func refundNow(_ key: LimitKey, _ cost: Int, _ rate: Rate?, _ exchange: Exchange) throws {
    try refund(key, cost: cost, rate: rate, now: exchange.now)
  }
}

/// A store, and what this process adds to it: who waits, and what is owed.
final class LimitAccount<Store: LimitStore & AnyObject>: Sendable {
  let store: Store
  let line: LimitLine
  private let debts: LimitDebts
  private let immediate: (any ImmediateLimitStore)?

  init(_ store: Store, _ line: LimitLine, _ debts: LimitDebts) {
    self.store = store
    self.line = line
    self.debts = debts
    immediate = store as? any ImmediateLimitStore
  }

  convenience init(_ store: Store) { self.init(store, LimitLine(), LimitDebts()) }

  /// After a reload: another store, the same people.
  convenience init(_ store: Store, _ old: LimitAccount) { self.init(store, old.line, old.debts) }

  var isImmediate: Bool { immediate != nil }

  /// What the store is told of a rate: nothing where it is its own, so that a limit which was set for a key holds.
  private func told(_ rate: Rate) -> Rate? { rate == store.rate ? nil : rate }

  /// - Throws: `Rejection(.overloaded)` when the store cannot say; what ends a wait of the exchange.
  func take(_ key: LimitKey, _ rate: Rate, _ tokens: Int, _ exchange: Exchange) async throws -> LimitDecision {
    switch debts.standing(of: key, rate, now: exchange.now) {
    case .clear: break
    case .held(let time):
      return LimitDecision(
        isAllowed: false, limit: rate.burst, remaining: 0, reset: time + rate.time(for: rate.burst),
        retryAfter: time + rate.time(for: tokens))
    case .due(let due): await settle(due, key, rate, exchange, isDebt: true)
    }
    return try await ask(key, rate, tokens, exchange)
  }

  private func ask(_ key: LimitKey, _ rate: Rate, _ tokens: Int, _ exchange: Exchange) async throws -> LimitDecision {
    do {
      if let immediate { return try immediate.takeNow(key, tokens, told(rate), exchange) }
      return try await store.take(key, cost: tokens, rate: told(rate), for: exchange)
    } catch let error as LimitStoreError {
      throw Rejection(.overloaded, detail: "\(error)", cause: error)
    }
  }

  /// Gives back tokens of an exchange that did not take place.
  func giveBack(_ tokens: Int, _ key: LimitKey, _ rate: Rate, _ exchange: Exchange) async {
    do {
      if let immediate {
        try immediate.refundNow(key, tokens, told(rate), exchange)
      } else {
        try await store.refund(key, cost: tokens, rate: told(rate), now: exchange.now)
      }
    } catch {
      exchange.runtime.log(.warning, "a limit could not take \(tokens) tokens back: \(error)")
    }
  }

  /// Lets the exchange go on and, however it ends, settles what it has really cost.
  func settling(
    _ key: LimitKey, _ rate: Rate, _ tokens: Int, _ exchange: Exchange, actual: () -> Int?, _ next: Next
  ) async throws -> Summary {
    let reservation = Reservation(tokens)
    let summary: Summary
    do {
      summary = try await next()
    } catch {
      await settle(reservation.close(actual()), key, rate, exchange)
      throw error
    }
    await settle(reservation.close(actual()), key, rate, exchange)
    return summary
  }

  /// - Parameters:
  ///   - difference: tokens to charge; negative: to give back.
  ///   - isDebt: what is not there was paid by the time that has passed.
  private func settle(
    _ difference: Int, _ key: LimitKey, _ rate: Rate, _ exchange: Exchange, isDebt: Bool = false
  ) async {
    if difference < 0 { return await giveBack(-difference, key, rate, exchange) }
    guard difference > 0 else { return }
    do {
      var left = difference
      while left > 0 {
        let part = min(left, rate.burst)
        let decision = try await charge(part, key, rate, exchange)
        if decision.isAllowed {
          left -= part
          continue
        }
        guard decision.isCounted else { return }
        if decision.remaining > 0, try await charge(decision.remaining, key, rate, exchange).isAllowed {
          left -= decision.remaining
        }
        if !isDebt { debts.add(left, to: key, rate, now: exchange.now) }
        return
      }
    } catch {
      exchange.runtime.log(.warning, "a limit could not charge \(difference) tokens: \(error)")
    }
  }

  private func charge(_ tokens: Int, _ key: LimitKey, _ rate: Rate, _ exchange: Exchange) async throws -> LimitDecision
  {
    if let immediate { return try immediate.takeNow(key, tokens, told(rate), exchange) }
    // Not on behalf of the exchange, which may be over.
    return try await store.take(key, cost: tokens, rate: told(rate), now: exchange.now)
  }
}

/// Tokens that were taken for an exchange whose cost is not known yet. It is closed once: the compiler sees to it that it
/// cannot be twice, and one that is dropped unclosed is a mistake of this file.
struct Reservation: ~Copyable {
  private let tokens: Int

  init(_ tokens: Int) { self.tokens = tokens }

  deinit { assertionFailure("a reservation of \(tokens) tokens was dropped") }

  /// What is still to be charged, or, where negative, to be given back.
  consuming func close(_ actual: Int?) -> Int {
    let tokens = tokens
    discard self
    return min(max(actual ?? tokens, 0), LimitCost.most) - tokens
  }
}
