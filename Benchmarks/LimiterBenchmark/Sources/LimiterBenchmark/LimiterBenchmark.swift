import Glibc

/// What a decision of a limit costs.
///
///     LimiterBenchmark decisions KEYS THREADS MILLIONS [ALGORITHM]   one measurement, as a line of figures
///     LimiterBenchmark attack [MILLIONS]                             10 million distinct keys; exit 1 when a bound does not hold
///     LimiterBenchmark plots FOLDER                                  a plot of what each algorithm admits over time
///
/// `Benchmarks/run --only limiter` compares the decisions with those of Go's x/time/rate, in alternation.
@main struct LimiterBenchmark {
  static func main() async throws {
    let arguments = CommandLine.arguments.dropFirst()
    switch (arguments.first, arguments.count) {
    case ("decisions", 4...5):
      let words = Array(arguments)
      guard let keys = Int(words[1]), let threads = Int(words[2]), let millions = Int(words[3]), keys > 0, threads > 0
      else { return usage() }
      try await Decisions.run(
        keys: keys, threads: threads, millions: millions, algorithm: words.count == 5 ? words[4] : "token-bucket")
    case ("attack", 1...2):
      guard let millions = Int(arguments.dropFirst().first ?? "10"), millions > 0 else { return usage() }
      try await Attack.run(keys: millions * 1_000_000)
    case ("plots", 2):
      try Plots.write(to: Array(arguments)[1])
    default: usage()
    }
  }

  private static func usage() {
    print("LimiterBenchmark decisions KEYS THREADS MILLIONS [ALGORITHM] | attack [MILLIONS] | plots FOLDER")
    exit(2)
  }
}

/// Figures of this process.
enum Process {
  static func cpuNanoseconds() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
  }

  @inline(__always)
  static func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// What is in memory, by the kernel's count.
  static func residentBytes() -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var size = 0
    var resident = 0
    withUnsafeMutablePointer(to: &size) { size in
      withUnsafeMutablePointer(to: &resident) { resident in
        _ = withVaList([size, resident]) { vfscanf(file, "%ld %ld", $0) }
      }
    }
    return resident * 4096
  }
}
