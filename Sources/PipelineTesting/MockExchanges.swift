public import Pipeline

/// A client as a test wants it: who it is, what it sends.
public struct MockClient: Sendable {
  public var address: ClientAddress
  /// What it answers when it is asked for a user name and a password; `nil`: it has none.
  public var credentials: PasswordCredentials?
  /// Where it wants to go.
  public var destination: Endpoint?
  /// Its request, where it speaks HTTP.
  public var request: HTTPRequestHead
  /// What follows the request, in the pieces in which it comes.
  public var body: [[UInt8]] = []

  /// - Parameters:
  ///   - ip: the client's address; its port is 50000.
  ///   - destination: `host:port`.
  public init(
    ip: String = "192.0.2.1", user: String? = nil, password: String = "", destination: String? = "example.org:443",
    method: HTTPMethod = .get, target: String = "/"
  ) {
    guard let parsed = IPAddress(ip) else { preconditionFailure("\"\(ip)\" is no IP address") }
    address = ClientAddress(.ip(parsed, port: 50_000))
    credentials = user.map { PasswordCredentials(user: $0, password: password) }
    self.destination = destination.map { text in
      guard let endpoint = Endpoint(text) else { preconditionFailure("\"\(text)\" is no host:port") }
      return endpoint
    }
    request = HTTPRequestHead(method: method, target: target)
  }

  /// A client on a Unix socket.
  public static func unix(uid: UInt32) -> MockClient {
    var client = MockClient()
    client.address = ClientAddress(.unix(uid: uid))
    return client
  }
}

/// An exchange whose client a test plays.
public protocol MockExchange: TransportExchange {
  init(id: UInt64, client: MockClient, listener: ListenerInfo, runtime: TestRuntime, stream: MemoryStream?)
}

extension MockExchange {
  /// An exchange with a runtime of its own: enough to call one middleware by hand.
  public init(
    _ client: MockClient = MockClient(), id: UInt64 = 1, runtime: TestRuntime = TestRuntime(),
    options: ListenerOptions = ListenerOptions(), stream: MemoryStream? = nil
  ) {
    self.init(
      id: id, client: client,
      listener: ListenerInfo(
        name: Self.transport, transport: Self.transport, address: .ip(.loopbackV4, port: 1), options: options),
      runtime: runtime, stream: stream)
  }
}

/// A raw TCP connection. Its client names no destination unless the test gives it one.
public final class MockTCPExchange: TCPExchange, MockExchange {
  private let mock: MockClient
  private let stream: MemoryStream?

  public init(id: UInt64, client: MockClient, listener: ListenerInfo, runtime: TestRuntime, stream: MemoryStream?) {
    mock = client
    self.stream = stream
    super.init(id: id, client: client.address, listener: listener, runtime: runtime)
  }

  public override var clientStream: any ByteStream { stream ?? super.clientStream }
}

/// A SOCKS5 connection. It notes in which order the chain asked its client.
public final class MockSOCKS5Exchange: SOCKS5Exchange, MockExchange {
  /// What a client is asked.
  public enum Question: Sendable, Hashable {
    case credentials, destination
  }

  private let mock: MockClient
  private let stream: MemoryStream?
  public private(set) var asked: [Question] = []
  /// Whether the client was told that the way is open.
  public private(set) var isOpened = false

  public init(id: UInt64, client: MockClient, listener: ListenerInfo, runtime: TestRuntime, stream: MemoryStream?) {
    mock = client
    self.stream = stream
    super.init(id: id, client: client.address, listener: listener, runtime: runtime)
  }

  public override var clientStream: any ByteStream { stream ?? super.clientStream }

  public override func credentials() async throws -> PasswordCredentials? {
    precondition(!asked.contains(.destination), "a SOCKS5 client authenticates before it names its destination")
    asked.append(.credentials)
    return mock.credentials
  }

  public override func destination() async throws -> Endpoint {
    if !asked.contains(.destination) { asked.append(.destination) }
    guard let destination = mock.destination else { throw Rejection(.malformed, detail: "no request") }
    requestedDestination = destination
    return destination
  }

  public override func openTunnel(through upstream: any ByteStream) async throws {
    isOpened = true
    isCommitted = true
  }
}

/// An HTTP request. What goes to the client is kept in ``response``.
public final class MockHTTPExchange: HTTPExchange, MockExchange {
  private let mock: MockClient
  private let stream: MemoryStream?
  /// The head that the client got.
  public private(set) var response: HTTPResponseHead?
  /// The body that the client got.
  public private(set) var responseBody: [UInt8] = []
  /// Whether a body that was written piece by piece came to its end.
  public private(set) var isBodyFinished = false
  /// Called when a head has been written: the world may change before the body.
  public var afterHead: () throws -> Void = {}
  private var unread: [[UInt8]]
  /// What of the body has been read, and how much of it an element above wants to have kept.
  private var taken: [UInt8] = []
  private var keptLimit = 0

  public init(id: UInt64, client: MockClient, listener: ListenerInfo, runtime: TestRuntime, stream: MemoryStream?) {
    mock = client
    self.stream = stream
    unread = client.body
    super.init(id: id, client: client.address, listener: listener, runtime: runtime, request: client.request)
  }

  public override var clientStream: any ByteStream { stream ?? super.clientStream }

  /// The `authorization` field of the request where it has one, else those of the mock client.
  public override func credentials() async throws -> PasswordCredentials? {
    if request.fields.contains("authorization") || request.fields.contains("proxy-authorization") {
      return try await super.credentials()
    }
    return mock.credentials
  }

  public override func destination() async throws -> Endpoint {
    guard let destination = mock.destination else { return try await super.destination() }
    requestedDestination = destination
    return destination
  }

  public override func write(_ head: HTTPResponseHead) async throws {
    response = head
    if case .bytes(let bytes) = head.body, hasBody(head.status) { responseBody = bytes }
    try afterHead()
  }

  public override func readBody(into buffer: inout [UInt8], atMost limit: Int) async throws -> Bool {
    guard let first = unread.first else { return false }
    buffer.append(contentsOf: first.prefix(limit))
    taken += first.prefix(limit)
    if first.count > limit { unread[0].removeFirst(limit) } else { unread.removeFirst() }
    return true
  }

  public override var isRepeatable: Bool { taken.count <= keptLimit }

  public override func keepForRepeat(upTo limit: Int) { keptLimit = max(keptLimit, limit) }

  public override func beginRepeat() {
    if !taken.isEmpty { unread.insert(taken, at: 0) }
    taken = []
  }

  public override func writeBody(_ bytes: RawSpan) async throws {
    precondition(request.method != .head, "no body follows an answer to HEAD")
    tap?.receive(bytes)
    guard !isDetached else { return }
    for i in 0..<bytes.byteCount { responseBody.append(bytes.unsafeLoad(fromByteOffset: i, as: UInt8.self)) }
  }

  public override func finishBody() async throws {
    isBodyFinished = true
    tap?.finish(complete: true)
  }

  private func hasBody(_ status: Int) -> Bool { request.method != .head && status != 204 && status != 304 }

  /// Answers as a transport does that relays an upstream's response: the phase runs, a tap sees the body, and the client gets
  /// it, unless an element has put another one in its place.
  ///
  /// - Parameter cutAfter: so many bytes of the body come, and then the upstream's connection breaks.
  public func relay(
    _ status: Int, _ fields: KeyValuePairs<HeaderName, String> = [:], body: [UInt8] = [], cutAfter: Int? = nil
  ) async throws -> Summary {
    var isRelayed = false
    upstreamStatus = status
    noteUpstreamAnswer(at: now)
    try await commit { head in
      head.status = status
      for (name, value) in fields { head.fields.add(name, value) }
    }
    if case .relayed? = response?.body { isRelayed = true }
    if isRelayed || isDetached, hasBody(status) {
      let part = Array(body.prefix(cutAfter ?? body.count))
      // In two pieces, as it may come.
      let half = part.count / 2
      try await writeBody(Array(part[..<half]))
      try await writeBody(Array(part[half...]))
    }
    tap?.finish(complete: cutAfter == nil)
    if cutAfter != nil { throw Rejection(.upstreamReset) }
    return Summary(traffic: traffic)
  }
}
