internal import Glibc

/// Work for the offload pool. It reports its end itself, normally by posting itself to its loop.
protocol OffloadWork: AnyObject, Sendable {
  /// Runs on a thread of the pool and may block.
  func perform()
}

/// A bounded number of threads with a bounded queue, for work that blocks or computes for long: getaddrinfo, scrypt,
/// databases. Nothing else in the engine may block.
///
/// When the queue is full, work is refused at once instead of queueing for ever: the caller is told `overloaded`.
final class OffloadPool: @unchecked Sendable {
  // Sound as Sendable: everything that changes stands under the condition's mutex.
  private let condition = Condition()
  private var queue: [(any OffloadWork)?] = []
  private var head = 0
  private var idle = 0
  private var threads: [pthread_t] = []
  private var stopping = false

  private let name: String
  let threadLimit: Int
  let queueLimit: Int

  /// - Parameters:
  ///   - name: for the names of its threads.
  ///   - threads: 1...1024; started when first needed.
  ///   - queueLimit: how much work may wait for a thread, 1 or more.
  init(name: String = "work", threads: Int = 4, queueLimit: Int = 1024) {
    precondition((1...1024).contains(threads), "an offload pool has 1...1024 threads, got \(threads)")
    precondition(queueLimit >= 1, "the queue of an offload pool holds 1 or more, got \(queueLimit)")
    self.name = name
    threadLimit = threads
    self.queueLimit = queueLimit
  }

  /// Queues work; false when the queue is full or the pool is shut down.
  func submit(_ work: any OffloadWork) -> Bool {
    condition.lock()
    defer { condition.unlock() }
    guard !stopping, queue.count - head < queueLimit else { return false }
    queue.append(work)
    if idle > 0 {
      condition.wakeOne()
    } else if threads.count < threadLimit {
      threads.append(startThread(named: "sluice-\(name)-\(threads.count)") { [self] in run() })
    }
    return true
  }

  /// Work that waits for a thread, and threads that were started.
  var load: (waiting: Int, threads: Int) {
    condition.lock()
    defer { condition.unlock() }
    return (queue.count - head, threads.count)
  }

  /// Refuses further work, finishes what is queued, and waits for the threads. Not to be called on one of them.
  func shutDown() {
    condition.lock()
    stopping = true
    condition.wakeAll()
    let threads = threads
    self.threads = []
    condition.unlock()
    for thread in threads { pthread_join(thread, nil) }
  }

  private func run() {
    condition.lock()
    while true {
      if let work = takeFirst() {
        condition.unlock()
        work.perform()
        condition.lock()
      } else if stopping {
        break
      } else {
        idle += 1
        condition.wait()
        idle -= 1
      }
    }
    condition.unlock()
  }

  private func takeFirst() -> (any OffloadWork)? {
    guard head < queue.count else { return nil }
    let work = queue[head]
    // The slot is emptied at once, so that finished work is not kept alive by the queue.
    queue[head] = nil
    head += 1
    if head == queue.count {
      queue.removeAll(keepingCapacity: true)
      head = 0
    } else if head >= 1024, head * 2 >= queue.count {
      queue.removeFirst(head)
      head = 0
    }
    return work
  }
}
