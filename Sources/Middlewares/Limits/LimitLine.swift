internal import Pipeline
internal import Synchronization

/// What a ``RateLimit`` does with an exchange for which there is no token.
public struct LimitPolicy: Hashable, Sendable {
  let waits: Bool
  let maxWait: Duration
  let queue: Int

  /// Refuses it.
  public static let reject = LimitPolicy(waits: false, maxWait: .zero, queue: 0)

  /// Lets it wait until there is one, in the order of arrival; refuses it at once when that takes longer than `max`, as far
  /// as can be known, or when `queue` exchanges of its key wait already.
  ///
  /// - Parameters:
  ///   - max: more than zero. A nearer deadline above ends the wait as its own.
  ///   - queue: exchanges that wait at once, for each key: 1...100,000.
  public static func wait(max: Duration, queue: Int = 100) -> LimitPolicy {
    LimitPolicy(waits: true, maxWait: max, queue: queue)
  }

  func validate(into problems: inout Problems) {
    guard waits else { return }
    if maxWait <= .zero { problems.refuse("a wait of \(maxWait): it must be more than 0 seconds") }
    if !(1...100_000).contains(queue) { problems.refuse("a queue of \(queue): 1 to 100,000 are allowed") }
  }
}

/// Those who wait for a token, one line for each key. Who stands first asks for everybody: it sleeps until its token may be
/// there and takes it; nobody who arrives meanwhile overtakes.
final class LimitLine: Sendable {
  private let gates = Gates()
  /// Exchanges in any line. Spares a look-up where nobody waits.
  private let count = Atomic<Int>(0)

  /// Whether somebody waits under this key.
  func isBusy(_ key: LimitKey) -> Bool { count.load(ordering: .acquiring) > 0 && gates.isBusy(key) }

  /// Waits in line, then asks until the answer is yes, or would come too late.
  ///
  /// - Returns: the last answer; `nil` when the wait ended in the line.
  func wait(
    _ key: LimitKey, _ policy: LimitPolicy, on exchange: Exchange, asking ask: () async throws -> LimitDecision
  ) async throws -> LimitDecision? {
    let until = exchange.now + policy.maxWait
    count.add(1, ordering: .acquiringAndReleasing)
    defer { count.subtract(1, ordering: .acquiringAndReleasing) }
    // The first one waits, too, so the line has room for one more than those behind it.
    let (gate, entry) = gates.enter(key, limit: 1, queue: policy.queue - 1)
    switch entry {
    case .enter: break
    case .queueFull: return nil
    case .wait(let waiter):
      do {
        try await waiter.wait(at: gate, on: exchange, atMost: policy.maxWait)
      } catch is WaitedTooLong {
        return nil
      }
    }
    return try await Permit(gate).hold {
      while true {
        let decision = try await ask()
        guard !decision.isAllowed, decision.isCounted else { return decision }
        guard exchange.now + decision.retryAfter <= until else { return decision }
        // A store with a clock of its own may say "at once" and still refuse.
        try await exchange.sleep(for: max(decision.retryAfter, .microseconds(100)))
      }
    }
  }
}
