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

/// How an exchange ended that reached its destination.
public struct Summary: Sendable, Hashable {
  /// Payload bytes over the whole exchange.
  public var traffic: Traffic
  /// Who closed first, in the sense of the transport.
  public var endedBy: Party

  public init(traffic: Traffic = Traffic(), endedBy: Party = .upstream) {
    self.traffic = traffic
    self.endedBy = endedBy
  }
}
