internal import CShim
internal import Glibc
internal import Pipeline

extension SocketAddress {
  /// The address family to make a socket with.
  var family: Int32 {
    switch self {
    case .ip(let address, _): address.isIPv6 ? AF_INET6 : AF_INET
    case .unix: AF_UNIX
    }
  }

  /// Whether this is an IP address, on which the TCP options apply.
  var isIP: Bool {
    switch self {
    case .ip: true
    case .unix: false
    }
  }

  /// Calls `body` with the address as the kernel wants it. The path of a Unix socket is at most 107 bytes (checked where
  /// a `SocketAddress` is read); a longer one is cut and will not be found.
  func withSockaddr<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
    switch self {
    case .ip(let address, let port):
      if let bits = address.v4Bits {
        var storage = sockaddr_in()
        storage.sin_family = sa_family_t(AF_INET)
        storage.sin_port = port.bigEndian
        storage.sin_addr.s_addr = bits.bigEndian
        return withUnsafePointer(to: &storage) {
          $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
      }
      var storage = sockaddr_in6()
      storage.sin6_family = sa_family_t(AF_INET6)
      storage.sin6_port = port.bigEndian
      let words = address.words
      withUnsafeMutableBytes(of: &storage.sin6_addr) { bytes in
        bytes.storeBytes(of: words.high.bigEndian, toByteOffset: 0, as: UInt64.self)
        bytes.storeBytes(of: words.low.bigEndian, toByteOffset: 8, as: UInt64.self)
      }
      return withUnsafePointer(to: &storage) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in6>.size)) }
      }
    case .unix(let path):
      var storage = sockaddr_un()
      storage.sun_family = sa_family_t(AF_UNIX)
      let room = MemoryLayout.size(ofValue: storage.sun_path) - 1
      let used = withUnsafeMutableBytes(of: &storage.sun_path) { bytes in
        var count = 0
        for byte in path.utf8.prefix(room) {
          bytes[count] = byte
          count += 1
        }
        return count
      }
      let length = MemoryLayout<sa_family_t>.size + used + 1
      return withUnsafePointer(to: &storage) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(length)) }
      }
    }
  }

  /// Reads an address that the kernel filled in; nil for families that we do not use. An unnamed Unix socket (a client's)
  /// has the empty path.
  init?(_ storage: UnsafePointer<sockaddr_storage>, length: socklen_t) {
    switch Int32(storage.pointee.ss_family) {
    case AF_INET:
      let address = UnsafeRawPointer(storage).loadUnaligned(as: sockaddr_in.self)
      self = .ip(IPAddress(v4: UInt32(bigEndian: address.sin_addr.s_addr)), port: UInt16(bigEndian: address.sin_port))
    case AF_INET6:
      var address = UnsafeRawPointer(storage).loadUnaligned(as: sockaddr_in6.self)
      let port = UInt16(bigEndian: address.sin6_port)
      let (high, low) = withUnsafeBytes(of: &address.sin6_addr) { bytes in
        (
          UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self)),
          UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        )
      }
      self = .ip(IPAddress(v6High: high, low: low), port: port)
    case AF_UNIX:
      let header = MemoryLayout<sa_family_t>.size
      let bytes = UnsafeRawBufferPointer(start: storage, count: max(Int(length), header))[header...]
      self = .unix(String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self))
    default:
      return nil
    }
  }

  /// Asks the kernel for an address of a socket (`getsockname`, `getpeername`).
  static func ask(
    _ fd: Int32, _ call: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
  ) -> SocketAddress? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let result = withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { call(fd, $0, &length) }
    }
    return result == 0 ? SocketAddress(&storage, length: length) : nil
  }
}

/// Sets an integer socket option; false when the kernel refuses.
@discardableResult
func setSocketOption(_ fd: Int32, _ level: Int32, _ name: Int32, _ value: Int32) -> Bool {
  var value = value
  return setsockopt(fd, level, name, &value, socklen_t(MemoryLayout<Int32>.size)) == 0
}

/// Takes the pending error of a socket (`SO_ERROR`), which is 0 when there is none.
func takeSocketError(_ fd: Int32) -> Int32 {
  var value: Int32 = 0
  var length = socklen_t(MemoryLayout<Int32>.size)
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &length) == 0 ? value : errno
}
