internal import Glibc
public import Pipeline

extension WallClock {
  /// The system's clock, in UTC.
  public static var system: WallClock {
    WallClock {
      var time = timespec()
      clock_gettime(CLOCK_REALTIME, &time)
      return UnixTime(seconds: Int64(time.tv_sec), nanoseconds: Int32(time.tv_nsec))
    }
  }
}
