/// Payload bytes of an exchange: after the handshake, before any encryption.
@frozen public struct Traffic: Hashable, Sendable {
  /// From the client to the upstream.
  public var up: UInt64
  /// From the upstream to the client.
  public var down: UInt64

  @inlinable public init(up: UInt64 = 0, down: UInt64 = 0) {
    self.up = up
    self.down = down
  }

  @inlinable public var total: UInt64 { up &+ down }

  @inlinable public static func - (a: Traffic, b: Traffic) -> Traffic {
    Traffic(up: a.up &- b.up, down: a.down &- b.down)
  }
}

/// Who ended an exchange.
public enum Party: String, Sendable, Hashable, CaseIterable {
  case client, upstream, proxy
}

/// How a tunnel's bytes came to their end.
public enum Ending: String, Sendable, Hashable, CaseIterable {
  /// Both sides finished in order (FIN).
  case finished
  /// `Summary.endedBy` broke the connection off (RST); the other side was reset, too.
  case reset
}

/// How an exchange ended that reached its destination.
public struct Summary: Sendable, Hashable {
  /// Payload bytes over the whole exchange.
  public var traffic: Traffic
  /// Who closed first, in the sense of the transport.
  public var endedBy: Party
  /// In order, or by a reset. Limits and cuts are no summaries: they are thrown.
  public var ending: Ending

  public init(traffic: Traffic = Traffic(), endedBy: Party = .upstream, ending: Ending = .finished) {
    self.traffic = traffic
    self.endedBy = endedBy
    self.ending = ending
  }
}
