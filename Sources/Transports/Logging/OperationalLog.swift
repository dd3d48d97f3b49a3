public import Pipeline
internal import Synchronization

/// Turns what the app and the engine have to say into lines: `2026-11-21T13:27:28.123Z warning "…"`.
///
/// ```swift
/// let log = OperationalLog(to: LogWriter.standardError(), from: .notice)
/// engine.log = log.write
/// ```
/// A message is quoted and escaped where it is not a bare word, because it may quote what a client sent.
public final class OperationalLog: Sendable {
  private let sink: any LogSink
  private let threshold: LogLevel
  private let clock: WallClock
  private let line = Mutex(LogLine())

  /// - Parameters:
  ///   - sink: takes the lines; never waits.
  ///   - threshold: the least important level that is written.
  ///   - clock: for the time stamp.
  public init(to sink: any LogSink, from threshold: LogLevel = .info, clock: WallClock) {
    self.sink = sink
    self.threshold = threshold
    self.clock = clock
  }

  /// Whether a line of this level would be written: where its text is costly to build.
  public func writes(_ level: LogLevel) -> Bool { level >= threshold }

  /// Writes a line, from any thread.
  public func write(_ level: LogLevel, _ message: String) {
    guard writes(level) else { return }
    let time = clock.now
    line.withLock { line in
      line.clear()
      line.append(time)
      line.append(UInt8(ascii: " "))
      line.append(value: level.rawValue, style: .text)
      line.append(UInt8(ascii: " "))
      line.append(value: message, style: .text)
      line.withBytes { _ = sink.append($0.bytes, shard: 0) }
    }
  }
}
