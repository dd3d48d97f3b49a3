internal import Pipeline

/// Connects by a ``Way``: the shell that dials the first proxy and performs what the handshakes say, one after the other, on
/// the one connection that leads through all of them.
///
/// All of it has one limit in time, so a proxy that takes our connection and says nothing, or a byte a second, is given up.
/// The socket is closed on every path but the good one.
struct WayDialer<Runtime: ConnectionRuntime & ParkedTask> {
  private let runtime: Runtime
  private let options: DialOptions
  private let way: Way

  init(_ runtime: Runtime, _ options: DialOptions, _ way: Way) {
    self.runtime = runtime
    self.options = options
    self.way = way
  }

  func dial(_ destination: ApprovedDestination, timeout: Duration) async throws -> Dialled {
    guard !way.proxies.isEmpty else {
      let socket = try await connect(destination.addresses, timeout: timeout)
      return Dialled(socket, at: socket.remoteAddress)
    }
    let outer = runtime.deadline
    let mine = runtime.now + timeout
    if mine < outer { runtime.deadline = mine }
    defer { runtime.deadline = outer }
    do {
      return try await dial(through: try targets(destination))
    } catch let exceeded as DeadlineExceeded where mine < outer && exceeded.deadline == mine {
      throw Rejection(.connectTimeout, detail: "\(way), within \(timeout)", cause: exceeded)
    }
  }

  /// What the last proxy may be asked for, in the order in which to try it.
  private func targets(_ destination: ApprovedDestination) throws -> [ProxyTarget] {
    if destination.isName, way.resolvesNames, let endpoint = destination.endpoint, case .name(let name) = endpoint.host
    {
      return [.name(name, port: endpoint.port)]
    }
    if destination.isName {
      throw Rejection(
        .internalError,
        detail: "\(way): the destination was approved as a name, and the last proxy does not resolve names")
    }
    let targets = way.preferred(destination.addresses).compactMap { address -> ProxyTarget? in
      switch address {
      case .ip(let ip, let port): .address(ip, port: port)
      case .unix: nil
      }
    }
    if targets.isEmpty {
      let list = destination.addresses.map(\.description).joined(separator: ", ")
      throw Rejection(.networkUnreachable, retry: .pointless, detail: "\(way): nothing of \(list) can be asked for")
    }
    return targets
  }

  /// Asks for one address after the other until one is had, each on a connection of its own: after a refusal a proxy closes.
  private func dial(through targets: [ProxyTarget]) async throws -> Dialled {
    var refusal: Rejection?
    for target in targets {
      do {
        return try await dial(target)
      } catch let refused as RefusedTarget where refused.rejection.retry == .safe {
        refusal = refused.rejection
      } catch let refused as RefusedTarget {
        throw refused.rejection
      }
    }
    throw refusal ?? Rejection(.internalError, detail: "\(way): nothing was asked for")
  }

  private func dial(_ target: ProxyTarget) async throws -> Dialled {
    let socket = try await dialFirstProxy()
    do {
      let first = socket.remoteAddress
      for (index, proxy) in way.proxies.enumerated() {
        let isLast = index == way.proxies.count - 1
        let next = isLast ? target : try await address(of: way.proxies[index + 1], for: proxy)
        try await ask(proxy, for: next, on: socket, isLast: isLast)
      }
      switch target {
      case .address(let ip, let port): return Dialled(socket, at: .ip(ip, port: port))
      case .name: return Dialled(socket, at: first)
      }
    } catch {
      socket.abort()
      throw error
    }
  }

  // MARK: The proxies

  private func dialFirstProxy() async throws -> Socket {
    let proxy = way.proxies[0]
    do {
      switch proxy.place {
      case .unix(let path): return try await connect([.unix(path)], timeout: remainingTime)
      case .endpoint(let endpoint):
        let addresses = try await addresses(of: endpoint).map { SocketAddress.ip($0, port: endpoint.port) }
        return try await connect(addresses, timeout: remainingTime)
      case nil: throw Rejection(.internalError, detail: "its address cannot be read")
      }
    } catch let rejection as Rejection {
      throw Self.named(rejection, proxy)
    }
  }

  /// A proxy's place as the one before is told of it.
  private func address(of proxy: FarProxy, for asked: FarProxy) async throws -> ProxyTarget {
    guard case .endpoint(let endpoint)? = proxy.place else {
      throw Rejection(.internalError, detail: "\(proxy): its address cannot be told to \(asked)")
    }
    if case .name(let name) = endpoint.host, asked.resolvesNames { return .name(name, port: endpoint.port) }
    do {
      let known = try await addresses(of: endpoint).map { SocketAddress.ip($0, port: endpoint.port) }
      guard case .ip(let ip, let port)? = way.preferred(known).first else {
        throw Rejection(.nameNotFound, detail: "\(endpoint) has no address of the wanted family")
      }
      return .address(ip, port: port)
    } catch let rejection as Rejection {
      throw Self.named(rejection, proxy)
    }
  }

  private func addresses(of endpoint: Endpoint) async throws -> [IPAddress] {
    switch endpoint.host {
    case .ip(let address): [address]
    case .name(let name): try await runtime.resolve(name)
    }
  }

  /// Performs one handshake.
  private func ask(_ proxy: FarProxy, for target: ProxyTarget, on socket: Socket, isLast: Bool) async throws {
    var handshake = proxy.handshake(for: target)
    do {
      while true {
        switch handshake.advance() {
        case .send(let bytes): try await runtime.write(bytes, to: socket)
        case .read(let limit):
          var bytes: [UInt8] = []
          guard try await runtime.read(from: socket, into: &bytes, atMost: limit) else {
            throw Self.named(Rejection(.upstreamReset, retry: .safe, detail: "it closed without an answer"), proxy)
          }
          handshake.receive(bytes.span)
        case .open:
          let rest = handshake.takeRest()
          socket.pushBack(rest.span.bytes)
          return
        case .refused(let rejection):
          let rejection = Self.named(rejection, proxy, target)
          guard isLast else { throw Self.unreachable(rejection) }
          throw RefusedTarget(rejection: rejection)
        case .failed(let rejection): throw Self.named(rejection, proxy, target)
        }
      }
    } catch let failure as StreamError {
      throw Self.named(Rejection(.upstreamReset, retry: .safe, detail: "it broke off", cause: failure), proxy)
    }
  }

  // MARK: Parts

  private func connect(_ addresses: [SocketAddress], timeout: Duration) async throws -> Socket {
    let dialable = way.dialable(addresses)
    if dialable.isEmpty, !addresses.isEmpty {
      let list = addresses.map(\.description).joined(separator: ", ")
      throw Rejection(
        .networkUnreachable, source: .proxy, retry: .pointless,
        detail: "\(list): no address of a family that may leave \(way)")
    }
    return try await Dialer(runtime, options, from: way.sources, timeout: timeout).dial(dialable)
  }

  private var remainingTime: Duration { max(.zero, runtime.deadline - runtime.now) }

  private static func named(_ rejection: Rejection, _ proxy: FarProxy, _ target: ProxyTarget? = nil) -> Rejection {
    var rejection = rejection
    let asked = target.map { " for \($0)" } ?? ""
    rejection.detail = "\(proxy)\(asked): \(rejection.detail)"
    return rejection
  }

  /// A proxy that cannot be reached by the one before is no decision about what the client asked for.
  private static func unreachable(_ rejection: Rejection) -> Rejection {
    guard rejection.kind == .forbidden else { return rejection }
    return Rejection(.hostUnreachable, source: .proxy, retry: .pointless, detail: rejection.detail)
  }
}

/// The last proxy cannot have this address; another one may do.
private struct RefusedTarget: Error {
  let rejection: Rejection
}
