import Pipeline
import PipelineTesting
import Testing

@testable import Transports

/// Strategies by themselves.
@Suite struct BalancerTests {
  /// Backends as a test says.
  struct View: BalancerView {
    var weights: [Double]
    var loads: [Int]
    var latencies: [Double]
    var closed: Set<Int> = []

    init(_ weights: [Double]) {
      self.weights = weights
      loads = weights.map { _ in 0 }
      latencies = weights.map { _ in 0 }
    }

    var count: Int { weights.count }
    func mayTake(_ index: Int) -> Bool { !closed.contains(index) }
    func weight(_ index: Int) -> Double { weights[index] }
    func load(_ index: Int) -> Int { loads[index] }
    func latency(_ index: Int) -> Double { latencies[index] }
  }

  private func balancer(_ strategy: LoadBalancing, _ view: View) -> Balancer {
    Balancer(
      strategy, nodes: view.weights.enumerated().map { Rendezvous.Node("backend-\($0.offset)", weight: $0.element) })
  }

  /// How often each is chosen.
  private func shares(_ strategy: LoadBalancing, _ view: View, _ count: Int = 10_000) -> [Double] {
    let balancer = balancer(strategy, view)
    var random = SeededRandom(seed: 7)
    var chosen = view.weights.map { _ in 0 }
    for _ in 0..<count {
      if let index = balancer.pick(from: view, key: nil, bits: random.next()) { chosen[index] += 1 }
    }
    return chosen.map { Double($0) / Double(count) }
  }

  @Test func roundRobinSpreadsWithinOnePercent() {
    for share in shares(.roundRobin, View([1, 1, 1])) { #expect(abs(share - 1 / 3) < 0.01 / 3) }
  }

  @Test func roundRobinDoesNotHeedWeightsAndSpreadsTheShareOfOneThatIsOut() {
    var view = View([5, 1, 1, 1])
    view.closed = [1]
    let shares = shares(.roundRobin, view)
    #expect(shares[1] == 0)
    // Not the neighbour alone gets what the one that is out would have had.
    for index in [0, 2, 3] { #expect(abs(shares[index] - 1 / 3) < 0.01 / 3) }
  }

  @Test func weightedRoundRobinSpreadsWithinTwoPercentAndEvenly() {
    let shares = shares(.weightedRoundRobin, View([5, 3, 2]))
    for (share, wanted) in zip(shares, [0.5, 0.3, 0.2]) { #expect(abs(share - wanted) < 0.02 * wanted) }
    let view = View([5, 1, 1])
    let balancer = balancer(.weightedRoundRobin, view)
    let order = (0..<7).compactMap { _ in balancer.pick(from: view, key: nil, bits: 0) }
    // The sequence of nginx's own description of the method.
    #expect(order == [0, 0, 1, 0, 2, 0, 0])
  }

  @Test func leastConnectionsTakesTheFewestForItsWeight() {
    var view = View([1, 2, 1])
    view.loads = [3, 4, 5]
    let balancer = balancer(.leastConnections, view)
    #expect(balancer.pick(from: view, key: nil, bits: 1) == 1)
    view.closed = [1]
    #expect(balancer.pick(from: view, key: nil, bits: 1) == 0)
  }

  @Test func leastConnectionsAmongIdleOnesGoesByWeights() {
    let shares = shares(.leastConnections, View([2, 1, 1]))
    for (share, wanted) in zip(shares, [0.5, 0.25, 0.25]) { #expect(abs(share - wanted) < 0.02 * wanted) }
  }

  @Test func randomGoesByWeights() {
    for (share, wanted) in zip(shares(.random, View([5, 3, 2]), 50_000), [0.5, 0.3, 0.2]) {
      #expect(abs(share - wanted) < 0.02)
    }
  }

  @Test func ofTwoChoicesTheBusierOneIsNeverTaken() {
    var view = View([1, 1, 1, 1])
    view.loads = [0, 0, 0, 100]
    let shares = shares(.powerOfTwoChoices, view)
    // The busiest loses against each other one, and there is always another one.
    #expect(shares[3] == 0)
    for share in shares[..<3] { #expect(abs(share - 1 / 3) < 0.03) }
  }

  @Test func peakEWMAPassesOverTheSlowOneAndAwaitsTheFirstAnswerOfAnUnknownOne() {
    var view = View([1, 1])
    view.latencies = [1e6, 20e6]
    #expect(shares(.peakEWMA(), view) == [1, 0])
    view.latencies = [1e6, 0]
    view.loads = [5, 0]
    #expect(shares(.peakEWMA(), view) == [0, 1])
    view.loads = [5, 1]
    #expect(shares(.peakEWMA(), view) == [1, 0])
  }

  @Test func oneOfTenHashBackendsMovesItsOwnShareOfKeysOnly() {
    let ten = View(Array(repeating: 1, count: 10))
    var nine = ten
    nine.closed = [4]
    let balancer = balancer(.hash(.clientAddress), ten)
    var moved = 0
    for key in 0..<10_000 {
      let hash = Rendezvous.hash("client-\(key)")
      let before = balancer.pick(from: ten, key: hash, bits: 0)
      let after = balancer.pick(from: nine, key: hash, bits: 0)
      #expect(after != 4)
      if before != after {
        moved += 1
        #expect(before == 4)
      }
    }
    #expect(Double(moved) / 10_000 <= 0.1 + 0.02)
    #expect(moved > 0)
  }

  @Test func boundedLoadHoldsItsBoundUnderOneHotKey() {
    var view = View(Array(repeating: 1, count: 10))
    let balancer = balancer(.hash(.path, boundedLoad: 1.25), view)
    let hash = Rendezvous.hash("/hot")
    for total in 1...1000 {
      let index = balancer.pick(from: view, key: hash, bits: 0) ?? 0
      view.loads[index] += 1
      #expect(Double(view.loads[index]) <= (1.25 * Double(total) / 10).rounded(.up))
    }
    // Without a bound one backend would have them all.
    #expect(view.loads.count { $0 > 0 } >= 8)
  }

  @Test func keysUnderTheBoundStayWhereTheyAre() {
    let view = View([1, 1, 1])
    let (plain, bounded) = (balancer(.hash(.path), view), balancer(.hash(.path, boundedLoad: 2), view))
    for key in 0..<100 {
      let hash = Rendezvous.hash("/\(key)")
      #expect(plain.pick(from: view, key: hash, bits: 0) == bounded.pick(from: view, key: hash, bits: 0))
    }
  }

  @Test(arguments: [
    LoadBalancing.roundRobin, .weightedRoundRobin, .leastConnections, .random, .powerOfTwoChoices, .peakEWMA(),
    .clientAddressHash, .hash(.clientAddress, boundedLoad: 1.5),
  ])
  func whoMayNotBeTakenIsNotTakenAndTheLastOneIs(_ strategy: LoadBalancing) {
    var view = View([3, 1, 2, 1])
    view.closed = [0, 1, 3]
    #expect(shares(strategy, view, 100) == [0, 0, 1, 0])
    view.closed = [0, 1, 2, 3]
    #expect(shares(strategy, view, 100) == [0, 0, 0, 0])
  }

  @Test func aPeakCountsAtOnceAndFadesWithTime() {
    let decay = Duration.seconds(10)
    var average = PeakEWMA()
    var now = Instant(nanoseconds: 1_000_000_000)
    average.note(.milliseconds(10), at: now, decay: decay)
    average.note(.milliseconds(200), at: now, decay: decay)
    #expect(average.value(at: now, decay: decay) == 200e6)
    // One fast answer at the same moment takes nothing away: it is time that does.
    average.note(.milliseconds(10), at: now, decay: decay)
    #expect(average.value(at: now, decay: decay) == 200e6)
    now = now + .seconds(10)
    #expect(abs(average.value(at: now, decay: decay) / 200e6 - 0.3679) < 0.001)
  }

  @Test func aRefusedConnectionIsNoFastAnswer() {
    var average = PeakEWMA()
    let now = Instant(nanoseconds: 1_000_000_000)
    average.note(.milliseconds(10), at: now, decay: .seconds(10))
    average.noteFailure(.microseconds(50), at: now, decay: .seconds(10))
    #expect(average.value(at: now, decay: .seconds(10)) == 20e6)
  }
}
