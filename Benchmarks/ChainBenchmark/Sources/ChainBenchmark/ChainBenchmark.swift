import CMallocCount
import Glibc
import Pipeline
import PipelineTesting
import Synchronization

/// Prints what one pass through a chain costs, in nanoseconds and allocations, for 0, 1, 5, 20 and 50 middlewares, and the
/// ratio of a layer to a plain out-of-line async call of the same run.
///
/// `swift run -c release --package-path Benchmarks/ChainBenchmark` (`--quick`: fewer rounds, for a look; `--check`: exit 1
/// when a pass allocates, or an empty layer costs more than 3 plain calls; `--only NAME`: one middleware for ten seconds or
/// so, for a profiler; `--identities COUNT`: what an identity takes in memory that is tracked, and that has quotas)
@main struct ChainBenchmark {
  private static let failures = Mutex<[String]>([])

  static func main() async throws {
    let rounds = CommandLine.arguments.contains("--quick") ? 3 : 9
    if let flag = CommandLine.arguments.firstIndex(of: "--only"), flag + 1 < CommandLine.arguments.count {
      return try await one(CommandLine.arguments[flag + 1])
    }
    if let flag = CommandLine.arguments.firstIndex(of: "--identities"), flag + 1 < CommandLine.arguments.count {
      return try await Identities.print(count: Int(CommandLine.arguments[flag + 1]) ?? 100_000)
    }
    let exchange = MockTCPExchange()
    let request = UnansweredExchange(
      id: 1, client: exchange.client, listener: exchange.listener, runtime: exchange.runtime,
      request: HTTPRequestHead(method: .get, target: "/users/7"))

    print("chain                          ns/pass   ns/layer   x plain call   mallocs/pass")
    let plain = try await measure(rounds) { try await plainCall(exchange) }
    report("a plain out-of-line async call", plain, layers: 0, empty: plain, plain: plain)

    for (title, counting) in [("counted", Counting.counts), ("not counted", .off)] {
      var empty = plain
      for (count, make) in chains(counting) {
        let service = try make()
        let result = try await measure(rounds) {
          exchange.recycle(id: 1)
          return try await service.serve(exchange)
        }
        if count == 0 { empty = result }
        report("tcp \(count), \(title)", result, layers: count, empty: empty, plain: plain)
      }
    }

    var noChain = plain
    for (name, layers, make) in [("no chain", 0, chains(.counts)[0].make)] + realChains() {
      let service = try make()
      let result = try await measure(rounds) {
        exchange.recycle(id: 1)
        return try await service.serve(exchange)
      }
      if layers == 0 { noChain = result }
      report(name, result, layers: layers, empty: noChain, plain: plain, hasWork: true)
    }

    let http = try Service(
      Listener(.http, on: ":1") {
        Layer()
        Responding()
        Someone()
        PerIdentity()
        Responding()
      } to: {
        HTTPLeaf()
      }, shards: 1)
    let httpEmpty = try Service(
      Listener(.http, on: ":1") {
      } to: {
        HTTPLeaf()
      }, shards: 1)
    let none = try await measure(rounds) {
      request.recycle(id: 1)
      return try await httpEmpty.serve(request)
    }
    report("http 0 with commit, counted", none, layers: 0, empty: none, plain: plain)
    let five = try await measure(rounds) {
      request.recycle(id: 1)
      return try await http.serve(request)
    }
    report("http 5 (identity, 2 respond)", five, layers: 5, empty: none, plain: plain)

    let routed = try Service(
      Listener(.http, on: ":1") {
      } to: {
        Route("/a", methods: [.post], to: { HTTPLeaf() })
        Route("/:name") {
          Responding()
        } to: {
          HTTPLeaf()
        }
      }, shards: 1)
    let route = try await measure(rounds) {
      request.recycle(id: 1)
      return try await routed.serve(request)
    }
    report("http, the second of two routes", route, layers: 0, empty: none, plain: plain)

    let header: [UInt8] = Array("Basic YS11c2VyLW5hbWUtbG9uZ2VyLXRoYW4tMTUtYnl0ZXM6cHc=".utf8)
    let state = Authority()
    request.rememberIdentity(Principal("a-user-name-longer-than-15-bytes"), for: header.span, by: state, version: 1)
    let remembered = try await measure(rounds) {
      request.principal = request.rememberedIdentity(Principal.self, for: header.span, by: state, version: 1)
      return Summary()
    }
    report("a remembered identity", remembered, layers: 0, empty: none, plain: plain)

    let key = try await measure(rounds) {
      exchange.recycle(id: 1)
      exchange[Number.self] += 1
      return Summary()
    }
    report("recycle, a key read and set", key, layers: 0, empty: none, plain: plain)
    print("")
    try await Identities.print(count: 100_000)

    let failures = failures.withLock { $0 }
    if CommandLine.arguments.contains("--check"), !failures.isEmpty {
      print(failures.map { "failed: \($0)" }.joined(separator: "\n"))
      exit(1)
    }
  }

  /// A chain of one middleware, by the name of its row, for a profiler.
  private static func one(_ name: String) async throws {
    let exchange = MockTCPExchange()
    for (row, _, make) in realChains() where row == name {
      let service = try make()
      let cost = try await measure(100) {
        exchange.recycle(id: 1)
        return try await service.serve(exchange)
      }
      print(row, tenths(cost.nanoseconds), "ns", tenths(cost.mallocs), "mallocs")
    }
  }

  private struct Cost {
    var nanoseconds: Double
    var mallocs: Double
  }

  /// The CPU time of the fastest of several rounds, so that what else runs on the machine counts as little as it can. The
  /// first round warms up.
  @inline(never) private static func measure(
    _ rounds: Int, _ body: () async throws -> Summary
  ) async throws -> Cost {
    let passes = 50_000
    var times: [Double] = []
    var mallocs = 0.0
    for round in 0...rounds {
      let mallocsBefore = malloc_count_of_this_thread()
      let begin = threadTime()
      for _ in 0..<passes { _ = try await body() }
      let taken = threadTime() - begin
      mallocs = Double(malloc_count_of_this_thread() - mallocsBefore) / Double(passes)
      if round > 0 { times.append(Double(taken) / Double(passes)) }
    }
    return Cost(nanoseconds: times.min() ?? 0, mallocs: mallocs)
  }

  private static func note(_ failure: String) { failures.withLock { $0.append(failure) } }

  private static func threadTime() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
  }

  private static func report(_ name: String, _ cost: Cost, layers: Int, empty: Cost, plain: Cost, hasWork: Bool = false)
  {
    let layer = layers > 0 ? (cost.nanoseconds - empty.nanoseconds) / Double(layers) : 0
    if cost.mallocs >= 0.01 { note("\(name): \(cost.mallocs) mallocs a pass, allowed is 0") }
    if !hasWork, layer > 3 * plain.nanoseconds { note("\(name): a layer costs more than 3 plain calls") }
    let ratio = layers > 0 ? layer / plain.nanoseconds : cost.nanoseconds / plain.nanoseconds
    print(
      padded(name, 30, left: true), padded(tenths(cost.nanoseconds), 8), padded(layers > 0 ? tenths(layer) : "", 10),
      padded(layers > 0 ? tenths(ratio) : "", 14), padded(tenths(cost.mallocs), 14))
  }

  private static func tenths(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }

  private static func padded(_ text: String, _ width: Int, left: Bool = false) -> String {
    let fill = String(repeating: " ", count: max(0, width - text.count))
    return left ? text + fill : fill + text
  }
}
