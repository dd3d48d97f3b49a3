internal import CShim
internal import Glibc

/// The body of a thread, on its way to it.
private final class ThreadBody {
  let name: String
  let processor: Int32?
  let body: @Sendable () -> Void

  init(_ name: String, _ processor: Int32?, _ body: @escaping @Sendable () -> Void) {
    self.name = name
    self.processor = processor
    self.body = body
  }
}

/// The entry of every thread: a free function, because a closure written in an isolated context would trap here.
private func threadEntry(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let argument else { return nil }
  let thread = Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue()
  // The kernel keeps 15 bytes of a thread's name and refuses longer ones.
  String(thread.name.prefix(15)).withCString { shim_name_thread($0) }
  if let processor = thread.processor { _ = shim_pin_thread(processor) }
  thread.body()
  return nil
}

/// Starts a joinable thread with all signals blocked: signals belong to the main thread, and a handler that ran on a
/// loop would interrupt its system calls.
func startThread(named name: String, processor: Int32? = nil, _ body: @escaping @Sendable () -> Void) -> pthread_t {
  var all = sigset_t()
  var before = sigset_t()
  sigfillset(&all)
  pthread_sigmask(SIG_SETMASK, &all, &before)
  defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
  var thread = pthread_t()
  let argument = Unmanaged.passRetained(ThreadBody(name, processor, body))
  let code = pthread_create(&thread, nil, threadEntry, argument.toOpaque())
  // Threads are made at start-up only (loops) or within a fixed bound (offload pool).
  precondition(code == 0, "no thread could be started: \(String(cString: strerror(code)))")
  return thread
}

/// How many processors this process may use: what a container or `taskset` allows, not what the machine has.
var usableProcessors: Int { Int(shim_usable_processors()) }
