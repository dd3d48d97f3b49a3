public import Pipeline
import Synchronization

/// After a failed exchange, refuses everybody for a while (`overloaded`, with the time to wait), so that a struggling
/// upstream can recover.
///
/// Shows state that all loops share, time as the exchange tells it (so that tests move it by hand), and work after `next`.
public struct Cooldown: Middleware {
  private let pause: Duration
  private var gate = Gate()

  /// Until when nobody passes, in the clock's nanoseconds.
  private final class Gate: Sendable {
    let closedUntil = Atomic<UInt64>(0)
  }

  /// - Parameter pause: how long to refuse after a failure; above zero.
  public init(_ pause: Duration) {
    precondition(pause > .zero, "Cooldown: a pause of \(pause) is not allowed; allowed is more than zero")
    self.pause = pause
  }

  public var parameters: [Parameter] { [Parameter("pause", "\(pause)")] }

  /// The object that changes: a reload hands it to the new chain.
  public var state: AnyObject? { gate }

  public mutating func adopt(from old: Cooldown) { gate = old.gate }

  public func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    let closedUntil = Instant(nanoseconds: gate.closedUntil.load(ordering: .relaxed))
    if exchange.now < closedUntil {
      throw Rejection(.overloaded, retryAfter: closedUntil - exchange.now, detail: "cooling down")
    }
    do {
      return try await next()
    } catch let rejection as Rejection where rejection.source == .upstream {
      gate.closedUntil.store((exchange.now + pause).nanoseconds, ordering: .relaxed)
      throw rejection
    }
  }
}
