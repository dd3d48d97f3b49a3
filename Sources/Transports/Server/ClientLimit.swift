internal import Pipeline
internal import Synchronization

/// Whom a limit per client takes for one client: an IPv4 address, an IPv6 /64 (what one customer gets), a Unix user.
struct ClientKey: Hashable, Sendable {
  private let bits: UInt64
  private let kind: UInt8

  init(_ client: ClientAddress) {
    switch client.kind {
    case .ip(let address, port: _) where address.isIPv6:
      bits = address.words.high
      kind = 6
    case .ip(let address, port: _):
      bits = address.words.low
      kind = 4
    case .unix(let uid):
      bits = UInt64(uid)
      kind = 1
    }
  }
}

/// How many connections each client of a listener has open, over all loops. Exact: a count is kept under a lock, and one
/// lock guards a sixteenth of the clients. Only clients with an open connection are kept, so the memory is bounded by
/// their number.
final class ClientLimit: Sendable {
  enum Entrance: Sendable { case counted, notCounted, refused }

  private final class Shard: Sendable {
    let open = Mutex<[ClientKey: Int]>([:])
  }

  private static let shardCount = 16
  /// A shard that is empty and had room for more than this gives the room back.
  private static let keptCapacity = 256

  /// `.max`: nothing is counted.
  private let limit: Atomic<Int>
  private let shards = (0..<shardCount).map { _ in Shard() }

  init(_ limit: Int?) { self.limit = Atomic(limit ?? .max) }

  /// A reload changed it. Connections that are open stay; those that began while there was no limit are not counted.
  func change(to limit: Int?) { self.limit.store(limit ?? .max, ordering: .relaxed) }

  var isSet: Bool { limit.load(ordering: .relaxed) != .max }

  /// Counts one connection in, unless its client has as many as it may.
  func enter(_ client: ClientKey) -> Entrance {
    let limit = limit.load(ordering: .relaxed)
    if limit == .max { return .notCounted }
    return shard(of: client).open.withLock { open in
      let count = open[client, default: 0]
      if count >= limit { return .refused }
      open[client] = count + 1
      return .counted
    }
  }

  /// Counts out one that was counted in.
  func leave(_ client: ClientKey) {
    shard(of: client).open.withLock { open in
      guard let count = open[client] else { return }
      if count > 1 {
        open[client] = count - 1
      } else {
        open[client] = nil
        if open.isEmpty, open.capacity > Self.keptCapacity { open = [:] }
      }
    }
  }

  /// Clients with a connection that is counted.
  var clients: Int { shards.reduce(0) { $0 + $1.open.withLock { $0.count } } }

  /// By a hash with a seed that is new in every process, so that nobody can aim at one lock.
  private func shard(of client: ClientKey) -> Shard {
    shards[Int(truncatingIfNeeded: UInt(bitPattern: client.hashValue) >> 7) & (Self.shardCount - 1)]
  }
}
