/// What a relay may move before it asks again.
///
/// Leases are large far from a limit and small near it, so that a quota or a bandwidth limit costs nothing on the way
/// and is still exact at the end: the relay never moves more than its lease.
@frozen public struct Lease: Hashable, Sendable {
  /// Bytes from the client to the upstream that may still be moved. 0: this direction rests until `renewBy`.
  public var up: Int
  /// Bytes from the upstream to the client that may still be moved. 0: this direction rests until `renewBy`.
  public var down: Int
  /// When the relay asks again at the latest, even if the bytes are not used up.
  public var renewBy: Instant

  @inlinable public init(up: Int = .max, down: Int = .max, renewBy: Instant = .distantFuture) {
    self.up = up
    self.down = down
    self.renewBy = renewBy
  }

  /// Moves whatever comes; asked again only by the coarse tick.
  @inlinable public static var unlimited: Lease { Lease() }

  /// The stricter of the two in every respect.
  @inlinable public func narrowed(by other: Lease) -> Lease {
    Lease(up: min(up, other.up), down: min(down, other.down), renewBy: min(renewBy, other.renewBy))
  }
}

/// Counts the bytes of live exchanges and limits them: usage, quotas, bandwidth.
///
/// One meter may serve many exchanges on several loops (say, all of one identity).
public protocol ByteMeter: AnyObject, Sendable {
  /// Called on the exchange's loop with what moved since the last call for this exchange: when a lease is used up, at
  /// every coarse tick (1 s), and once more with `isLast` when the meter is detached.
  ///
  /// - Throws: a ``Rejection`` to cut the exchange here and now. A throw with `isLast` is ignored.
  func account(_ moved: Traffic, on exchange: Exchange, isLast: Bool) throws -> Lease
}
