internal import Pipeline

/// Which node serves which slot. A pure value, read from `CLUSTER SHARDS` (Redis 7) or `CLUSTER SLOTS`.
struct ClusterMap: Hashable, Sendable {
  /// The masters.
  private(set) var nodes: [RedisURL.Node] = []
  /// For each slot the index of its node; ``unserved`` where nobody serves it.
  private(set) var slots = [UInt16](repeating: ClusterMap.unserved, count: HashSlot.count)

  static let unserved = UInt16.max

  init() {}

  func node(of slot: HashSlot) -> RedisURL.Node? {
    let index = slots[Int(slot.number)]
    return index == Self.unserved ? nil : nodes[Int(index)]
  }

  /// What a redirection taught.
  mutating func learn(_ slot: HashSlot, _ node: RedisURL.Node) { slots[Int(slot.number)] = index(of: node) }

  private mutating func index(of node: RedisURL.Node) -> UInt16 {
    if let index = nodes.firstIndex(of: node) { return UInt16(index) }
    nodes.append(node)
    return UInt16(nodes.count - 1)
  }

  /// Reads the answer to `CLUSTER SLOTS`; `nil` when it is none.
  ///
  /// Each element: first slot, last slot, master, replicas; a node is host, port, id, …
  init?(slots reply: RESPValue, from asked: RedisURL.Node) {
    guard let ranges = reply.elements else { return nil }
    for range in ranges {
      guard let parts = range.elements, parts.count >= 3, let master = parts[2].elements, master.count >= 2,
        let port = master[1].integer.flatMap({ UInt16(exactly: $0) }),
        let node = Self.node(host: master[0].text ?? "", port: port, asked),
        assign(parts[0], parts[1], to: node)
      else { return nil }
    }
  }

  /// Reads the answer to `CLUSTER SHARDS`; `nil` when it is none.
  ///
  /// Each element: a map of "slots" (first and last in turn) and "nodes" (maps with "ip", "endpoint", "port", "role").
  init?(shards reply: RESPValue, from asked: RedisURL.Node) {
    guard let shards = reply.elements else { return nil }
    for shard in shards {
      guard let ranges = shard.value(of: "slots")?.elements, ranges.count.isMultiple(of: 2),
        let members = shard.value(of: "nodes")?.elements
      else { return nil }
      if ranges.isEmpty { continue }
      guard let master = members.first(where: { $0.value(of: "role")?.text == "master" }),
        let port = master.value(of: "port")?.integer.flatMap({ UInt16(exactly: $0) })
      else { return nil }
      // The endpoint is what clients shall use; `?` and null mean: the host that was asked.
      let host = master.value(of: "endpoint")?.text ?? ""
      guard let node = Self.node(host: host, port: port, asked) else { return nil }
      for index in stride(from: 0, to: ranges.count, by: 2) where !assign(ranges[index], ranges[index + 1], to: node) {
        return nil
      }
    }
  }

  private mutating func assign(_ first: RESPValue, _ last: RESPValue, to node: RedisURL.Node) -> Bool {
    guard let first = first.integer, let last = last.integer, first >= 0, last < HashSlot.count, first <= last else {
      return false
    }
    let index = index(of: node)
    for slot in Int(first)...Int(last) { slots[slot] = index }
    return true
  }

  /// - Parameter asked: whose host is meant where none is named.
  static func node(host: String, port: UInt16, _ asked: RedisURL.Node) -> RedisURL.Node? {
    guard port != 0 else { return nil }
    if host.isEmpty || host == "?" {
      guard case .endpoint(let endpoint) = asked else { return nil }
      return .endpoint(Endpoint(endpoint.host, port: port))
    }
    return Host(host).map { .endpoint(Endpoint($0, port: port)) }
  }
}
