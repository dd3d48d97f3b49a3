internal import CShim
internal import Glibc

/// Takes connections within this machine off pacing.
///
/// BBR sends at a pace, and where no queueing discipline keeps it (loopback has none) TCP does it itself: a timer for every
/// segment, up to half of the CPU time of a bulk transfer. On loopback there is no bottleneck to be kind to, and the receiver's
/// window is bound enough. So where the system's congestion control is a pacing one, connections to and from loopback addresses
/// take Reno, which every process may choose; everything else keeps what the administrator has set.
///
/// It is chosen before a connection stands: one that BBR has begun is paced until it ends. What the system is set to is asked
/// once.
enum Pacing {
  /// What a socket of loopback shall have instead of the system's choice; nil where that stays.
  static func loopbackChoice(insteadOf name: String) -> StaticString? { name.hasPrefix("bbr") ? "reno" : nil }

  private static let choice: StaticString? = {
    let probe = shim_stream_socket(AF_INET)
    guard probe >= 0 else { return nil }
    defer { close(probe) }
    return congestionControl(of: probe).flatMap(loopbackChoice(insteadOf:))
  }()

  /// To be called before the socket listens or connects; accepted sockets have what their listener has.
  static func avoid(on fd: Int32) {
    guard let choice else { return }
    // Where the kernel refuses, the system's choice stays.
    _ = setsockopt(fd, Int32(IPPROTO_TCP), TCP_CONGESTION, choice.utf8Start, socklen_t(choice.utf8CodeUnitCount))
  }

  /// The name of a TCP socket's congestion control; nil for another socket.
  static func congestionControl(of fd: Int32) -> String? {
    // TCP_CA_NAME_MAX, which no header of a user's has.
    var name = [UInt8](repeating: 0, count: 16)
    var length = socklen_t(name.count)
    guard getsockopt(fd, Int32(IPPROTO_TCP), TCP_CONGESTION, &name, &length) == 0 else { return nil }
    return String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
  }
}
