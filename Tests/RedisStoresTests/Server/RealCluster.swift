import Glibc
import Pipeline
import Testing

@testable import RedisStores

/// Starts three nodes, gives each a third of the slots and waits until they agree.
func withRedisCluster(_ body: ([RedisServer], String, RedisWorld) async throws -> Void) async throws {
  let files = (0..<3).map { "sluice-nodes-\(getpid())-\(UInt64.random(in: .min ... .max))-\($0).conf" }
  for file in files { unlink("/tmp/\(file)") }
  defer { for file in files { unlink("/tmp/\(file)") } }
  let buses = try (0..<3).map { _ in try RedisServer.freePort() }
  let servers = try (0..<3).map { index in
    try RedisServer(
      "--cluster-enabled", "yes", "--cluster-config-file", files[index], "--cluster-port", "\(buses[index])",
      "--cluster-node-timeout", "2000")
  }
  try await withWorld { world in
    let slots = [(0, 5460), (5461, 10922), (10923, 16383)]
    for (index, server) in servers.enumerated() {
      let node = try RedisClient(server.url)
      world.run { try await node.run($0) }
      try await node.whenRunning()
      _ = try await node.send(
        RedisCommand("CLUSTER", "ADDSLOTSRANGE", .integer(slots[index].0), .integer(slots[index].1)))
      _ = try await node.send(
        RedisCommand("CLUSTER", "MEET", "127.0.0.1", .integer(servers[0].port), .integer(buses[0])))
    }
    for server in servers { try await agree(server, world) }
    let places = servers.map { "127.0.0.1:\($0.port)" }.joined(separator: ",")
    try await body(servers, "redis-cluster://\(places)", world)
  }
}

/// No event of this process tells when the nodes agree.
private func agree(_ server: RedisServer, _ world: RedisWorld) async throws {
  let node = try RedisClient(server.url)
  world.run { try await node.run($0) }
  try await node.whenRunning()
  let end = world.services.now + .seconds(60)
  while true {
    let info = try await node.send(RedisCommand("CLUSTER", "INFO")).text ?? ""
    let known = try await node.send(RedisCommand("CLUSTER", "SLOTS")).elements?.count
    if info.contains("cluster_state:ok"), info.contains("cluster_known_nodes:3"), known == 3 { return }
    try #require(world.services.now < end, "the cluster does not come up: \(info)")
    try await world.services.sleep(for: .milliseconds(10))
  }
}
