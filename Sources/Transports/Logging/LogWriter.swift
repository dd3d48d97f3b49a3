internal import Glibc
public import Pipeline
internal import Synchronization

/// Writes log lines to a file, a pipe or a terminal: a bounded buffer per loop, one thread that drains them.
///
/// ```swift
/// let log = try LogWriter(appendingTo: "/var/log/sluice/access.log")
/// AccessLog(.json, to: log)
/// ```
/// A loop only ever copies a line into its own buffer; a full disk, a pipe that nobody reads or a stopped terminal costs it
/// nothing. Lines that find the buffer full are dropped, counted, and reported as a line `N lines dropped` as soon as the
/// writer can write again. Nothing is allocated per line once the buffers have grown.
///
/// Lines of one loop keep their order; lines of different loops may be up to the flush interval (20 ms) out of order.
/// After ``stop(within:)`` nothing is written; a process that ends without it loses what is not yet written.
public final class LogWriter: LogSink, MetricSource {
  /// Limits and looks of a writer.
  public struct Options: Hashable, Sendable {
    /// How the report of dropped lines looks.
    public enum Notice: Hashable, Sendable {
      /// `N lines dropped`
      case text
      /// `{"dropped":N}`
      case json
    }

    /// Bytes that may wait for the writer, for each loop: 4,096 or more. 1 MiB.
    public var bytesPerLoop = 1 << 20
    public var notice = Notice.text

    public init() {}
  }

  private let buffers: LogBuffers
  private let drain: LogDrain

  /// Appends to a file, which is made (0640) where it does not exist.
  ///
  /// - Throws: ``LogWriterError`` when it cannot be opened.
  public convenience init(appendingTo path: String, options: Options = Options()) throws {
    try self.init(LogOutput(appendingTo: path), options)
  }

  /// Writes to a descriptor of the caller's, which is not closed: standard output, standard error, a pipe.
  public convenience init(descriptor: Int32, options: Options = Options()) {
    self.init(LogOutput(descriptor: descriptor), options)
  }

  /// Writes to standard output.
  public static func standardOutput(options: Options = Options()) -> LogWriter {
    LogWriter(descriptor: STDOUT_FILENO, options: options)
  }

  /// Writes to standard error.
  public static func standardError(options: Options = Options()) -> LogWriter {
    LogWriter(descriptor: STDERR_FILENO, options: options)
  }

  private init(_ output: consuming LogOutput, _ options: Options) {
    precondition(
      options.bytesPerLoop >= 4096, "a log writer keeps 4,096 bytes or more per loop, got \(options.bytesPerLoop)")
    buffers = LogBuffers(bytesPerLoop: options.bytesPerLoop)
    drain = LogDrain(buffers, output, options.notice)
    drain.start()
  }

  deinit { _ = drain.stop(within: .zero) }

  @discardableResult public func append(_ line: RawSpan, shard: Int) -> Bool {
    switch buffers.append(line, shard: shard) {
    case .taken: break
    case .takenAndHalfFull: drain.hurry()
    case .dropped: return false
    }
    drain.wake()
    return true
  }

  /// Lines dropped since the start: the buffer was full, or the output refused them.
  public var dropped: Int { buffers.dropped }

  private static let droppedLines = Metric.counter(
    "proxy_log_dropped_lines_total",
    "Lines of the access log that were dropped: its buffer was full, or its output refused")

  public func collect(into page: inout MetricPage) { page.add(Self.droppedLines, dropped) }

  /// Closes the file and opens it anew under its path, after what waits has been written: for log rotation (SIGHUP). Does
  /// nothing for a descriptor. If the path cannot be opened, the old file is kept and ``lastError`` says why.
  public func reopen() { drain.reopen() }

  /// The last error of the output: the call and the system's words.
  public var lastError: String? { drain.lastError }

  /// Waits until what was appended or ordered before has been done. False after the stop.
  func awaitRound() -> Bool { drain.awaitRound() }

  /// Writes what waits and ends the thread. Blocks the calling thread for at most `limit`: not to be called on a loop.
  ///
  /// - Returns: `false` when the output did not take everything in time, the word about dropped lines included; the rest is
  ///   lost.
  @discardableResult public func stop(within limit: Duration) -> Bool { drain.stop(within: limit) }
}

/// Why a log cannot be opened.
public struct LogWriterError: Error, Hashable, CustomStringConvertible {
  public let path: String
  /// The system's words.
  public let reason: String

  public var description: String { "the log \(path) cannot be opened: \(reason)" }
}

/// What waits for the writer: for each loop the lines that it has finished.
final class LogBuffers: Sendable {
  enum Taken { case taken, takenAndHalfFull, dropped }

  private final class Buffer: Sendable {
    let bytes = Mutex<[UInt8]>([])
  }

  private let buffers = (0..<64).map { _ in Buffer() }
  private let limit: Int
  private let droppedCount = Atomic<Int>(0)
  private let isClosed = Atomic<Bool>(false)

  init(bytesPerLoop: Int) { limit = bytesPerLoop }

  var dropped: Int { droppedCount.load(ordering: .relaxed) }

  func drop(_ lines: Int) { droppedCount.add(lines, ordering: .relaxed) }

  /// From now on every line is dropped.
  func close() { isClosed.store(true, ordering: .relaxed) }

  func append(_ line: RawSpan, shard: Int) -> Taken {
    let taken = buffers[shard & 63].bytes.withLock { bytes -> Taken in
      let before = bytes.count
      guard before + line.byteCount < limit, !isClosed.load(ordering: .relaxed) else { return .dropped }
      // Sound: the pointer does not leave the closure, and Array copies from it.
      line.withUnsafeBytes { bytes.append(contentsOf: $0) }
      bytes.append(UInt8(ascii: "\n"))
      return before < limit / 2 && bytes.count >= limit / 2 ? .takenAndHalfFull : .taken
    }
    if taken == .dropped { drop(1) }
    return taken
  }

  /// Whether anything waits.
  var hasLines: Bool { buffers.contains { $0.bytes.withLock { !$0.isEmpty } } }

  /// Hands each buffer that holds something to `write` and puts an empty one in its place; the memory goes round.
  ///
  /// - Returns: whether there was anything.
  func takeAll(_ spare: inout [UInt8], _ write: (borrowing [UInt8]) -> Void) -> Bool {
    var found = false
    for buffer in buffers {
      buffer.bytes.withLock { bytes in if !bytes.isEmpty { swap(&bytes, &spare) } }
      guard !spare.isEmpty else { continue }
      found = true
      write(spare)
      spare.removeAll(keepingCapacity: true)
    }
    return found
  }
}
