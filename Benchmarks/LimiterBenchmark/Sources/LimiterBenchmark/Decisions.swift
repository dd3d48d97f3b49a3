import CMallocCount
import Middlewares
import Pipeline

/// The cost of a decision for keys that are known, each asked as often as any other, in random order.
enum Decisions {
  static func run(keys: Int, threads: Int, millions: Int, algorithm: String) async throws {
    switch algorithm {
    case "token-bucket": try await run(.tokenBucket, keys, threads, millions)
    case "gcra": try await run(.gcra, keys, threads, millions)
    case "leaky-bucket": try await run(.leakyBucket, keys, threads, millions)
    case "fixed-window": try await run(.fixedWindow, keys, threads, millions)
    case "sliding-window": try await run(.slidingWindow, keys, threads, millions)
    case "sliding-log": try await run(.slidingLog, keys, threads, millions, .per(.milliseconds(1), 100))
    default: print("no algorithm is called \(algorithm)")
    }
  }

  private static func run<Algorithm: LimitAlgorithm>(
    _ algorithm: Algorithm, _ keys: Int, _ threads: Int, _ millions: Int,
    _ rate: Rate = .perSecond(1_000_000_000)
  ) async throws {
    // Addresses as clients have them; a hash of the number stands for them.
    let names = (0..<keys).map { LimitKey(bytes: "\($0)".utf8, seed: (1, 2)) }
    let before = Process.residentBytes()
    let store = MemoryLimitStore(
      rate, algorithm: algorithm, options: LimitStoreOptions(initialSize: keys, maxKeys: keys))
    for name in names { _ = try store.take(name, cost: 1, rate: nil, now: now()) }
    let bytes = Process.residentBytes() - before

    let picks = picks(names)
    _ = try decide(store, picks, 1 << 20, from: 0)
    let each = millions * 1_000_000 / threads
    let begin = Process.cpuNanoseconds()
    let mallocs = try await withThrowingTaskGroup(of: Int.self) { group in
      for thread in 0..<threads {
        group.addTask {
          let before = malloc_count_of_this_thread()
          let allowed = try decide(store, picks, each, from: thread * 300_000)
          let mallocs = Int(malloc_count_of_this_thread() - before)
          precondition(allowed > 0)
          return mallocs
        }
      }
      return try await group.reduce(0, +)
    }
    let taken = Process.cpuNanoseconds() - begin
    print(
      "ns \(Double(taken) / Double(each * threads)) bytes \(Double(bytes) / Double(keys)) mallocs \(mallocs)")
  }

  private static func now() -> Instant { Instant(nanoseconds: Process.monotonicNanoseconds()) }

  /// A million random picks in a row in memory, so that what is measured is the limiter's own way through memory.
  private static func picks(_ names: [LimitKey]) -> [LimitKey] {
    var state: UInt64 = 0x9E37_79B9_7F4A_7C15
    return (0..<1 << 20).map { _ in
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return names[Int(((state & 0xffff_ffff) &* UInt64(names.count)) >> 32)]
    }
  }

  @inline(never)
  private static func decide<Algorithm: LimitAlgorithm>(
    _ store: MemoryLimitStore<Algorithm>, _ picks: [LimitKey], _ count: Int, from start: Int
  ) throws -> Int {
    var allowed = 0
    for turn in start..<start + count
    where try store.take(picks[turn & (picks.count - 1)], cost: 1, rate: nil, now: now()).isAllowed {
      allowed += 1
    }
    return allowed
  }
}
