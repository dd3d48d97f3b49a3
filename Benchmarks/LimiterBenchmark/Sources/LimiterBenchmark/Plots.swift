import Glibc
import Middlewares
import Pipeline

/// What each algorithm lets through of the same load, 10 a second with a burst of 10, drawn.
enum Plots {
  private struct Load {
    /// When exchanges come, in milliseconds: 4 a second; from 1.7 to 2.4 s 60 a second; silence; 30 at 4.9 s; 20 a second.
    static let arrivals: [Int] = {
      let calm = stride(from: 0, to: 1700, by: 250).map { $0 }
      let wave = stride(from: 1700, to: 2400, by: 17).map { $0 }
      let crowd = [Int](repeating: 4900, count: 30)
      let steady = stride(from: 5000, to: 8000, by: 50).map { $0 }
      return calm + wave + crowd + steady
    }()
    static let end = 8000
    static let bin = 100
  }

  static func write(to folder: String) throws {
    let algorithms: [(String, String, [Int])] = [
      ("token-bucket", "token bucket, 10 per second, burst 10", try admitted(.tokenBucket)),
      (
        "token-bucket-whole-interval", "token bucket, whole intervals, 10 per second, burst 10",
        try admitted(.tokenBucket(refill: .wholeInterval))
      ),
      ("gcra", "GCRA, 10 per second, burst 1", try admitted(.gcra, .perSecond(10, burst: 1))),
      ("leaky-bucket", "leaky bucket, 10 per second, queue of 10: when they leave", try admitted(.leakyBucket)),
      ("fixed-window", "fixed window, 10 per second", try admitted(.fixedWindow)),
      ("sliding-window", "sliding window counter, 10 per second", try admitted(.slidingWindow)),
      ("sliding-log", "sliding log, 10 per second", try admitted(.slidingLog)),
    ]
    for (name, title, times) in algorithms {
      let path = "\(folder)/\(name).svg"
      guard let file = fopen(path, "w") else {
        print("\(path) cannot be written: \(String(cString: strerror(errno)))")
        exit(1)
      }
      fputs(drawing(title, times), file)
      fclose(file)
      print(path, "most in any second:", mostInASecond(times))
    }
  }

  /// When those that are let through go on, in milliseconds.
  private static func admitted<Algorithm: LimitAlgorithm>(
    _ algorithm: Algorithm, _ rate: Rate = .perSecond(10)
  ) throws -> [Int] {
    let store = MemoryLimitStore(rate, algorithm: algorithm)
    var times: [Int] = []
    for arrival in Load.arrivals {
      let now = Instant(nanoseconds: 3_600_000_000_000 + UInt64(arrival) * 1_000_000)
      let decision = try store.take(.global, cost: 1, rate: nil, now: now)
      if decision.isAllowed { times.append(arrival + Int(decision.delay.nanosecondsClamped / 1_000_000)) }
    }
    return times
  }

  /// In any second that does not include its end.
  private static func mostInASecond(_ times: [Int]) -> Int {
    times.map { start in times.count { $0 >= start && $0 < start + 1000 } }.max() ?? 0
  }

  private static func bins(_ times: [Int]) -> [Int] {
    var bins = [Int](repeating: 0, count: Load.end / Load.bin)
    for time in times where time < Load.end { bins[time / Load.bin] += 1 }
    return bins
  }

  private static func drawing(_ title: String, _ times: [Int]) -> String {
    let left = 36
    let top = 34
    let height = 150
    let width = 8
    let most = 32
    func y(_ count: Int) -> Int { top + height - count * height / most }
    func bars(_ counts: [Int], _ color: String) -> String {
      counts.enumerated().filter { $0.element > 0 }.map { bin, count in
        #"<rect x="\#(left + bin * width)" y="\#(y(count))" width="\#(width - 1)" height="\#(top + height - y(count))" fill="\#(color)"/>"#
      }.joined(separator: "\n")
    }
    let right = left + Load.end / Load.bin * width
    let seconds = (0...Load.end / 1000).map { second in
      let x = left + second * 1000 / Load.bin * width
      return #"""
        <line x1="\#(x)" y1="\#(top)" x2="\#(x)" y2="\#(top + height)" stroke="#ddd"/>
        <text x="\#(x)" y="\#(top + height + 15)" text-anchor="middle">\#(second) s</text>
        """#
    }
    let counts = [0, 10, 20, 30].map { #"<text x="\#(left - 6)" y="\#(y($0) + 4)" text-anchor="end">\#($0)</text>"# }
    return #"""
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \#(right + 16) \#(top + height + 26)" font-family="sans-serif" font-size="11">
      <rect width="100%" height="100%" fill="white"/>
      <text x="\#(left)" y="14" font-size="13" font-weight="bold">\#(title)</text>
      <text x="\#(left)" y="28" fill="#555">per 0.1 s: grey asked, blue went on; \#(times.count) of \#(Load.arrivals.count), at most \#(mostInASecond(times)) in any second</text>
      \#(seconds.joined(separator: "\n"))
      \#(counts.joined(separator: "\n"))
      \#(bars(bins(Load.arrivals), "#ccc"))
      \#(bars(bins(times), "#2563eb"))
      <line x1="\#(left)" y1="\#(top + height)" x2="\#(right)" y2="\#(top + height)" stroke="#333"/>
      </svg>

      """#
  }
}
