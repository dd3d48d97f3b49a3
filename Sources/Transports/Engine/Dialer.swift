internal import CShim
internal import Glibc
internal import Pipeline

/// How upstream connections are made.
struct DialOptions: Sendable {
  /// RFC 8305, section 8.
  var attemptDelay = Duration.milliseconds(250)
  /// How long one attempt may take, within the whole dial's time.
  var attemptTimeout = Duration.seconds(5)
  /// The address to connect from, for destinations of its family; nil lets the kernel choose.
  var sourceAddress: IPAddress?
}

/// Connects to one of several addresses by Happy Eyeballs (RFC 8305): the shell around the schedule `HappyEyeballs`.
///
/// One address is the common case and takes a path without the schedule: nothing is allocated but the socket.
struct Dialer<Parked: ParkedTask> {
  private let connection: Parked
  private let options: DialOptions
  private let timeout: Duration
  private let sources: [IPAddress]

  /// - Parameter sources: the addresses to connect from, by family; for families without one, the options' holds.
  init(_ connection: Parked, _ options: DialOptions, from sources: [IPAddress] = [], timeout: Duration) {
    self.connection = connection
    self.options = options
    self.sources = sources
    self.timeout = timeout
  }

  /// Throws a `Rejection` of a connect kind, or what ends a wait (deadline, client gone, cut). Every socket but the
  /// returned one is closed on every path.
  func dial(_ addresses: [SocketAddress]) async throws -> Socket {
    guard !addresses.isEmpty else {
      throw Rejection(
        .internalError,
        detail: "a destination without an address: it was approved as a name, for a far proxy that resolves names")
    }
    if addresses.count == 1 { return try await dialOne(addresses[0]) }
    return try await race(addresses)
  }

  private func dialOne(_ address: SocketAddress) async throws -> Socket {
    let limit = connection.loop.now + timeout
    switch try begin(address) {
    case .failure(let failure):
      throw rejection(failure, [address])
    case .success(let socket):
      do {
        while true {
          switch Self.progress(socket) {
          case .connected: return socket
          case .failed(let failure): throw rejection(failure, [address])
          case .connecting: break
          }
          if try await !connection.awaitSockets(until: limit) { throw rejection(.timedOut, [address]) }
        }
      } catch {
        socket.abort()
        throw error
      }
    }
  }

  private func race(_ addresses: [SocketAddress]) async throws -> Socket {
    let loop = connection.loop
    let timing = HappyEyeballs.Timing(
      attemptDelay: options.attemptDelay, attemptTimeout: options.attemptTimeout, totalTimeout: timeout)
    var schedule = HappyEyeballs(addresses, timing, now: loop.now)
    var attempts: [(address: SocketAddress, socket: Socket)] = []
    defer { for attempt in attempts { attempt.socket.abort() } }
    while true {
      switch schedule.step(now: loop.now) {
      case .start(let address):
        switch try begin(address) {
        case .success(let socket): attempts.append((address, socket))
        case .failure(let failure): schedule.failed(address, failure, now: loop.now)
        }
      case .abandon(let address):
        take(address, from: &attempts)?.abort()
      case .fail(let failure):
        throw rejection(failure, addresses)
      case .wait(let limit):
        _ = try await connection.awaitSockets(until: limit)
      }
      for (address, socket) in attempts {
        switch Self.progress(socket) {
        case .connecting: continue
        case .connected: return take(address, from: &attempts) ?? socket
        case .failed(let failure):
          take(address, from: &attempts)?.abort()
          schedule.failed(address, failure, now: loop.now)
        }
      }
    }
  }

  @discardableResult
  private func take(
    _ address: SocketAddress, from attempts: inout [(address: SocketAddress, socket: Socket)]
  ) -> Socket? {
    guard let index = attempts.firstIndex(where: { $0.address == address }) else { return nil }
    return attempts.remove(at: index).socket
  }

  // MARK: One attempt

  enum Progress {
    case connecting
    case connected
    case failed(ConnectFailure)
  }

  /// A socket that is being connected becomes writable (or broken) once, when the outcome is known.
  static func progress(_ socket: Socket) -> Progress {
    guard socket.readiness.contains(.writable) else { return .connecting }
    if !socket.readiness.contains(.gone) { return .connected }
    let code = socket.takeError()
    return code == 0 ? .connected : .failed(failure(code))
  }

  /// Begins to connect and does not wait for it, for who looks after several sockets: ``progress(_:)`` says how far it is.
  ///
  /// - Returns: nil where it has failed already.
  func beginToConnect(_ address: SocketAddress) throws -> Socket? {
    switch try begin(address) {
    case .success(let socket): socket
    case .failure: nil
    }
  }

  /// Makes a socket and begins to connect it. Throws only when this process has run out of something.
  private func begin(_ address: SocketAddress) throws -> Result<Socket, ConnectFailure> {
    let fd = shim_stream_socket(address.family)
    guard fd >= 0 else {
      let code = errno
      // A kernel without IPv6.
      if code == EAFNOSUPPORT { return .failure(.networkUnreachable) }
      throw Rejection(.overloaded, detail: "no socket for the upstream", cause: SystemError("socket", code))
    }
    if address.isIP {
      setSocketOption(fd, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
      if address.isLocal { Pacing.avoid(on: fd) }
    }
    if let source = source(for: address) {
      // The port is chosen by connect, which knows the destination, so that ports are not used up early.
      setSocketOption(fd, Int32(IPPROTO_IP), Int32(IP_BIND_ADDRESS_NO_PORT), 1)
      let bound = SocketAddress.ip(source, port: 0).withSockaddr { bind(fd, $0, $1) }
      if bound != 0 {
        let code = errno
        close(fd)
        return .failure(.source(source, code))
      }
    }
    let code = address.withSockaddr { shim_connect(fd, $0, $1) == 0 ? 0 : errno }
    // An interrupted connect goes on by itself.
    guard code == 0 || code == EINPROGRESS || code == EINTR else {
      close(fd)
      return .failure(Self.failure(code))
    }
    let ready: Readiness = code == 0 ? .writable : []
    guard
      let socket = Socket(adopting: fd, on: connection.loop, remoteAddress: address, readiness: ready)
    else {
      throw Rejection(.overloaded, detail: "the kernel watches no further socket")
    }
    socket.waker = connection
    return .success(socket)
  }

  private func source(for address: SocketAddress) -> IPAddress? {
    guard case .ip(let ip, _) = address else { return nil }
    for source in sources where source.isIPv6 == ip.isIPv6 { return source }
    guard let usual = options.sourceAddress, usual.isIPv6 == ip.isIPv6 else { return nil }
    return usual
  }

  private static func failure(_ code: Int32) -> ConnectFailure {
    switch code {
    // A Unix socket whose file is missing has nobody behind it, like a port without a listener. EAGAIN: its backlog is
    // full, which TCP would show as silence.
    case ECONNREFUSED, ENOENT, ECONNRESET: .refused
    case EHOSTUNREACH, EHOSTDOWN: .hostUnreachable
    case ENETUNREACH, ENETDOWN, EADDRNOTAVAIL, EAFNOSUPPORT: .networkUnreachable
    case ETIMEDOUT, EAGAIN: .timedOut
    default: .other(code)
    }
  }

  private func rejection(_ failure: ConnectFailure, _ addresses: [SocketAddress]) -> Rejection {
    let list = addresses.map(\.description).joined(separator: ", ")
    switch failure {
    case .refused: return Rejection(.connectionRefused, detail: list, cause: failure)
    case .hostUnreachable: return Rejection(.hostUnreachable, detail: list, cause: failure)
    case .networkUnreachable: return Rejection(.networkUnreachable, detail: list, cause: failure)
    case .timedOut: return Rejection(.connectTimeout, detail: "\(list) within \(timeout)", cause: failure)
    case .source(let source, let code):
      let cause = SystemError("bind", code)
      return Rejection(.networkUnreachable, source: .proxy, detail: "\(list) from \(source): \(cause)", cause: cause)
    case .other(let code):
      let cause = SystemError("connect", code)
      return Rejection(.hostUnreachable, detail: "\(list): \(cause)", cause: cause)
    }
  }
}
