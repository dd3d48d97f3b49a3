/// Stops the task until the continuation is resumed, which `store` keeps.
///
/// The engine resumes every continuation on the loop of its task, so nothing has to be asked about executors on the way in. The
/// standard library's `withUnsafeContinuation` asks (it takes the isolation of its caller as an argument, and hops there),
/// and each question goes through the task's lock, because the task has an executor preference. This is the same function as it
/// was before it had that argument; the standard library keeps it for programs that were compiled then.
@inline(__always)
func suspend(_ store: (UnsafeContinuation<Void, Never>) -> Void) async {
  await _unsafeInheritExecutor_withUnsafeContinuation(store)
}
