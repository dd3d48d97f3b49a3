import Glibc

/// The p99 of every strategy in every scenario, as bars on a logarithmic scale.
enum Plot {
  static func write(_ all: [(scenario: Scenario, results: [Result])], to path: String) {
    guard let file = fopen(path, "w") else {
      print("\(path) cannot be written: \(String(cString: strerror(errno)))")
      exit(1)
    }
    fputs(drawing(all), file)
    fclose(file)
    print(path)
  }

  private static func drawing(_ all: [(scenario: Scenario, results: [Result])]) -> String {
    let (left, right, bar, gap, head) = (190, 720, 14, 4, 40)
    let block = head + BalancerSimulator.strategies.count * (bar + gap) + 14
    // 10 ms to 10 s.
    func x(_ seconds: Double) -> Int {
      left + Int(Double(right - left) * (log10(min(max(seconds, 0.01), 10)) + 2) / 3)
    }
    var parts: [String] = []
    for (number, (scenario, results)) in all.enumerated() {
      let top = number * block + 8
      parts.append(#"<text x="10" y="\#(top + 14)" font-size="13" font-weight="bold">\#(scenario.title)</text>"#)
      for tick in [0.01, 0.1, 1, 10] {
        parts.append(
          #"<line x1="\#(x(tick))" y1="\#(top + 34)" x2="\#(x(tick))" y2="\#(top + block - 14)" stroke='#ddd'/>"#)
        parts.append(
          #"<text x="\#(x(tick))" y="\#(top + 30)" text-anchor="middle" fill='#555'>\#(tick < 1 ? "\(Int(tick * 1000)) ms" : "\(Int(tick)) s")</text>"#
        )
      }
      for (index, (strategy, result)) in zip(BalancerSimulator.strategies, results).enumerated() {
        let y = top + head + index * (bar + gap)
        parts.append(#"<text x="\#(left - 6)" y="\#(y + 11)" text-anchor="end">\#(strategy.name)</text>"#)
        parts.append(
          #"<rect x="\#(left)" y="\#(y)" width="\#(max(1, x(result.p50) - left))" height="\#(bar)" fill='#2563eb'/>"#)
        parts.append(
          #"<rect x="\#(x(result.p50))" y="\#(y)" width="\#(max(0, x(result.p99) - x(result.p50)))" height="\#(bar)" fill='#93c5fd'/>"#
        )
        parts.append(
          #"<text x="\#(x(result.p99) + 5)" y="\#(y + 11)">\#(BalancerSimulator.digits(result.p99 * 1000)) ms</text>"#)
      }
    }
    return #"""
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 \#(all.count * block + 30)" font-family="sans-serif" font-size="11">
      <rect width="100%" height="100%" fill="white"/>
      \#(parts.joined(separator: "\n"))
      <text x="10" y="\#(all.count * block + 18)" fill='#555'>dark: median; light and number: 99th percentile. Logarithmic.</text>
      </svg>

      """#
  }
}
