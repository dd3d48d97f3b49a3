internal import CShim
internal import Glibc
internal import Pipeline
internal import Synchronization

/// Why an address could not be listened on.
struct ListenError: Error, Equatable, CustomStringConvertible {
  var address: SocketAddress
  var code: Int32

  var description: String {
    switch code {
    case EADDRINUSE: "address in use: \(address)"
    case EACCES: "not allowed to listen on \(address)"
    case EADDRNOTAVAIL: "no interface of this machine has the address: \(address)"
    default: "cannot listen on \(address): \(String(cString: strerror(code)))"
    }
  }
}

/// One listening descriptor. Closed when nobody uses it any more.
final class ListeningDescriptor: Sendable {
  let number: Int32

  init(_ number: Int32) { self.number = number }

  deinit { Glibc.close(number) }
}

/// An address that is listened on: one descriptor per loop for IP (SO_REUSEPORT lets the kernel spread the connections),
/// one shared by all loops for a Unix socket.
final class Listening: Sendable {
  static let backlog: Int32 = 4096

  /// The address with the port that was really got.
  let address: SocketAddress
  /// One for each loop; all the same for a Unix socket.
  let descriptors: [ListeningDescriptor]
  /// The inode of the Unix socket's file, so that only our own file is removed at the end.
  private let fileIdentity: UInt64?

  private init(_ address: SocketAddress, _ descriptors: [ListeningDescriptor], fileIdentity: UInt64? = nil) {
    self.address = address
    self.descriptors = descriptors
    self.fileIdentity = fileIdentity
  }

  /// Listens.
  ///
  /// - Parameters:
  ///   - count: how many loops will accept.
  ///   - mode: of a Unix socket's file.
  /// - Throws: `ListenError`.
  static func open(_ address: SocketAddress, count: Int, mode: mode_t = 0o660) throws -> Listening {
    switch address {
    case .ip(let host, let port):
      return try openIP(host, port, count: count)
    case .unix(let path):
      return try openUnix(path, count: count, mode: mode)
    }
  }

  /// Removes the file of a Unix socket, if it is still ours. Call when no further connection shall come.
  func removeFile() {
    guard case .unix(let path) = address, let fileIdentity, Self.inode(path) == fileIdentity else { return }
    unlink(path)
  }

  // MARK: IP

  private static func openIP(_ host: IPAddress, _ port: UInt16, count: Int) throws -> Listening {
    // Any process of the same user may join a SO_REUSEPORT group, so a second start would succeed and take half of the
    // connections. A socket without that option is refused then.
    if port != 0 { _ = try bound(.ip(host, port: port), reusePort: false) }
    let first = try bound(.ip(host, port: port), reusePort: true)
    guard let address = SocketAddress.ask(first.number, { getsockname($0, $1, $2) }) else {
      throw ListenError(address: .ip(host, port: port), code: errno)
    }
    var descriptors = [first]
    // The kernel chose the first one's port; the others join it.
    for _ in 1..<max(count, 1) { descriptors.append(try bound(address, reusePort: true)) }
    for descriptor in descriptors { try listen(descriptor, address) }
    return Listening(address, descriptors)
  }

  /// - Parameter mode: of a Unix socket's file.
  private static func bound(
    _ address: SocketAddress, reusePort: Bool, mode: mode_t = 0o660
  ) throws -> ListeningDescriptor {
    let fd = shim_stream_socket(address.family)
    guard fd >= 0 else { throw ListenError(address: address, code: errno) }
    let descriptor = ListeningDescriptor(fd)
    // Linux makes the file with the mode of the socket, less the umask: so it is never wider than it shall be.
    if case .unix = address, fchmod(fd, mode) != 0 { throw ListenError(address: address, code: errno) }
    if address.isIP {
      setSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, 1)
      if reusePort, !setSocketOption(fd, SOL_SOCKET, SO_REUSEPORT, 1) {
        throw ListenError(address: address, code: errno)
      }
      // Accepted sockets inherit it.
      setSocketOption(fd, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
      if address.isLocal { Pacing.avoid(on: fd) }
    }
    // `::` means IPv6 only: who wants IPv4, too, says so, and the two never fight for a port.
    if address.family == AF_INET6 { setSocketOption(fd, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
    let result = address.withSockaddr { bind(fd, $0, $1) == 0 ? 0 : errno }
    if result != 0 { throw ListenError(address: address, code: result) }
    return descriptor
  }

  private static func listen(_ descriptor: ListeningDescriptor, _ address: SocketAddress) throws {
    if Glibc.listen(descriptor.number, backlog) != 0 { throw ListenError(address: address, code: errno) }
  }

  // MARK: Unix

  private static func openUnix(_ path: String, count: Int, mode: mode_t) throws -> Listening {
    let address = SocketAddress.unix(path)
    let descriptor: ListeningDescriptor
    do {
      descriptor = try bound(address, reusePort: false, mode: mode)
    } catch let error as ListenError where error.code == EADDRINUSE {
      // The file is there. If somebody answers, the address is in use; a socket file without an owner is removed. A file
      // that is no socket is never touched.
      guard try isAbandonedSocket(path) else { throw error }
      unlink(path)
      descriptor = try bound(address, reusePort: false, mode: mode)
    }
    if chmod(path, mode) != 0 { throw ListenError(address: address, code: errno) }
    try listen(descriptor, address)
    let shared = Array(repeating: descriptor, count: max(count, 1))
    return Listening(address, shared, fileIdentity: inode(path))
  }

  private static func isAbandonedSocket(_ path: String) throws -> Bool {
    var information = stat()
    guard lstat(path, &information) == 0, information.st_mode & S_IFMT == S_IFSOCK else { return false }
    let fd = shim_stream_socket(AF_UNIX)
    guard fd >= 0 else { throw ListenError(address: .unix(path), code: errno) }
    defer { Glibc.close(fd) }
    let code = SocketAddress.unix(path).withSockaddr { connect(fd, $0, $1) == 0 ? 0 : errno }
    return code == ECONNREFUSED
  }

  private static func inode(_ path: String) -> UInt64? {
    var information = stat()
    return lstat(path, &information) == 0 ? UInt64(information.st_ino) : nil
  }
}
