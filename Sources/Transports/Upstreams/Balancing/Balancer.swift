public import Pipeline
internal import Synchronization

/// What a ``Balancer`` sees of the backends that it chooses from.
public protocol BalancerView {
  var count: Int { get }
  /// Whether the one at this index may be chosen now.
  func mayTake(_ index: Int) -> Bool
  /// Its share beside the others, above 0.
  func weight(_ index: Int) -> Double
  /// Exchanges that it has.
  func load(_ index: Int) -> Int
  /// Its latency in nanoseconds, as ``PeakEWMA`` keeps it; 0: nothing is known.
  func latency(_ index: Int) -> Double
}

/// A strategy at work, apart from everything that is chosen for: the same for an exchange and for a simulation.
///
/// From any thread. In turn and by the fewest it takes a lock for the length of a choice; the others take none.
public struct Balancer: Sendable {
  /// Whose turn it is: smooth weighted round robin keeps a number for each.
  private final class Turns: Sendable {
    let current: Mutex<[Double]>
    init(_ count: Int) { current = Mutex(Array(repeating: 0, count: count)) }
  }

  private let kind: LoadBalancing.Kind
  private let turns: Turns
  private let rendezvous: Rendezvous?

  /// - Parameter nodes: the names and weights of the backends, in the order of the view.
  public init(_ strategy: LoadBalancing, nodes: [Rendezvous.Node]) {
    if case .sticky(_, let otherwise) = strategy.kind { kind = otherwise.kind } else { kind = strategy.kind }
    turns = Turns(nodes.count)
    if case .hash = kind, !nodes.isEmpty { rendezvous = Rendezvous(nodes) } else { rendezvous = nil }
  }

  /// Chooses one of those that may be taken; `nil`: there is none.
  ///
  /// - Parameters:
  ///   - key: for a hash; `nil`: the exchange has none.
  ///   - bits: 64 random ones.
  public func pick<View: BalancerView>(from view: View, key: UInt64?, bits: UInt64) -> Int? {
    var draw = Draw(bits)
    switch kind {
    case .turns(let weighted): return nextInTurn(view, isWeighted: weighted) { _ in true }
    case .leastConnections: return fewest(view)
    case .random: return anyByWeight(view, &draw)
    case .twoChoices:
      return better(view, &draw) { Double(view.load($0)) / view.weight($0) }
    case .peakEWMA:
      return better(view, &draw) { index in
        let latency = view.latency(index), load = view.load(index)
        // Nothing is known of it and somebody waits for the first answer: that one is awaited before more are sent.
        if latency == 0, load > 0 { return Self.unknownPenalty * Double(load) }
        return latency * Double(load + 1) / view.weight(index)
      }
    case .hash(_, let bound): return byHash(view, key ?? bits, bound)
    case .sticky: return nil  // it has been replaced by what it falls back to
    }
  }

  /// Longer than any latency, in nanoseconds (Finagle's idea): about 100 days.
  private static let unknownPenalty = 1e16

  // MARK: In turn

  /// Smooth weighted round robin: everybody gains its weight, the richest is taken and pays what all have gained.
  private func nextInTurn<View: BalancerView>(
    _ view: View, isWeighted: Bool, where isMeant: (Int) -> Bool
  ) -> Int? {
    turns.current.withLock { current in
      var best: Int?
      var total = 0.0
      for index in 0..<min(view.count, current.count) where view.mayTake(index) && isMeant(index) {
        let weight = isWeighted ? view.weight(index) : 1
        current[index] += weight
        total += weight
        if let held = best, current[index] <= current[held] { continue }
        best = index
      }
      if let best { current[best] -= total }
      return best
    }
  }

  // MARK: By what they have to do

  private func fewest<View: BalancerView>(_ view: View) -> Int? {
    var least = Double.infinity
    for index in 0..<view.count where view.mayTake(index) {
      least = min(least, Double(view.load(index)) / view.weight(index))
    }
    guard least.isFinite else { return nil }
    // Somebody may have come or gone meanwhile: whoever has no more than that is as good.
    let chosen = nextInTurn(view, isWeighted: true) { Double(view.load($0)) / view.weight($0) <= least }
    return chosen ?? nextInTurn(view, isWeighted: true) { _ in true }
  }

  private func better<View: BalancerView>(
    _ view: View, _ draw: inout Draw, cost: (Int) -> Double
  ) -> Int? {
    guard let first = any(view, &draw, but: -1) else { return nil }
    guard let second = any(view, &draw, but: first) else { return first }
    return cost(second) < cost(first) ? second : first
  }

  /// One of those that may be taken, each as likely as the others while not most of them are out.
  private func any<View: BalancerView>(_ view: View, _ draw: inout Draw, but other: Int) -> Int? {
    let count = view.count
    guard count > 0 else { return nil }
    for _ in 0..<8 {
      let index = draw.index(below: count)
      if index != other, view.mayTake(index) { return index }
    }
    let start = draw.index(below: count)
    for step in 0..<count {
      let index = (start + step) % count
      if index != other, view.mayTake(index) { return index }
    }
    return nil
  }

  private func anyByWeight<View: BalancerView>(_ view: View, _ draw: inout Draw) -> Int? {
    var total = 0.0
    for index in 0..<view.count where view.mayTake(index) { total += view.weight(index) }
    var rest = draw.fraction() * total
    var last: Int?
    for index in 0..<view.count where view.mayTake(index) {
      last = index
      rest -= view.weight(index)
      if rest < 0 { break }
    }
    return last
  }

  // MARK: By a key

  private func byHash<View: BalancerView>(_ view: View, _ key: UInt64, _ bound: Double?) -> Int? {
    guard let rendezvous, rendezvous.nodes.count == view.count else { return nil }
    if let bound {
      var load = 1.0
      var weights = 0.0
      for index in 0..<view.count where view.mayTake(index) {
        load += Double(view.load(index))
        weights += view.weight(index)
      }
      let chosen = rendezvous.index(for: key) { index in
        // Rounded up, so that all together always have room for one more.
        view.mayTake(index)
          && Double(view.load(index) + 1) <= (bound * load * view.weight(index) / weights).rounded(.up)
      }
      if let chosen { return chosen }
    }
    return rendezvous.index(for: key) { view.mayTake($0) }
  }
}

/// Several random numbers out of one (SplitMix64).
private struct Draw {
  private var state: UInt64

  init(_ bits: UInt64) { state = bits }

  private mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var word = state
    word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
    return word ^ (word >> 31)
  }

  mutating func index(below count: Int) -> Int { Int(next().multipliedFullWidth(by: UInt64(count)).high) }

  /// 0 and more, below 1.
  mutating func fraction() -> Double { Double(next() >> 11) / Double(1 << 53) }
}
