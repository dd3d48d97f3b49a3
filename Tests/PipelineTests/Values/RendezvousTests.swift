import Testing

@testable import Pipeline

@Suite struct RendezvousTests {
  private let keys = (0..<30_000).map { "key \($0)" }

  private func nodes(_ weights: [Double]) -> [Rendezvous.Node] {
    weights.enumerated().map { Rendezvous.Node("10.0.0.\($0):6379", weight: $1) }
  }

  private func owners(_ nodes: [Rendezvous.Node]) -> [String] {
    let rendezvous = Rendezvous(nodes)
    return keys.map { nodes[rendezvous.index(for: $0)].name }
  }

  /// Within five standard deviations of a binomial distribution: a fair spread is outside once in a million times, and the keys
  /// are fixed.
  private func expectShare(_ count: Int, _ share: Double, _ what: String) {
    let expected = share * Double(keys.count)
    let deviation = (expected * (1 - share)).squareRoot()
    #expect(abs(Double(count) - expected) < 5 * deviation, "\(what): \(count), expected \(expected)")
  }

  @Test(arguments: [[1, 1], [1, 1, 1, 1, 1, 1, 1], [1, 2, 3, 4], [5, 0.5, 1], [1e-3, 1e-3, 3e-3]])
  func everyNodeHasTheShareOfItsWeight(_ weights: [Double]) {
    let nodes = nodes(weights)
    let owners = owners(nodes)
    for node in nodes {
      expectShare(owners.count { $0 == node.name }, node.weight / weights.reduce(0, +), "\(weights): \(node.name)")
    }
  }

  @Test(arguments: [[1, 1, 1, 1], [1, 2, 3, 4]])
  func keysMoveToAnAddedNodeOnlyAndFromARemovedOneByWeight(_ weights: [Double]) {
    let four = nodes(weights)
    let before = owners(four)
    let after = owners(four + [Rendezvous.Node("new", weight: weights.reduce(0, +) / 4)])
    for (old, new) in zip(before, after) where old != new { #expect(new == "new") }
    expectShare(after.count { $0 == "new" }, 0.2, "moved")
    let without = owners(Array(four.dropLast()))
    let moved = zip(before, without).filter { $0 != $1 }
    #expect(moved.allSatisfy { $0.0 == four[3].name } && moved.count == before.count { $0 == four[3].name })
    #expect(Set(moved.map(\.1)).count == 3, "they are spread over all that are left")
  }

  @Test func aHeavierNodeTakesKeysAndGivesNone() {
    var nodes = nodes([1, 2, 3])
    let before = owners(nodes)
    nodes[0].weight = 2
    let after = owners(nodes)
    for (old, new) in zip(before, after) where old != new { #expect(new == nodes[0].name) }
    #expect(before != after)
  }

  @Test func theOrderInWhichNodesAreNamedDoesNotMatter() {
    for weights in [[1.0, 1, 1, 1], [1.0, 2, 3, 4]] {
      let nodes = nodes(weights)
      #expect(owners(nodes) == owners(nodes.reversed()))
    }
  }

  @Test func withoutANodeThatIsDownItsKeysGoWhereTheyWouldWithoutItAndOthersStay() {
    for weights in [[1.0, 1, 1], [1.0, 2, 3]] {
      let nodes = nodes(weights)
      let all = Rendezvous(nodes)
      let two = Rendezvous(Array(nodes[..<2]))
      for key in keys.prefix(2000) {
        let hash = Rendezvous.hash(key)
        #expect(all.index(for: hash) { $0 != 2 } == two.index(for: hash))
        #expect(all.index(for: hash) { _ in false } == nil)
      }
    }
  }

  @Test func theChoiceIsTheSameInEveryProcess() {
    // Fixed for ever: another choice would lose what is counted where keys lie today.
    let nodes = ["a", "b", "c", "d", "e"].enumerated().map { Rendezvous.Node($1, weight: Double($0 + 1)) }
    let equal = Rendezvous(nodes.map { Rendezvous.Node($0.name) })
    let weighted = Rendezvous(nodes)
    #expect((0..<12).map { equal.index(for: "key \($0)") } == [3, 0, 4, 2, 3, 1, 3, 0, 4, 1, 4, 0])
    #expect((0..<12).map { weighted.index(for: "key \($0)") } == [3, 4, 4, 2, 3, 1, 3, 4, 4, 1, 4, 3])
    #expect(Rendezvous.hash("") == 17_665_956_581_633_026_203)
    #expect(Rendezvous.hash("sluice") == 15_578_201_233_464_586_433)
  }

  @Test func theLogarithmIsRight() {
    #expect(Rendezvous.logarithm(1) == 0)
    for (number, expected) in [
      (2.0, 0.693_147_180_559_945_3), (10, 2.302_585_092_994_045_7), (0.5, -0.693_147_180_559_945_3),
      (1.414_213_562_373_095, 0.346_573_590_279_972_6), (1.5, 0.405_465_108_108_164_4),
      (1e-16, -36.841_361_487_904_73), (1 - 1 / 1_048_576, -9.5367477115389e-07),
    ] {
      let found = Rendezvous.logarithm(number)
      #expect(abs(found - expected) <= abs(expected) * 1e-14, "ln \(number): \(found)")
    }
    // The ends of the range: neither 0 nor infinite.
    #expect(Rendezvous.exponential(0).isFinite && Rendezvous.exponential(0) > 36)
    #expect(Rendezvous.exponential(.max) > 0)
  }

  @Test func whatIsWrongWithNodesIsSaid() {
    #expect(Rendezvous.problems(with: []) == ["no node is named: name one or more"])
    #expect(
      Rendezvous.problems(with: [.init("a"), .init("a", weight: 0)]) == [
        "a is named twice: name each node once", "a has a weight of 0.0: a finite number above 0 is allowed",
      ])
    #expect(Rendezvous.problems(with: [.init("a", weight: .infinity)]).count == 1)
    #expect(Rendezvous.problems(with: [.init("a", weight: 2), .init("b")]).isEmpty)
  }
}
