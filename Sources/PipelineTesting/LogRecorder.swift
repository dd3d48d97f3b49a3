public import Pipeline
import Synchronization

/// Keeps what is logged, line by line. It is an operational log and a ``LogSink``, too.
public final class LogRecorder: LogSink {
  public struct Line: Sendable, Hashable {
    public let level: LogLevel
    public let message: String
  }

  private struct State {
    var lines: [Line] = []
    var dropped = 0
    var capacity = Int.max
  }

  private let state = Mutex(State())

  public init() {}

  /// Lines of the operational log.
  public var lines: [Line] { state.withLock { $0.lines } }

  /// The text of every line.
  public var text: [String] { lines.map(\.message) }

  /// Makes it refuse lines beyond so many.
  public func limit(to capacity: Int) { state.withLock { $0.capacity = capacity } }

  public func record(_ level: LogLevel, _ message: String) {
    state.withLock { $0.lines.append(Line(level: level, message: message)) }
  }

  public func append(_ line: RawSpan, shard: Int) -> Bool {
    let message = line.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
    return state.withLock { state in
      guard state.lines.count < state.capacity else {
        state.dropped += 1
        return false
      }
      state.lines.append(Line(level: .info, message: message))
      return true
    }
  }

  public var dropped: Int { state.withLock { $0.dropped } }
}

/// What background tasks (`Component.run`) get in tests: a manual clock, seeded randomness, a log to look at.
public final class ManualServices: BackgroundServices {
  public let clock: ManualClock
  public let log: LogRecorder
  /// What tasks on a loop find when they dial.
  public let network: MockNetwork
  let loopCount: Int
  private let random: Mutex<SeededRandom>

  public init(
    clock: ManualClock = ManualClock(), log: LogRecorder = LogRecorder(), network: MockNetwork = MockNetwork(),
    loops: Int = 1, seed: UInt64 = 1
  ) {
    self.clock = clock
    self.log = log
    self.network = network
    loopCount = loops
    random = Mutex(SeededRandom(seed: seed))
  }

  public var now: Instant { clock.now }
  public func sleep(for duration: Duration) async throws { try await clock.sleep(until: clock.now + duration) }
  public func randomBits() -> UInt64 { random.withLock { $0.next() } }
  public func offload<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
    try work()
  }
  public func log(_ level: LogLevel, _ message: @autoclosure () -> String) { log.record(level, message()) }
}
