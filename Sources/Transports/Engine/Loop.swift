internal import CShim
internal import Glibc
internal import Pipeline
internal import Synchronization

/// What a descriptor's readiness is delivered to. The loop does not retain it: whoever watches a descriptor closes it,
/// and with it ends the watch, before going away.
protocol ReadinessTarget: AnyObject {
  func becameReady(_ readiness: Readiness)
}

/// What a timer fires into. The loop does not retain it: whoever arms a timer cancels it before going away.
protocol TimerTarget: AnyObject {
  func timerFired()
}

/// Work that another thread hands to a loop.
protocol LoopMessage: AnyObject, Sendable {
  func received(on loop: Loop)
}

/// Work that a driver has left when its share of a turn is used up: it goes on after everybody else had a turn.
protocol RequeuedWork: AnyObject {
  func resumeWork()
}

/// One event loop on one thread, which is also the executor of every task that belongs to its connections.
///
/// A connection, the sockets it opens, its timers and its task stay on the loop that accepted it, so none of them needs
/// a lock: that rule (loop-owned state is touched by the loop's thread alone) is what makes this class and the classes
/// around it sound as `@unchecked Sendable`. What other threads may call says so: `enqueue`, `post`, `stop`, `join`.
///
/// One turn: run jobs (at most `jobsPerTurn`), requeued drivers, due timers; send what was gathered; then poll, which sleeps only if nothing is
/// left to do. A thread that hands over work wakes the loop by a system call only if the loop said that it sleeps, and
/// the loop says so before its last look at the queue, so that no wake-up is lost.
final class Loop: TaskExecutor, SerialExecutor, @unchecked Sendable {
  /// Jobs run between two polls, so that a chain of ready jobs cannot keep the sockets waiting.
  static let jobsPerTurn = 64
  /// The buffer into which every socket of the loop is read. Legal only between two suspensions.
  static let scratchSize = 256 * 1024

  /// How long a stopping loop waits for tasks that have been cut.
  static let stopPatience = Duration.seconds(5)

  /// This loop's index in its engine; what `Exchange.shard` says.
  let index: Int
  let scratch: UnsafeMutableRawPointer
  let counters: EngineCounters
  let stall = StallGauge()

  private let poller: Poller
  private let slots = SlotTable()
  private let jobs = JobRing()
  private let timers: TimerWheel<TimerEntry>
  private var requeued: [any RequeuedWork] = []
  private var requeuedSpare: [any RequeuedWork] = []
  /// Memory for what receivers do not take at once.
  var buffers = BufferPool()
  /// What sockets send together at the end of the turn.
  let gatheredSends = GatheredSends()
  /// Pipes for `splice` that are empty and kept for the next user.
  var pipes: PipePool
  /// The connections that live on this loop, for drain and cut.
  let connections = ConnectionList()
  /// Connections to upstreams that wait for the next request. Read by any thread.
  let idleUpstreams = MetricCounters<1>()
  /// What the HTTP connections of this loop share.
  private(set) lazy var http = HTTPShare(self)
  /// Tasks that wait for the next connection.
  var restingTasks: [ConnectionTask] = []

  private let remote = Mutex<[RemoteWork]>([])
  private var remoteSpare: [RemoteWork] = []
  private let remotePending = Atomic<Bool>(false)
  private let sleeping = Atomic<Bool>(false)
  private let stopping = Atomic<Bool>(false)
  private let threadIdentity = Atomic<UInt>(0)
  private var thread: pthread_t?

  /// The time at which this turn began, refreshed after every poll: good for deadlines and idle limits, free to read.
  private(set) var now: Instant

  private var random = FastRandom.seeded()
  private var stopEnds: Instant?

  private enum RemoteWork {
    case job(UnownedJob)
    case message(any LoopMessage)
  }

  private struct TimerEntry {
    unowned(unsafe) let target: any TimerTarget
  }

  /// Throws `SystemError` when the process has no descriptors left.
  init(index: Int = 0, counters: EngineCounters = .shared) throws {
    self.index = index
    self.counters = counters
    poller = try Poller()
    scratch = .allocate(byteCount: Self.scratchSize, alignment: 4096)
    now = Self.preciseNow
    timers = TimerWheel(startingAt: Self.tick(before: now))
    pipes = PipePool(counters: counters)
  }

  deinit { scratch.deallocate() }

  /// 64 uniformly random bits for jitter and sampling, from the loop's own generator. On the loop only.
  func randomBits() -> UInt64 { random.next() }

  // MARK: Time

  /// The monotonic clock itself, for what has to be exact (a sleep that starts now).
  static var preciseNow: Instant { Instant(nanoseconds: shim_monotonic()) }

  private static func tick(before instant: Instant) -> UInt64 { instant.nanoseconds / 1_000_000 }

  /// Arms a timer that fires on this loop at `instant`, at most two milliseconds late, never early.
  func arm(at instant: Instant, _ target: any TimerTarget) -> TimerHandle {
    counters.timers.add(1)
    let (rounded, overflow) = instant.nanoseconds.addingReportingOverflow(999_999)
    return timers.arm(at: overflow ? .max : rounded / 1_000_000, TimerEntry(target: target))
  }

  func cancel(_ timer: inout TimerHandle) {
    if timers.cancel(timer) { counters.timers.add(-1) }
    timer = .none
  }

  // MARK: Executor

  /// True on the loop's own thread.
  var isCurrent: Bool { threadIdentity.load(ordering: .relaxed) == UInt(pthread_self()) }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    if isCurrent { jobs.push(job) } else { hand(.job(job)) }
  }

  func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }

  func checkIsolated() { precondition(isCurrent, "this work belongs to loop \(index)") }

  /// Hands work to the loop, from any thread. On the loop's own thread it is deferred to the next turn.
  func post(_ message: any LoopMessage) { hand(.message(message)) }

  private func hand(_ work: RemoteWork) {
    remote.withLock { $0.append(work) }
    remotePending.store(true, ordering: .sequentiallyConsistent)
    if sleeping.exchange(false, ordering: .sequentiallyConsistent) { poller.wake() }
  }

  /// Whether tasks are ready to run, or events of this turn are still to be delivered.
  var hasMoreToDo: Bool { !jobs.isEmpty || poller.eventsLeft > 0 }

  /// Lets `work` go on after every other connection had its turn.
  func requeue(_ work: any RequeuedWork) { requeued.append(work) }

  // MARK: Descriptors

  /// Starts to deliver the readiness of a descriptor, which stays registered until it is closed by `close(_:)`.
  /// Returns the generation to `close` it with, or nil when the kernel refuses (out of memory or watches).
  func watch(_ fd: Int32, _ interest: Poller.Interest, _ target: any ReadinessTarget) -> UInt32? {
    let generation = slots.take(fd, target)
    guard poller.add(fd, generation: generation, interest) == 0 else {
      slots.leave(fd)
      return nil
    }
    return generation
  }

  func modify(_ fd: Int32, _ generation: UInt32, _ interest: Poller.Interest) {
    _ = poller.modify(fd, generation: generation, interest)
  }

  /// Stops to deliver the readiness of a descriptor that stays open.
  func unwatch(_ fd: Int32) {
    slots.leave(fd)
    poller.remove(fd)
  }

  /// Forgets and closes a descriptor; events that the kernel has queued for it already are dropped.
  func close(_ fd: Int32) {
    slots.leave(fd)
    _ = shim_close(fd)
  }

  // MARK: The turn

  /// Starts the thread. `processor` binds it to one processor.
  func start(processor: Int32? = nil) {
    precondition(thread == nil, "a loop is started once")
    thread = startThread(named: "sluice-loop-\(index)", processor: processor) { [self] in run() }
  }

  /// Lets the thread end once its jobs are done; connections that still live are cut. From any thread.
  func stop() {
    stopping.store(true, ordering: .sequentiallyConsistent)
    if sleeping.exchange(false, ordering: .sequentiallyConsistent) { poller.wake() }
  }

  /// Waits for the thread to end. Not on the loop itself.
  func join() {
    guard let thread else { return }
    precondition(!isCurrent, "a loop cannot wait for itself")
    pthread_join(thread, nil)
    self.thread = nil
  }

  private func run() {
    threadIdentity.store(UInt(pthread_self()), ordering: .sequentiallyConsistent)
    refreshTime()
    takeRemoteWork()
    while true {
      runJobs()
      runRequeued()
      fireTimers()
      gatheredSends.sendAll()
      if stopping.load(ordering: .relaxed), finishStopping() { break }
      poll()
      takeRemoteWork()
    }
    pipes.closeAll()
    stall.turnEnded(Self.preciseNow)
    threadIdentity.store(0, ordering: .sequentiallyConsistent)
  }

  /// Whether the loop ends once its jobs are done.
  var isStopping: Bool { stopping.load(ordering: .relaxed) }

  private func runJobs() {
    let executor = asUnownedTaskExecutor()
    var budget = Self.jobsPerTurn
    while budget > 0, let job = jobs.pop() {
      budget -= 1
      stall.clearLabel()
      job.runSynchronously(on: executor)
    }
  }

  private func runRequeued() {
    if requeued.isEmpty { return }
    swap(&requeued, &requeuedSpare)
    for work in requeuedSpare { work.resumeWork() }
    requeuedSpare.removeAll(keepingCapacity: true)
  }

  private func fireTimers() {
    let tick = Self.tick(before: now)
    while let entry = timers.popDue(upTo: tick) {
      counters.timers.add(-1)
      entry.target.timerFired()
    }
  }

  private func poll() {
    let present = Self.preciseNow
    var timeout = jobs.isEmpty && requeued.isEmpty ? pollTimeout(present) : 0
    if let stopEnds {
      // What is left may be waiting for something that no loop sees.
      let left = max((stopEnds - now).nanosecondsClamped / 1_000_000, 1)
      timeout = timeout < 0 ? Int32(clamping: left) : min(timeout, Int32(clamping: left))
    }
    if timeout != 0 {
      sleeping.store(true, ordering: .sequentiallyConsistent)
      let workCame =
        remotePending.load(ordering: .sequentiallyConsistent) || stopping.load(ordering: .sequentiallyConsistent)
      if workCame { timeout = 0 }
    }
    stall.turnEnded(present)
    poller.wait(milliseconds: timeout) { fd, generation, readiness in
      slots.tell(fd, generation, readiness)
    } woke: {
      sleeping.store(false, ordering: .relaxed)
      refreshTime()
    }
  }

  /// Milliseconds until the next timer, rounded up, or -1 when none is armed.
  private func pollTimeout(_ present: Instant) -> Int32 {
    guard let next = timers.nextTick else { return -1 }
    let (due, overflow) = next.multipliedReportingOverflow(by: 1_000_000)
    if overflow { return .max }
    if due <= present.nanoseconds { return 0 }
    return Int32(clamping: (due - present.nanoseconds + 999_999) / 1_000_000)
  }

  private func refreshTime() {
    now = Self.preciseNow
    stall.turnBegan(now)
  }

  private func takeRemoteWork() {
    guard remotePending.load(ordering: .relaxed),
      remotePending.exchange(false, ordering: .sequentiallyConsistent)
    else { return }
    remote.withLock { swap(&$0, &remoteSpare) }
    for work in remoteSpare {
      switch work {
      case .job(let job): jobs.push(job)
      case .message(let message): message.received(on: self)
      }
    }
    remoteSpare.removeAll(keepingCapacity: true)
  }

  /// Cuts what still lives; true when nothing is left to run, or when a task that awaits something foreign has had
  /// `stopPatience` to notice its cancellation: it is left behind.
  private func finishStopping() -> Bool {
    connections.cutAll()
    http.pool.closeAll()
    for task in restingTasks { task.dismiss() }
    restingTasks.removeAll()
    let stopEnds = stopEnds ?? now + Self.stopPatience
    self.stopEnds = stopEnds
    if now >= stopEnds { return true }
    return connections.isEmpty && jobs.isEmpty && requeued.isEmpty
      && !remotePending.load(ordering: .sequentiallyConsistent)
  }
}
