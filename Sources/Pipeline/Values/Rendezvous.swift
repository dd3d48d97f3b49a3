/// Which of several nodes a key belongs to: the same in every process that names the same nodes, without any of them talking.
///
/// ```swift
/// let nodes = Rendezvous([.init("10.0.0.1:6379"), .init("10.0.0.2:6379", weight: 2)])
/// let node = nodes.index(for: token)
/// ```
/// Highest random weight (Thaler and Ravishankar 1998), with weights by logarithms (Schindelhauer and Schomaker 2005): every
/// node draws a number for every key, and the smallest wins. A node has the share of keys that its weight is of all weights.
/// When a node is added, keys move to it only; when one is removed, only its own keys move, to the others by their weights;
/// when a weight changes, keys move to or from that node only. The order in which the nodes are named does not matter.
///
/// Costs a pass over the key and some nanoseconds for each node; allocates nothing. It is no protection: whoever chooses keys
/// can choose their node.
public struct Rendezvous: Sendable {
  /// One of those among which keys are spread.
  public struct Node: Hashable, Sendable {
    /// What every process calls it, and nobody else.
    public var name: String
    /// How much it takes, beside the others: above 0, and finite.
    public var weight: Double

    public init(_ name: String, weight: Double = 1) {
      self.name = name
      self.weight = weight
    }
  }

  public let nodes: [Node]
  private let hashes: [UInt64]
  private let isWeighted: Bool

  /// - Parameter nodes: one or more, each name once; ``problems(with:)`` says what is wrong.
  public init(_ nodes: [Node]) {
    if let problem = Self.problems(with: nodes).first { preconditionFailure("Rendezvous: \(problem)") }
    self.nodes = nodes
    hashes = nodes.map { Self.hash($0.name) }
    isWeighted = nodes.contains { $0.weight != nodes[0].weight }
  }

  /// What is wrong with these nodes, one sentence each.
  public static func problems(with nodes: [Node]) -> [String] {
    if nodes.isEmpty { return ["no node is named: name one or more"] }
    var problems: [String] = []
    for (index, node) in nodes.enumerated() {
      if nodes[..<index].contains(where: { $0.name == node.name }) {
        problems.append("\(node.name) is named twice: name each node once")
      }
      if !(node.weight > 0 && node.weight.isFinite) {
        problems.append("\(node.name) has a weight of \(node.weight): a finite number above 0 is allowed")
      }
    }
    return problems
  }

  /// The place in ``nodes`` of the one that a key belongs to.
  public func index(for key: String) -> Int { index(for: Self.hash(key)) }

  /// The same for a key that was hashed before, by ``hash(_:)``.
  public func index(for hash: UInt64) -> Int { index(for: hash) { _ in true } ?? 0 }

  /// The first that may be used, in the order in which nodes stand in for each other for this key; `nil`: none may.
  ///
  /// Without one that is down its keys go to the others by their weights, and all other keys stay where they are.
  public func index(for hash: UInt64, where mayUse: (Int) -> Bool) -> Int? {
    var best: Int?
    if !isWeighted {
      // The order of the draws is that of the numbers: no logarithm is needed.
      var highest: UInt64 = 0
      for index in nodes.indices where mayUse(index) {
        let drawn = Self.mixed(hash, hashes[index])
        if let held = best, (drawn, hashes[index]) < (highest, hashes[held]) { continue }
        (best, highest) = (index, drawn)
      }
      return best
    }
    var least = Double.infinity
    for index in nodes.indices where mayUse(index) {
      let drawn = Self.exponential(Self.mixed(hash, hashes[index])) / nodes[index].weight
      if let held = best, (drawn, hashes[held]) > (least, hashes[index]) { continue }
      (best, least) = (index, drawn)
    }
    return best
  }

  /// 64 bits of a key, the same in every process and on every machine: FNV-1a, mixed.
  public static func hash(_ key: String) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in key.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    return mixed(hash)
  }

  /// The same of bytes that are no `String`.
  public static func hash(_ key: borrowing Span<UInt8>) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for i in 0..<key.count { hash = (hash ^ UInt64(key[i])) &* 0x0000_0100_0000_01b3 }
    return mixed(hash)
  }

  private static func mixed(_ key: UInt64, _ node: UInt64) -> UInt64 { mixed(key ^ (node &* 0x9e37_79b9_7f4a_7c15)) }

  /// The finisher of MurmurHash3, as improved by Stafford (variant 13): each bit in changes each bit out half of the time.
  private static func mixed(_ word: UInt64) -> UInt64 {
    var word = word
    word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
    return word ^ (word >> 31)
  }

  /// A draw from the exponential distribution: the logarithm of a uniform number of 0 to 1, which is neither, negated.
  static func exponential(_ bits: UInt64) -> Double { -logarithm((Double(bits >> 12) + 0.5) / Double(1 << 52)) }

  /// The natural logarithm of a number above 0: by its exponent, and the series of the inverse hyperbolic tangent for the rest.
  /// Only basic operations, whose results IEEE 754 fixes to the last bit: so all machines agree, which those of C libraries do
  /// not.
  static func logarithm(_ number: Double) -> Double {
    var significand = number.significand
    var exponent = Double(number.exponent)
    if significand > 1.414_213_562_373_095_1 {
      significand /= 2
      exponent += 1
    }
    let ratio = (significand - 1) / (significand + 1)
    let square = ratio * ratio
    var sum = 0.0
    // The ratio is below 0.172: the term after the last adds less than the last bit.
    for power in stride(from: 19, through: 1, by: -2) { sum = sum * square + 1 / Double(power) }
    return exponent * 0.693_147_180_559_945_3 + 2 * ratio * sum
  }
}
