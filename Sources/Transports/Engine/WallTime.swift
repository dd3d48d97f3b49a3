internal import CShim
internal import Glibc
internal import Pipeline

extension UnixTime {
  /// What the system's clock says. It may jump: for dates that others read, never for waiting.
  ///
  /// Here, because `struct timespec` belongs to whichever C module the compiler loaded first, CShim's or Glibc's, and only
  /// the engine may import both.
  static var systemTime: UnixTime {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return UnixTime(seconds: Int64(time.tv_sec), nanoseconds: Int32(time.tv_nsec))
  }
}
