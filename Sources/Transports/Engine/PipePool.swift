internal import CShim
internal import Glibc

/// A kernel pipe through which `splice` moves bytes from one socket to another.
struct Pipe {
  var readEnd: Int32
  var writeEnd: Int32
}

/// Empty pipes of one loop, kept for the next relay that needs one: making and sizing a pipe costs more than a relay
/// turn. Only the loop's thread uses it.
struct PipePool {
  /// The size asked for: at 1 MiB splicing costs least (measured: 64 KiB 0.53, 256 KiB 0.43, 1 MiB 0.33 s/GB).
  static let pipeSize = 1 << 20
  private static let keptLimit = 32

  private var kept: [Pipe] = []
  private let counters: EngineCounters

  init(counters: EngineCounters) { self.counters = counters }

  /// A pipe, or nil when the process has no descriptors left: the relay then goes on copying.
  mutating func take() -> Pipe? {
    if let pipe = kept.popLast() {
      counters.pipesInFlight.add(1)
      return pipe
    }
    var ends: (Int32, Int32) = (-1, -1)
    let made = withUnsafeMutablePointer(to: &ends) {
      $0.withMemoryRebound(to: Int32.self, capacity: 2) { shim_pipe($0) }
    }
    guard made == 0 else { return nil }
    // Refused above /proc/sys/fs/pipe-user-pages-soft: the pipe then keeps its 64 KiB and works all the same.
    _ = shim_set_pipe_size(ends.1, Int32(Self.pipeSize))
    counters.pipesInFlight.add(1)
    return Pipe(readEnd: ends.0, writeEnd: ends.1)
  }

  /// Gives a pipe back. One that may still hold bytes of a connection that ended is closed, not kept.
  mutating func put(_ pipe: Pipe, isEmpty: Bool) {
    counters.pipesInFlight.add(-1)
    if isEmpty, kept.count < Self.keptLimit {
      kept.append(pipe)
    } else {
      Self.close(pipe)
    }
  }

  mutating func closeAll() {
    for pipe in kept { Self.close(pipe) }
    kept.removeAll()
  }

  private static func close(_ pipe: Pipe) {
    _ = Glibc.close(pipe.readEnd)
    _ = Glibc.close(pipe.writeEnd)
  }
}
