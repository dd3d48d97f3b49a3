import Glibc
import Middlewares
import Pipeline
import PipelineTesting

/// What an identity takes in memory: its name, its row, its place in the table, and the unused places beside it.
enum Identities {
  static func print(count: Int) async throws {
    Swift.print("\(count) identities, names of 24 bytes      bytes/identity")
    let usage = MemoryUsageStore(maxAccounts: count)
    try await report("UsageTracking", count) { exchange, _ in
      _ = try await UsageTracking(usage).handle(exchange) { Summary(traffic: Traffic(up: 1, down: 1)) }
    }
    let quotas = QuotaStore(maxAccounts: count)
    let requests = UsageQuota(.requests(100, per: .day), per: .identity, in: quotas)
    try await report("UsageQuota(.requests(per: .day))", count) { exchange, identity in
      _ = try await requests.through(exchange, identity) { Summary() }
    }
    let both = QuotaStore(maxAccounts: count)
    let bytes = UsageQuota(.bytes(1_000_000, per: .month), per: .identity, in: both)
    let time = UsageQuota(.time(.seconds(100), per: .rolling(.seconds(86_400))), per: .identity, in: both)
    try await report("bytes a month, time in 24 rolling hours", count) { exchange, identity in
      _ = try await bytes.through(exchange, identity) {
        try await time.through(exchange, identity) {
          exchange.traffic.up += 100
          return Summary()
        }
      }
    }
    precondition(usage.global()?.requests == count && quotas.accountCount == count && both.accountCount == count)
  }

  private static func report(
    _ name: String, _ count: Int, _ pass: (MockTCPExchange, Principal) async throws -> Void
  ) async throws {
    let before = resident()
    for number in 0..<count {
      let exchange = MockTCPExchange(id: UInt64(number + 1))
      let digits = String(10_000_000_000 + number)
      let identity = Principal("user-\(digits)@example")
      exchange.principal = identity
      try await pass(exchange, identity)
    }
    let each = (resident() - before) / count
    Swift.print(name + String(repeating: " ", count: max(1, 44 - name.count)) + "\(each)")
  }

  private static func resident() -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var size = 0
    var resident = 0
    withUnsafeMutablePointer(to: &size) { size in
      withUnsafeMutablePointer(to: &resident) { resident in
        _ = withVaList([size, resident]) { vfscanf(file, "%ld %ld", $0) }
      }
    }
    return resident * 4096
  }
}
