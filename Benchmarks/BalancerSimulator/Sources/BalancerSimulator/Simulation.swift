import Glibc
import Pipeline
import Transports

/// What came of one run; times in seconds.
struct Result {
  var p50: Double
  var p99: Double
  var longest: Double
  /// The share of those who gave up.
  var gaveUp: Double
  /// Exchanges of the busiest backend, beside its share by weight.
  var spread: Double
}

/// One scenario with one strategy: requests come at random (Poisson), each goes to the backend that the strategy picks, and
/// waits there for a worker.
struct Simulation {
  private struct Request {
    let came: Double
    let backend: Int
  }

  private enum Happening {
    case arrival
    /// A worker is through.
    case done(Request)
  }

  /// What the strategy sees.
  private struct View: BalancerView {
    var weights: [Double]
    var loads: [Int]
    var averages: [PeakEWMA]
    var now = Instant(nanoseconds: 0)

    var count: Int { loads.count }
    func mayTake(_ index: Int) -> Bool { true }
    func weight(_ index: Int) -> Double { weights[index] }
    func load(_ index: Int) -> Int { loads[index] }
    func latency(_ index: Int) -> Double { averages[index].value(at: now, decay: Simulation.decay) }
  }

  private static let decay = Duration.seconds(10)
  /// Clients, for the strategies that hash.
  private static let clients = 1000

  private let scenario: Scenario
  private let balancer: Balancer
  private let seconds: Double
  private var view: View
  private var queues: [[Request]]
  private var heads: [Int]
  private var free: [Int]
  private var events = EventQueue<Happening>()
  private var random = Random(seed: 42)
  private var latencies: [Double] = []
  private var served: [Int]
  private var gaveUp = 0

  init(_ scenario: Scenario, _ strategy: LoadBalancing, seconds: Double) {
    self.scenario = scenario
    self.seconds = seconds
    let count = Scenario.backends
    balancer = Balancer(
      strategy, nodes: scenario.sizes.enumerated().map { Rendezvous.Node("backend-\($0.offset)", weight: $0.element) })
    view = View(
      weights: scenario.sizes, loads: [Int](repeating: 0, count: count),
      averages: [PeakEWMA](repeating: PeakEWMA(), count: count))
    queues = [[Request]](repeating: [], count: count)
    heads = [Int](repeating: 0, count: count)
    free = scenario.sizes.map { Int($0 * Double(Scenario.workers)) }
    served = [Int](repeating: 0, count: count)
  }

  consuming func run() -> Result {
    let capacity = scenario.sizes.reduce(0, +) * Double(Scenario.workers) / Scenario.service
    let interval = 1 / (capacity * Scenario.load)
    events.add(at: 0, .arrival)
    while let (time, happening) = events.next() {
      view.now = Instant(nanoseconds: 1_000_000_000 + UInt64(time * 1e9))
      switch happening {
      case .arrival:
        arrive(at: time)
        let next = time + random.exponential(interval)
        if next < seconds { events.add(at: next, .arrival) }
      case .done(let request):
        finish(request, at: time)
        free[request.backend] += 1
        startWaiting(request.backend, at: time)
      }
    }
    return result()
  }

  private mutating func arrive(at time: Double) {
    let key = Rendezvous.hash("client-\(random.bits() % UInt64(Self.clients))")
    guard let backend = balancer.pick(from: view, key: key, bits: random.bits()) else { return }
    served[backend] += 1
    view.loads[backend] += 1
    queues[backend].append(Request(came: time, backend: backend))
    startWaiting(backend, at: time)
  }

  private mutating func startWaiting(_ backend: Int, at time: Double) {
    while free[backend] > 0, heads[backend] < queues[backend].count {
      let request = queues[backend][heads[backend]]
      heads[backend] += 1
      if heads[backend] > 4096 {
        queues[backend].removeFirst(heads[backend])
        heads[backend] = 0
      }
      if time - request.came > Scenario.patience {
        // It had gone before its turn came.
        finish(request, at: request.came + Scenario.patience)
        continue
      }
      free[backend] -= 1
      let begin = scenario.resumes(backend, time)
      var length = random.exponential(Scenario.service) * scenario.slowness(backend, begin)
      if scenario.heavyTail > 0, random.fraction() < scenario.heavyTail { length *= 20 }
      // A pause in the middle of an answer makes it longer, too.
      let end = scenario.resumes(backend, begin + length)
      events.add(at: end, .done(request))
    }
  }

  private mutating func finish(_ request: Request, at time: Double) {
    let latency = min(time - request.came, Scenario.patience)
    if latency >= Scenario.patience { gaveUp += 1 }
    latencies.append(latency)
    view.loads[request.backend] -= 1
    view.averages[request.backend].note(.nanoseconds(Int64(latency * 1e9)), at: view.now, decay: Self.decay)
  }

  private consuming func result() -> Result {
    latencies.sort()
    let count = latencies.count
    let total = Double(served.reduce(0, +))
    let weights = scenario.sizes.reduce(0, +)
    let shares = zip(served, scenario.sizes).map { Double($0) / (total * $1 / weights) }
    return Result(
      p50: latencies[count / 2], p99: latencies[count * 99 / 100], longest: latencies[count - 1],
      gaveUp: Double(gaveUp) / Double(count), spread: shares.max() ?? 0)
  }
}

/// What happens, by time: a binary heap.
struct EventQueue<Content> {
  private var heap: [(time: Double, content: Content)] = []

  mutating func add(at time: Double, _ content: Content) {
    heap.append((time, content))
    var index = heap.count - 1
    while index > 0, heap[index].time < heap[(index - 1) / 2].time {
      heap.swapAt(index, (index - 1) / 2)
      index = (index - 1) / 2
    }
  }

  mutating func next() -> (Double, Content)? {
    guard let first = heap.first else { return nil }
    let last = heap.removeLast()
    if heap.isEmpty { return first }
    heap[0] = last
    var index = 0
    while true {
      var least = index
      for child in [2 * index + 1, 2 * index + 2] where child < heap.count && heap[child].time < heap[least].time {
        least = child
      }
      if least == index { return first }
      heap.swapAt(index, least)
      index = least
    }
  }
}
