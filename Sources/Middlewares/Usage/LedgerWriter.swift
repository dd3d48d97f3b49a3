public import Pipeline
internal import Synchronization

/// Something that counts in memory and is written behind: a ``MemoryUsageStore``, a ``QuotaStore``.
///
/// Both methods are called off the loops, `collect` by one task at a time. They must not call the writer.
public protocol LedgerSource: AnyObject, Sendable {
  /// Moves what is not written yet into the batch, at most about `limit` rows; true where more is left. What was moved is the
  /// writer's to write, however often that fails.
  func collect(into batch: inout LedgerBatch, limit: Int) -> Bool
  /// A row that the ledger knew at the start: adds to what has been counted since. Called at most once for a row, on a thread
  /// that may block, and before anything of this source is written.
  func restore(_ row: LedgerRow)
}

/// How a ``LedgerWriter`` stands.
public struct LedgerStatus: Sendable, Equatable {
  /// Batches that are in the ledger, and their rows.
  public var batches = 0
  public var rows = 0
  /// Attempts that failed.
  public var failures = 0
  /// Rows that have left their sources and are not known to be in the ledger.
  public var pending = 0
  /// What the ledger knew at the start is in the sources.
  public var isLoaded = false
  /// When everything that had been counted until then was in the ledger; `nil`: not yet.
  public var lastWrite: UnixTime?
  /// Why the last attempt failed; `nil`: it did not.
  public var problem: LedgerError?
}

/// Writes what its sources count to a ledger, behind the traffic.
///
/// ```swift
/// let writer = LedgerWriter(SQLiteLedger("/var/lib/sluice/usage.db"), every: .seconds(1))
/// let usage = MemoryUsageStore(writer: writer)
/// ```
/// At a constant pace it collects one row for each account that changed and adds them in batches, each in one transaction, on
/// the offload pool. A batch that failed, or whose answer was lost, is handed over again with the same sequence until the
/// ledger says yes, so that nothing is counted twice; meanwhile its sources go on counting, one row an account, however long it
/// takes. Traffic waits for none of it.
///
/// What the ledger knows is loaded into the sources before anything is written. Where the ledger is out at the start, ``ready``
/// fires all the same after `loadWithin`; the rows are merged when it is back.
///
/// Lost at most: by a kill of the process what was counted since the last batch, an interval and the time of a transaction.
public final class LedgerWriter: Sendable {
  struct Entry {
    let source: any LedgerSource
    var isLoaded = false
  }

  struct State {
    var sources: [Entry] = []
    /// In the order of their sequences; the first is being written. More than one only after a final flush that failed.
    var queue: [LedgerBatch] = []
    var sequence: UInt64 = 0
    var status = LedgerStatus()
    /// Failed in a row, and since when.
    var failuresInARow = 0
    var failingSince: Instant?
    /// Who runs the writer, or waits to.
    var callers = 0
    /// Whether somebody talks to the ledger, and who wants to next.
    var isBusy = false
    var queued: [UnsafeContinuation<Void, Never>] = []
    var lastPrune: Instant?
  }

  public let ledger: any UsageLedger
  let pace: Duration
  let batchLimit: Int
  let loadWithin: Duration
  let flushWithin: Duration
  let retention: LedgerRetention
  let clock: WallClock
  let id: LedgerWriterID
  let state = Mutex(State())
  private let shared = SharedRun()
  /// Rows that a load which did not come to its end has handed over.
  let restored = RestoredRows()

  /// Fired when the sources know what the ledger knew, or when `loadWithin` has passed without it.
  public let ready = Signal()

  /// - Parameters:
  ///   - pace: how often it writes, 10 ms or more; also the first pause after a failure, which doubles up to 30 s.
  ///   - batch: rows of one transaction, 1 or more.
  ///   - loadWithin: how long ``ready`` waits for the ledger at the start; 0: not at all.
  ///   - flushWithin: how long the end of the program waits for the last batches.
  ///   - retention: how long windows that have ended stay in the ledger.
  public init(
    _ ledger: any UsageLedger, every pace: Duration = .seconds(1), batch: Int = 5_000,
    loadWithin: Duration = .seconds(5), flushWithin: Duration = .seconds(10),
    retention: LedgerRetention = LedgerRetention(), clock: WallClock = .system
  ) {
    precondition(pace >= .milliseconds(10), "LedgerWriter: every \(pace); allowed is 10 ms or more")
    precondition(batch >= 1, "LedgerWriter: a batch of \(batch) rows; allowed is 1 or more")
    precondition(loadWithin >= .zero, "LedgerWriter: loadWithin is \(loadWithin); allowed is 0 or more")
    precondition(flushWithin >= .zero, "LedgerWriter: flushWithin is \(flushWithin); allowed is 0 or more")
    self.ledger = ledger
    self.pace = pace
    batchLimit = batch
    self.loadWithin = loadWithin
    self.flushWithin = flushWithin
    self.retention = retention
    self.clock = clock
    id = LedgerWriterID(high: .random(in: .min ... .max), low: .random(in: .min ... .max))
  }

  /// From now on the source is loaded, and written. The writer holds it: what it has counted must not go with it.
  public func register(_ source: any LedgerSource) {
    state.withLock { state in
      if state.sources.contains(where: { $0.source === source }) { return }
      state.sources.append(Entry(source: source))
      state.status.isLoaded = false
    }
  }

  /// How it stands. For gauges, the admin socket and tests.
  public var status: LedgerStatus { state.withLock { $0.status } }

  /// Writes until cancelled, and then what is left, for at most `flushWithin`. Several may run it at once: one does, and the
  /// next takes over when that one is cancelled.
  ///
  /// - Throws: `CancellationError`.
  public func run(_ services: any BackgroundServices) async throws {
    state.withLock { $0.callers += 1 }
    do {
      try await shared.run { await serve(services) }
    } catch is CancellationError {
      // While another one ran it.
    }
    let isLast = state.withLock { state in
      state.callers -= 1
      return state.callers == 0
    }
    // Every caller: what it has counted until now shall not stay behind.
    await finish(services, isLast: isLast)
    throw CancellationError()
  }

  /// Writes now what has been counted until now.
  ///
  /// - Returns: false where the ledger did not take all of it; it will be tried again.
  @discardableResult public func flush(_ services: any BackgroundServices) async -> Bool {
    await inTurn { await self.load(services) ? await self.writeOnce(services) : false }
  }

  // MARK: One at a time

  /// Runs `body` when nobody else talks to the ledger.
  func inTurn<Result: Sendable>(_ body: () async -> Result) async -> Result {
    await withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
      let isFree = state.withLock { state in
        if state.isBusy {
          state.queued.append(continuation)
          return false
        }
        state.isBusy = true
        return true
      }
      if isFree { continuation.resume() }
    }
    let result = await body()
    let next = state.withLock { state -> UnsafeContinuation<Void, Never>? in
      if state.queued.isEmpty {
        state.isBusy = false
        return nil
      }
      return state.queued.removeFirst()
    }
    next?.resume()
    return result
  }
}
