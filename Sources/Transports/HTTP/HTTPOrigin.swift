public import Pipeline

/// A service that is asked over HTTP on behalf of an exchange: by `ForwardAuth`, or for the keys of `JWTAuth`.
///
/// `ForwardAuth(HTTPOrigin("http://auth.internal:9091"), path: "/verify")`
///
/// It speaks as strictly as the transport does to its upstreams. Idle connections are kept, by loop, and used again; an
/// idempotent request is sent a second time when a kept connection turns out to be dead. No address rule is applied: the
/// operator's own word is the rule.
public struct HTTPOrigin: HTTPClient {
  private let endpoint: Endpoint?
  private let socketPath: String?
  private let link: UpstreamLink
  private let options: HTTPOptions
  public let description: String

  /// - Parameters:
  ///   - address: `http://host`, `http://host:port`, `host:port` or `unix:/path`; without a port it is 80. A text that is none
  ///     of these is a mistake of the program, and ends it.
  ///   - maxIdle: connections that each loop keeps.
  ///   - idleTimeout: how long one is kept.
  public init(_ address: String, maxIdle: Int = 8, idleTimeout: Duration = .seconds(30)) {
    description = address
    link = UpstreamLink(maxIdle: maxIdle, idleTimeout: idleTimeout, url: address)
    options = HTTPOptions()
    if address.hasPrefix("unix:"), case .unix(let path)? = SocketAddress(address) {
      socketPath = path
      endpoint = nil
      return
    }
    var text = Substring(address)
    if text.lowercased().hasPrefix("http://") { text = text.dropFirst(7) }
    if text.hasSuffix("/") { text = text.dropLast() }
    let named = Endpoint(String(text)) ?? Host(String(text)).map { Endpoint($0, port: 80) }
    guard let named, named.port != 0 else {
      preconditionFailure("HTTPOrigin(\"\(address)\"): allowed are http://host:port, host:port and unix:/path")
    }
    endpoint = named
    socketPath = nil
  }

  public func send(
    _ method: HTTPMethod, _ target: String, _ fields: HeaderFields, on exchange: Exchange, atMost limit: Int
  ) async throws -> HTTPClientResponse {
    let destination = try await destination(on: exchange)
    let request = wire(method, target, fields)
    let pool = (exchange.runtime as? Connection)?.loop.http.pool
    var address: SocketAddress?
    while let kept = pool?.take(link, destination.addresses, &address) {
      if let connection = exchange.runtime as? Connection { kept.stream.waker = connection }
      var talk = OriginTalk(kept.stream, address, method, options, from: description)
      if let response = try await ask(&talk, request, on: exchange, atMost: limit, pool) { return response }
      // It had been closed before the request came. What may not be repeated is not sent twice.
      if !method.isIdempotent { throw Self.noAnswer(description) }
    }
    let stream = try await exchange.runtime.connect(to: destination, timeout: exchange.listener.options.connectTimeout)
    var talk = OriginTalk(stream, stream.remoteAddress, method, options, from: description)
    guard let response = try await ask(&talk, request, on: exchange, atMost: limit, pool) else {
      throw Self.noAnswer(description)
    }
    return response
  }

  private static func noAnswer(_ name: String) -> Rejection {
    Rejection(.upstreamReset, detail: "\(name) closed without an answer")
  }

  private func destination(on exchange: Exchange) async throws -> ApprovedDestination {
    if let socketPath { return .unixSocket(socketPath) }
    guard let endpoint else { preconditionFailure("an origin has an endpoint or a path") }
    return try AddressPolicy.anything.approve(endpoint, resolved: try await exchange.resolve(endpoint.host))
  }

  private func wire(_ method: HTTPMethod, _ target: String, _ fields: HeaderFields) -> [UInt8] {
    var head = HTTPRequestHead(method: method, target: target)
    head.fields = fields
    head.fields.remove("host")
    var out: [UInt8] = []
    HeadSerializer.append(head, OutgoingRequest(), host: Array((endpoint?.description ?? "localhost").utf8), to: &out)
    return out
  }

  // MARK: One question

  /// Nil when the connection ended before a byte came back.
  private func ask(
    _ talk: inout OriginTalk, _ request: [UInt8], on exchange: Exchange, atMost limit: Int, _ pool: UpstreamPool?
  ) async throws -> HTTPClientResponse? {
    let outer = exchange.deadline
    let mine = exchange.now + options.responseTimeout
    if mine < outer { exchange.deadline = mine }
    defer { exchange.deadline = outer }
    do {
      guard let response = try await talk.ask(request, on: exchange.runtime, atMost: limit) else {
        talk.stream.abort()
        return nil
      }
      if let pool, let address = talk.address, talk.keepsAlive {
        pool.put(RelaySide(talk.stream), to: address, for: link)
      } else {
        talk.stream.close()
      }
      return response
    } catch let exceeded as DeadlineExceeded where mine < outer && exceeded.deadline == mine {
      talk.stream.abort()
      throw Rejection(
        .deadlineExceeded, source: .upstream, detail: "\(description) did not answer within \(options.responseTimeout)")
    } catch let failure as StreamError {
      talk.stream.abort()
      throw Rejection(.upstreamReset, detail: "\(description) broke off", cause: failure)
    } catch {
      talk.stream.abort()
      throw error
    }
  }
}
