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
    while let kept = pool?.take(link, destination.addresses) {
      if let connection = exchange.runtime as? Connection { kept.stream.waker = connection }
      var talk = Talk(kept.stream, kept.address, method, options)
      if let response = try await ask(&talk, request, on: exchange, atMost: limit, pool) { return response }
      // It had been closed before the request came. What may not be repeated is not sent twice.
      if !method.isIdempotent { throw Self.noAnswer(description) }
    }
    let stream = try await exchange.runtime.connect(to: destination, timeout: exchange.listener.options.connectTimeout)
    var talk = Talk(stream, stream.remoteAddress, method, options)
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

  /// The state of one question on one connection.
  private struct Talk {
    let stream: any ByteStream
    let address: SocketAddress?
    let method: HTTPMethod
    var parser: ResponseHeadParser
    var head = HTTPResponseHead()
    var framing = ResponseFraming()
    var body: BodyDecoder

    init(_ stream: any ByteStream, _ address: SocketAddress?, _ method: HTTPMethod, _ options: HTTPOptions) {
      self.stream = stream
      self.address = address
      self.method = method
      parser = ResponseHeadParser(options)
      body = BodyDecoder(options, from: .origin)
    }
  }

  /// Nil when the connection ended before a byte came back.
  private func ask(
    _ talk: inout Talk, _ request: [UInt8], on exchange: Exchange, atMost limit: Int, _ pool: UpstreamPool?
  ) async throws -> HTTPClientResponse? {
    let outer = exchange.deadline
    let mine = exchange.now + options.responseTimeout
    if mine < outer { exchange.deadline = mine }
    defer { exchange.deadline = outer }
    do {
      guard let response = try await converse(&talk, request, on: exchange, atMost: limit) else {
        talk.stream.abort()
        return nil
      }
      if let pool, let address = talk.address, talk.framing.keepsAlive {
        pool.put(talk.stream, to: address, for: link)
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

  private func converse(
    _ talk: inout Talk, _ request: [UInt8], on exchange: Exchange, atMost limit: Int
  ) async throws -> HTTPClientResponse? {
    var received: [UInt8] = []
    do {
      try await exchange.write(request, to: talk.stream)
      guard try await exchange.read(from: talk.stream, into: &received) else { return nil }
    } catch is StreamError {
      return nil
    }
    while try !takeHead(&talk, &received) {
      guard try await exchange.read(from: talk.stream, into: &received) else {
        throw Rejection(.upstreamProtocol, detail: "\(description) closed in the middle of a head")
      }
    }
    var body: [UInt8] = []
    while true {
      try takeBody(&talk, &received, into: &body, atMost: limit)
      if talk.body.hasEnded { break }
      guard try await exchange.read(from: talk.stream, into: &received) else {
        guard talk.body.endsWithClose else {
          throw Rejection(.upstreamProtocol, detail: "\(description) closed in the middle of a body")
        }
        break
      }
    }
    return HTTPClientResponse(status: talk.head.status, fields: talk.head.fields, body: body)
  }

  /// True when the final head is complete; what stands behind it is left in `received`.
  private func takeHead(_ talk: inout Talk, _ received: inout [UInt8]) throws -> Bool {
    while true {
      // The parser's pointers live for the length of the call.
      let progress = try received.withUnsafeBytes {
        try talk.parser.parse($0, for: talk.method, into: &talk.head, &talk.framing)
      }
      guard case .complete(let length) = progress else { return false }
      received.removeFirst(length)
      if talk.framing.isInterim {
        talk.parser.reset()
        if received.isEmpty { return false }
        continue
      }
      if talk.framing.opensTunnel {
        throw Rejection(.upstreamProtocol, detail: "\(description) wants to speak another protocol")
      }
      switch talk.framing.body {
      case .none: talk.body.beginNone()
      case .bytes(let length): talk.body.begin(length)
      case .chunked: talk.body.beginChunked()
      case .untilClose: talk.body.beginUntilClose()
      }
      return true
    }
  }

  private func takeBody(
    _ talk: inout Talk, _ received: inout [UInt8], into body: inout [UInt8], atMost limit: Int
  ) throws {
    let step = try received.withUnsafeMutableBytes { try talk.body.decode($0) }
    body.append(contentsOf: received[step.payload])
    // More than its head declared: nothing that comes on this connection could be told apart.
    if step.consumed < received.count { talk.framing.keepsAlive = false }
    received.removeAll(keepingCapacity: true)
    if body.count > limit {
      throw Rejection(.upstreamProtocol, detail: "\(description) answered with more than \(limit) bytes")
    }
  }
}
