import CMallocCount
import Glibc
import Pipeline
import PipelineTesting
import Transports

/// What `Upstreams` itself costs an exchange: the choice, the counts, the record; the upstream answers at once.
enum Cost {
  /// A request whose upstream answers at once, and costs nothing.
  private final class Instantaneous: HTTPExchange {
    override func forward(to destination: ApprovedDestination, over link: UpstreamLink) async throws -> Summary {
      Summary()
    }
  }

  private static let exchanges = 200_000

  static func run() async throws {
    var allocates = false
    print("| strategy | 3 backends, ns | 30 backends, ns | allocations |")
    print("| --- | --- | --- | --- |")
    for (name, strategy) in BalancerSimulator.strategies {
      let few = try await measure(strategy, backends: 3)
      let many = try await measure(strategy, backends: 30)
      allocates = allocates || few.allocations + many.allocations > 0
      print("| \(name) | \(few.nanoseconds) | \(many.nanoseconds) | \(few.allocations + many.allocations) |")
    }
    exit(allocates ? 1 : 0)
  }

  private static func measure(
    _ strategy: LoadBalancing, backends: Int
  ) async throws -> (nanoseconds: Int, allocations: Int) {
    let upstreams = Upstreams(strategy, backends: (1...backends).map { Backend("127.0.0.1:\($0)") })
    let client = MockClient()
    let exchange = Instantaneous(
      id: 1, client: client.address,
      listener: ListenerInfo(name: "cost", transport: "http", address: .ip(.loopbackV4, port: 1)),
      runtime: TestRuntime(), request: client.request)
    for _ in 0..<1000 { _ = try await upstreams.serve(exchange) }
    var best = Int.max
    var fewest = Int.max
    for _ in 0..<5 {
      let allocations = malloc_count_of_this_thread()
      let begin = cpuNanoseconds()
      for _ in 0..<exchanges / 5 { _ = try await upstreams.serve(exchange) }
      best = min(best, (cpuNanoseconds() - begin) / (exchanges / 5))
      fewest = min(fewest, Int(malloc_count_of_this_thread() - allocations))
    }
    // A few in all are those of a thread, not of an exchange.
    return (best, fewest < 10 ? 0 : max(1, fewest / (exchanges / 5)))
  }

  private static func cpuNanoseconds() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
  }
}
