internal import Pipeline
internal import Synchronization

/// What an engine is made of.
struct EngineOptions: Sendable {
  /// Loops, one thread each; nil: one for each processor that this process may use.
  var loops: Int?
  /// Binds each loop to a processor, beginning with this one.
  var firstProcessor: Int32?
  var offloadThreads = 4
  /// Look-ups have threads of their own: passwords that strangers send must not keep names from being resolved.
  var lookupThreads = 4
  var offloadQueue = 1024
  var dialing = DialOptions()
  var caching = ResolverCaching()
  var lookup: any NameLookup = SystemLookup()
  /// Whether relays may move bulk traffic within the kernel.
  var splices = true
  var counters = EngineCounters.shared
  /// Where operational lines go. Called on any thread; must not block.
  var log: @Sendable (LogLevel, String) -> Void = { _, _ in }
}

/// The loops of a process and what they share: the pools, the resolver, the watchdog.
final class Engine: Sendable {
  let loops: [Loop]
  let offloadPool: OffloadPool
  let lookupPool: OffloadPool
  let resolver: Resolver
  let dialing: DialOptions
  let splices: Bool
  let counters: EngineCounters
  let watchdog: StallWatchdog
  private let sink: @Sendable (LogLevel, String) -> Void

  /// Throws `SystemError` when the process has no descriptors left.
  init(_ options: EngineOptions = EngineOptions()) throws {
    let count = options.loops ?? usableProcessors
    precondition((1...1024).contains(count), "an engine has 1...1024 loops, got \(count)")
    loops = try (0..<count).map { try Loop(index: $0, counters: options.counters) }
    offloadPool = OffloadPool(threads: options.offloadThreads, queueLimit: options.offloadQueue)
    lookupPool = OffloadPool(name: "lookup", threads: options.lookupThreads, queueLimit: options.offloadQueue)
    resolver = Resolver(options.lookup, caching: options.caching, pool: lookupPool)
    dialing = options.dialing
    splices = options.splices
    counters = options.counters
    let sink = options.log
    self.sink = sink
    watchdog = StallWatchdog(loops) { sink(.warning, $0) }
    for (position, loop) in loops.enumerated() {
      loop.start(processor: options.firstProcessor.map { $0 + Int32(position) })
    }
    watchdog.start()
  }

  func log(_ level: LogLevel, _ message: @autoclosure () -> String) { sink(level, message()) }

  /// Cuts what still lives, ends the loops, the pools and the watchdog, and waits for them. Not to be called on a loop.
  func stop() {
    watchdog.stop()
    for loop in loops { loop.stop() }
    for loop in loops { loop.join() }
    offloadPool.shutDown()
    lookupPool.shutDown()
  }

  /// Runs `work` on every loop, each with its loop, and waits for all. Not to be called on a loop.
  func onEveryLoop(_ work: @escaping @Sendable (Loop) -> Void) async {
    for loop in loops { await loop.run(work) }
  }
}

/// A closure on its way to a loop.
private final class LoopCall: LoopMessage {
  private let call: @Sendable (Loop) -> Void

  init(_ call: @escaping @Sendable (Loop) -> Void) { self.call = call }

  func received(on loop: Loop) { call(loop) }
}

extension Loop {
  /// Hands a closure to the loop, from any thread. Allocates: for control, not for traffic.
  func post(_ call: @escaping @Sendable (Loop) -> Void) { post(LoopCall(call)) }

  /// Runs a closure on the loop and waits for its result.
  func run<Result: Sendable>(_ work: @escaping @Sendable (Loop) -> Result) async -> Result {
    await withCheckedContinuation { continuation in
      post { loop in continuation.resume(returning: work(loop)) }
    }
  }
}
