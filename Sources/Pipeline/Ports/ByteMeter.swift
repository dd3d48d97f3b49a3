/// Ways in which bytes move.
@frozen public struct Directions: OptionSet, Hashable, Sendable {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// From the client to the upstream.
  @inlinable public static var up: Directions { Directions(rawValue: 1) }
  /// From the upstream to the client.
  @inlinable public static var down: Directions { Directions(rawValue: 2) }
}

/// What a relay may move before it asks again.
///
/// Leases are large far from a limit and small near it, so that a quota or a bandwidth limit costs nothing on the way
/// and is still exact at the end: the relay never moves more than its lease.
///
/// A direction with ``onDemand`` holds nothing, and asks when there are bytes to move: so a limit that many share lends
/// nothing to those who are silent.
@frozen public struct Lease: Hashable, Sendable {
  /// Bytes from the client to the upstream that may still be moved. 0: this direction rests until `renewBy`.
  public var up: Int
  /// Bytes from the upstream to the client that may still be moved. 0: this direction rests until `renewBy`.
  public var down: Int
  /// In place of a number of bytes: nothing is granted yet, ask as soon as there is something to move.
  @inlinable public static var onDemand: Int { -1 }

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
    Lease(
      up: Self.stricter(up, other.up), down: Self.stricter(down, other.down), renewBy: min(renewBy, other.renewBy))
  }

  /// To rest is stricter than to be asked.
  @inlinable static func stricter(_ a: Int, _ b: Int) -> Int { a == 0 || b == 0 ? 0 : min(a, b) }
}

/// Counts the bytes of live exchanges and limits them: usage, quotas, bandwidth.
///
/// One meter may serve many exchanges on several loops (say, all of one identity).
public protocol ByteMeter: AnyObject, Sendable {
  /// Whether the first byte already needs a lease. Where no meter says so, an HTTP exchange moves 64 KiB each way before
  /// its meters are asked, so that counting costs a small request nothing. Default: false.
  var limitsFirstByte: Bool { get }

  /// Called on the exchange's loop with what moved since the last call for this exchange: when a lease is used up, at
  /// every coarse tick (1 s), and once more with `isLast` when the meter is detached. ``Exchange/wanting`` says which
  /// ways have bytes, or may have, and no lease.
  ///
  /// - Throws: a ``Rejection`` to cut the exchange here and now. A throw with `isLast` is ignored.
  func account(_ moved: Traffic, on exchange: Exchange, isLast: Bool) throws -> Lease
}

extension ByteMeter {
  @inlinable public var limitsFirstByte: Bool { false }
}
