import Glibc
import Middlewares
import Pipeline

/// Two threads ask with keys that were never seen; clients who are known ask before, in the middle and afterwards.
enum Attack {
  static func run(keys: Int) async throws {
    let maxKeys = 100_000
    let known = 50_000
    let clients = (0..<known).map { LimitKey.named("client \($0)") }
    let before = Process.residentBytes()
    let store = MemoryLimitStore(
      .perHour(3), algorithm: .tokenBucket, options: LimitStoreOptions(initialSize: 1000, maxKeys: maxKeys))
    let start = Instant(nanoseconds: 1_000_000_000)
    for client in clients { _ = try store.take(client, cost: 1, rate: nil, now: start) }
    let wrong = try await withThrowingTaskGroup(of: Int.self) { group in
      for thread in 0..<2 {
        group.addTask {
          for attacker in 0..<keys / 2 {
            let number = UInt64(thread * keys + attacker)
            let key = LimitKey(bytes: (0..<8).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }, seed: (3, 4))
            _ = try store.take(key, cost: 1, rate: nil, now: start)
          }
          return 0
        }
      }
      group.addTask {
        // One more each, while the attack goes on; then they have one left.
        try clients.count { try store.take($0, cost: 1, rate: nil, now: start).remaining != 1 }
      }
      return try await group.reduce(0, +)
    }
    let grown = Process.residentBytes() - before
    var wrongAfter = 0
    for client in clients {
      if try !store.take(client, cost: 1, rate: nil, now: start).isAllowed { wrongAfter += 1 }
      if try store.take(client, cost: 1, rate: nil, now: start).isAllowed { wrongAfter += 1 }
    }
    let counts = store.counts
    let perKey = Double(grown) / Double(maxKeys)
    print("\(keys) keys, maxKeys \(maxKeys): \(counts.kept) kept, \(counts.turnedAway) turned away")
    print("resident memory grew by \(perKey.rounded()) bytes for each of maxKeys; allowed are 64 and the key's 16")
    print("wrong decisions for \(known) known keys: \(wrong) during, \(wrongAfter) after the attack")
    let isWhole = counts.kept == maxKeys && counts.turnedAway == keys - (maxKeys - known)
    if perKey > 80 || wrong + wrongAfter > 0 || !isWhole { exit(1) }
  }
}
