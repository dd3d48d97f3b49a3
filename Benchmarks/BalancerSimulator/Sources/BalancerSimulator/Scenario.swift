import Glibc

/// Ten backends of eight workers each, asked so often that they have 60 % of what they could do.
struct Scenario {
  static let backends = 10
  static let workers = 8
  static let load = 0.6
  /// Of a fast answer, in seconds.
  static let service = 0.01
  /// Who has waited so long gives up.
  static let patience = 5.0

  let title: String
  var isOneSlow = false
  var isEven = false
  /// Of each backend: how many workers it has beside the usual number.
  var sizes = [Double](repeating: 1, count: backends)
  /// How much longer than usual an answer takes that this backend begins at this time.
  var slowness: @Sendable (_ backend: Int, _ time: Double) -> Double = { _, _ in 1 }
  /// When a backend that stands still at this time goes on; the time itself where it does not stand still.
  var resumes: @Sendable (_ backend: Int, _ time: Double) -> Double = { _, time in time }
  /// One answer of so many takes twenty times as long; 0: none.
  var heavyTail = 0.0

  static let all: [Scenario] = [
    Scenario(title: "all alike", isEven: true),
    Scenario(title: "a heavy tail: one answer of a hundred takes 20 times as long", heavyTail: 0.01),
    Scenario(title: "one is 20 times slower", isOneSlow: true, slowness: { backend, _ in backend == 3 ? 20 : 1 }),
    Scenario(
      title: "one flaps: 2 s fast, 2 s 20 times slower",
      slowness: { backend, time in backend == 3 && fmod(time, 4) >= 2 ? 20 : 1 }),
    Scenario(
      title: "each stands still for 300 ms every 10 s, at its own time",
      resumes: { backend, time in
        let phase = fmod(time + Double(backend), 10)
        return phase < 0.3 ? time + 0.3 - phase : time
      }),
    Scenario(title: "two are four times as large, with weights that say so", sizes: [4, 4, 1, 1, 1, 1, 1, 1, 1, 1]),
  ]
}

/// Random numbers that are the same in every run (SplitMix64).
struct Random {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func bits() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var word = state
    word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
    return word ^ (word >> 31)
  }

  /// Above 0, below 1.
  mutating func fraction() -> Double { (Double(bits() >> 12) + 0.5) / Double(1 << 52) }

  mutating func exponential(_ mean: Double) -> Double { -mean * log(fraction()) }
}
