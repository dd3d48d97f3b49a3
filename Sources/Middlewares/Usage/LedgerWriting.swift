internal import Pipeline
internal import Synchronization

// The steps of a `LedgerWriter`: load, write, pause, finish.
extension LedgerWriter {
  /// Until the task is cancelled.
  func serve(_ services: any BackgroundServices) async {
    let alarm = alarmOfLoading(services)
    defer { alarm?.cancel() }
    var tick = services.now
    while !Task.isCancelled {
      let works = await inTurn {
        guard await load(services), await writeOnce(services) else { return false }
        return await prune(services)
      }
      tick = tick + pace
      let pause: Duration
      if works {
        pause = max(.zero, tick - services.now)
        // After a stall it goes on at its pace and does not catch up in a row.
        if pause == .zero { tick = services.now }
      } else {
        pause = backoff
        tick = services.now + pause
      }
      do { try await services.sleep(for: pause) } catch { return }
    }
  }

  /// The pace, doubled with every failure in a row up to 30 s.
  private var backoff: Duration {
    let failures = state.withLock { $0.failuresInARow }
    return min(pace * (1 << min(max(failures, 1) - 1, 20)), max(pace, .seconds(30)))
  }

  private func alarmOfLoading(_ services: any BackgroundServices) -> Task<Void, Never>? {
    guard loadWithin > .zero else {
      ready.fire()
      return nil
    }
    return Task {
      do { try await services.sleep(for: loadWithin) } catch { return }
      announceLate(services)
    }
  }

  private func announceLate(_ services: any BackgroundServices) {
    guard !ready.hasFired else { return }
    services.log(
      .warning,
      "ledger \(ledger.name): what it knows could not be loaded within \(loadWithin); serving without, it is merged later"
    )
    ready.fire()
  }

  // MARK: Loading

  /// Loads the sources that are new. False: the ledger did not give it.
  func load(_ services: any BackgroundServices) async -> Bool {
    let new = state.withLock { $0.sources.filter { !$0.isLoaded }.map(\.source) }
    if new.isEmpty {
      finishLoading(new)
      return true
    }
    let isStopping = Flag()
    let (ledger, restored, time) = (ledger, restored, clock.now)
    do {
      try await withTaskCancellationHandler {
        try await services.offload {
          try ledger.load(at: time) { row in
            // A million rows take seconds: the end of the program does not wait for them.
            if isStopping.isSet { throw CancellationError() }
            for source in new where restored.isFirst(row, for: source) { source.restore(row) }
          }
        }
      } onCancel: {
        isStopping.set()
      }
    } catch is CancellationError {
      return false
    } catch {
      failed(error, services)
      return false
    }
    succeeded(services)
    finishLoading(new)
    return true
  }

  private func finishLoading(_ loaded: [any LedgerSource]) {
    let isComplete = state.withLock { state in
      for index in state.sources.indices where loaded.contains(where: { $0 === state.sources[index].source }) {
        state.sources[index].isLoaded = true
      }
      state.status.isLoaded = state.sources.allSatisfy(\.isLoaded)
      return state.status.isLoaded
    }
    guard isComplete else { return }
    restored.forget()
    ready.fire()
  }

  // MARK: Writing

  /// Writes what was counted until now, in as many batches as it takes. False: the ledger did not take all.
  func writeOnce(_ services: any BackgroundServices) async -> Bool {
    while true {
      let time = clock.now
      let (batch, isMore) = nextBatch()
      guard let batch else {
        state.withLock { $0.status.lastWrite = time }
        return true
      }
      let ledger = ledger
      do {
        try await services.offload { try ledger.add(batch) }
      } catch {
        failed(error, services)
        return false
      }
      written(batch, services)
      if !isMore {
        state.withLock { $0.status.lastWrite = time }
        return true
      }
    }
  }

  /// The batch that waits, or else a new one. `isMore`: it was full, and more was counted before it was made.
  private func nextBatch() -> (LedgerBatch?, isMore: Bool) {
    state.withLock { state in
      if let waiting = state.queue.first { return (waiting, true) }
      return collect(&state)
    }
  }

  /// - Parameter all: also of sources that do not know yet what the ledger knows.
  private func collect(_ state: inout State, all: Bool = false) -> (LedgerBatch?, isMore: Bool) {
    var batch = LedgerBatch(writer: id, sequence: state.sequence + 1)
    var isMore = false
    for entry in state.sources where entry.isLoaded || all {
      let room = batchLimit - batch.count
      if room <= 0 {
        isMore = true
        break
      }
      if entry.source.collect(into: &batch, limit: room) { isMore = true }
    }
    guard batch.count > 0 else { return (nil, false) }
    state.sequence += 1
    state.queue.append(batch)
    state.status.pending += batch.count
    return (batch, isMore)
  }

  private func written(_ batch: LedgerBatch, _ services: any BackgroundServices) {
    state.withLock { state in
      state.queue.removeFirst()
      state.status.pending -= batch.count
      state.status.batches += 1
      state.status.rows += batch.count
    }
    succeeded(services)
  }

  // MARK: Working, or not

  private func failed(_ error: any Error, _ services: any BackgroundServices) {
    let problem = error as? LedgerError ?? .unavailable("\(error)")
    let isNew = state.withLock { state in
      state.status.failures += 1
      state.failuresInARow += 1
      defer { state.status.problem = problem }
      if state.failingSince != nil { return false }
      state.failingSince = services.now
      return true
    }
    if isNew {
      services.log(
        .error,
        "ledger \(ledger.name): \(problem); what is counted is kept in memory, one row for each account, and tried again"
      )
    }
  }

  private func succeeded(_ services: any BackgroundServices) {
    let outage = state.withLock { state -> (since: Instant, failures: Int)? in
      defer {
        state.failuresInARow = 0
        state.failingSince = nil
        state.status.problem = nil
      }
      return state.failingSince.map { ($0, state.failuresInARow) }
    }
    if let outage {
      services.log(
        .notice,
        "ledger \(ledger.name): works again after \((services.now - outage.since).secondsRoundedUp) s and \(outage.failures) failed attempts"
      )
    }
  }

  /// Once an hour. False: it failed.
  private func prune(_ services: any BackgroundServices) async -> Bool {
    let now = services.now
    let isDue = state.withLock { state in
      if let last = state.lastPrune, now - last < .seconds(3600) { return false }
      state.lastPrune = now
      return true
    }
    guard isDue else { return true }
    let (ledger, retention, time) = (ledger, retention, clock.now)
    do {
      try await services.offload { try ledger.prune(retention, at: time) }
      return true
    } catch {
      failed(error, services)
      return false
    }
  }

  // MARK: The end

  /// Writes what is left, for at most `flushWithin`, and says what could not be written.
  ///
  /// - Parameter isLast: nobody runs the writer any more.
  func finish(_ services: any BackgroundServices, isLast: Bool) async {
    // The caller is cancelled, and every wait of a cancelled task ends at once: this needs a task of its own.
    await Task {
      let (ends, end) = AsyncStream<Bool>.makeStream()
      let work = Task {
        end.yield(await inTurn { isLast ? await writeRest(services) : await writeLoaded(services) })
      }
      let alarm = Task {
        do { try await services.sleep(for: flushWithin) } catch { return }
        end.yield(false)
      }
      for await isDone in ends {
        if !isDone, isLast { confess(services) }
        break
      }
      work.cancel()
      alarm.cancel()
    }.value
  }

  /// Where others go on: as always, after the load.
  private func writeLoaded(_ services: any BackgroundServices) async -> Bool {
    status.isLoaded ? await writeOnce(services) : false
  }

  private func writeRest(_ services: any BackgroundServices) async -> Bool {
    while true {
      // Loaded first, also here: after a reload somebody else goes on with what is in memory.
      if await load(services), await writeOnce(services) {
        if state.withLock({ collect(&$0, all: true) }).0 == nil { return true }
        continue
      }
      do { try await services.sleep(for: min(pace, .milliseconds(100))) } catch { return false }
    }
  }

  /// Says what is lost when the process ends now.
  private func confess(_ services: any BackgroundServices) {
    let (queue, problem) = state.withLock { state -> ([LedgerBatch], LedgerError?) in
      while collect(&state, all: true).0 != nil {}
      return (state.queue, state.status.problem)
    }
    var accounts = Set<UsageAccount>()
    var usage = UsageChange()
    var rows = 0
    for batch in queue {
      rows += batch.count
      for row in batch.usage {
        accounts.insert(row.account)
        usage = usage - (UsageChange() - row.total)
      }
    }
    guard rows > 0 else { return }
    let why = problem.map { "\($0)" } ?? "it does not answer"
    services.log(
      .error,
      "ledger \(ledger.name): NOT WRITTEN within \(flushWithin): \(rows) rows, usage of \(accounts.count) accounts (requests \(usage.requests), connections \(usage.connections), refused \(usage.refused), failed \(usage.failed), up \(usage.up), down \(usage.down)): \(why)"
    )
  }
}

/// Something that is set once, from any thread.
private final class Flag: Sendable {
  private let value = Atomic<Bool>(false)
  var isSet: Bool { value.load(ordering: .relaxed) }
  func set() { value.store(true, ordering: .relaxed) }
}

/// Which rows a source has been given, by hashes, until its load is complete: a load that breaks off is begun anew, and adds
/// nothing twice.
final class RestoredRows: Sendable {
  private let seen = Mutex<Set<UInt64>>([])

  func isFirst(_ row: LedgerRow, for source: any LedgerSource) -> Bool {
    var a = Hasher()
    a.combine(ObjectIdentifier(source))
    switch row {
    case .state(let state):
      a.combine(0)
      a.combine(state.account)
    case .counter(let counter):
      a.combine(1)
      a.combine(counter.name)
      a.combine(counter.account)
      a.combine(counter.start)
    case .usage(let usage):
      a.combine(2)
      a.combine(usage.account)
    case .global:
      a.combine(3)
    }
    let hash = UInt64(bitPattern: Int64(a.finalize()))
    return seen.withLock { $0.insert(hash).inserted }
  }

  func forget() { seen.withLock { $0 = [] } }
}
