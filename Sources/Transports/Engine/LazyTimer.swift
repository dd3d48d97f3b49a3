internal import Pipeline

/// A timer that is only ever moved forward when it fires: whoever holds one asks to be called *by* a time, and an armed
/// timer that fires earlier is left alone. So a connection that waits ten thousand times under one deadline arms it once.
struct LazyTimer {
  private var handle = TimerHandle.none
  private var armedAt = Instant.distantFuture

  /// Makes sure that `target` is called at `instant` or before.
  @inline(__always)
  mutating func ensure(by instant: Instant, on loop: Loop, _ target: any TimerTarget) {
    if instant >= armedAt { return }
    rearm(at: instant, on: loop, target)
  }

  private mutating func rearm(at instant: Instant, on loop: Loop, _ target: any TimerTarget) {
    loop.cancel(&handle)
    handle = loop.arm(at: instant, target)
    armedAt = instant
  }

  /// To be called first thing when the timer has fired.
  mutating func fired() {
    handle = .none
    armedAt = .distantFuture
  }

  mutating func cancel(on loop: Loop) {
    loop.cancel(&handle)
    armedAt = .distantFuture
  }
}
