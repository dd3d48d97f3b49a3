import Pipeline

@testable import Transports

/// What every target does with its input besides not crashing on it.
enum Fuzzing {
  /// Where the input is cut for the run that is compared with that in one piece: a few places, which the input itself decides
  /// on, so that the same input fails again.
  static func cuts(_ bytes: [UInt8]) -> [Int] {
    var state = bytes.reduce(UInt64(bytes.count)) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    var ends: [Int] = []
    for _ in 0..<4 {
      state = state &* 6_364_136_223_846_793_005 &+ 1
      ends.append(Int(state >> 33) % (bytes.count + 1))
    }
    ends.sort()
    ends.append(bytes.count)
    return ends
  }

  static func pieces(_ bytes: [UInt8]) -> [[UInt8]] {
    var begin = 0
    return cuts(bytes).map { end in
      defer { begin = end }
      return Array(bytes[begin..<end])
    }
  }

  static func expectSame<Outcome: Equatable>(_ whole: Outcome, _ cut: Outcome, _ what: StaticString) {
    if whole != cut { fail("\(what): in one piece \(whole), in pieces \(cut)") }
  }

  static func expect(_ holds: Bool, _ what: @autoclosure () -> String) {
    if !holds { fail(what()) }
  }

  static func fail(_ what: String) -> Never { fatalError("finding: \(what)") }
}
