/// One HTTP request on a connection that may carry several.
///
/// The response phase: whoever answers calls ``commit(_:)``. It fills the head, renders the annotations, lets every element
/// whose `next` was called see and edit it, innermost first, and writes it. A throw in between leaves the exchange
/// uncommitted and surfaces at the `next()` of whoever catches.
open class HTTPExchange: PasswordExchange, PasswordTransport {
  /// What the client asks; elements may rewrite it before they call `next`.
  public final var request: HTTPRequestHead
  /// What a 401 or 407 asks for (RFC 9110, 11.6.1). Authenticators set it before they throw.
  public final var challenge = HTTPExchange.basicChallenge
  /// What a 403 says besides to who is known and may not (RFC 6750, 3.1: `insufficient_scope`); `nil`: nothing. Who throws
  /// `forbidden` sets it before.
  public final var forbiddenChallenge: String?
  /// The status that the client was answered with; `nil` before the answer, after which it stays.
  @exclusivity(unchecked) public final private(set) var status: Int?
  /// The status with which the upstream that was tried last answered, before any element edited it; `nil`: not yet.
  @exclusivity(unchecked) public final package(set) var upstreamStatus: Int?
  /// What the destination adds to the upstream's answer: the cookie that names the backend.
  package final var affinityCookie: String?
  /// Who sees the response body; see ``tapResponseBody(_:)``.
  public final private(set) var tap: (any BodyTap)?

  /// The value of the `authorization` field that ends here; see ``withholdCredentials()``.
  package final private(set) var withheldCredentials: [UInt8] = []
  /// The innermost route that the request went into.
  public final internal(set) var route: TakenRoute?

  final var captures = RouteCaptures()
  private final var head = HTTPResponseHead()
  private final var phase: (any ResponsePhase)?
  private final var identities: [AnyObject] = []
  /// The methods of the routes that matched but for the method.
  final var allowed = AllowedMethods()
  /// Heads that are out of use; their memory serves the next edit.
  private final var spareHeads: [HTTPRequestHead] = []

  static let basicChallenge = "Basic realm=\"proxy\", charset=\"UTF-8\""

  public init(
    id: UInt64, client: ClientAddress, listener: ListenerInfo, runtime: ConnectionRuntime, request: HTTPRequestHead
  ) {
    self.request = request
    super.init(id: id, client: client, listener: listener, runtime: runtime)
  }

  open override class var transport: String { "http" }

  /// How the client's side is spoken, `http` or `https`: as a trusted proxy in front says, or else as the connection is.
  open var scheme: String { "http" }

  /// By its method (RFC 9110, 9.2.2), as long as what was sent on of its body can be sent again.
  open override var isIdempotent: Bool { request.method.isIdempotent && isRepeatable }

  open override func recycle(id: UInt64) {
    super.recycle(id: id)
    if tap != nil { tap = nil }
    isDetached = false
    status = nil
    upstreamStatus = nil
    if affinityCookie != nil { affinityCookie = nil }
    challenge = HTTPExchange.basicChallenge
    if forbiddenChallenge != nil { forbiddenChallenge = nil }
    if !withheldCredentials.isEmpty { withheldCredentials.removeAll(keepingCapacity: true) }
    if route != nil { route = nil }
    captures.removeAll()
    allowed.removeAll()
  }

  /// The user name and password of the `authorization` field (`proxy-authorization` where the client speaks to a forward
  /// proxy), by RFC 7617; `nil` without one.
  ///
  /// - Throws: `Rejection(.malformed)` when the field is there and cannot be read.
  open override func credentials() async throws -> PasswordCredentials? {
    try requireOneCredentialsField()
    return try request.fields.withValue(of: credentialsField) { value in
      guard let value else { return nil }
      return try basicCredentials(in: value)
    }
  }

  /// Lends the request to `body` where it is. `exchange.request.something` copies the head first, which counts references.
  ///
  /// Not inlinable: where it was, the optimizer made that very copy.
  package final func withRequest<Result>(_ body: (inout HTTPRequestHead) throws -> Result) rethrows -> Result {
    try body(&request)
  }

  /// Shows the response body to `tap` while it is relayed. Call it in `respond`; it holds for this response only.
  public final func tapResponseBody(_ tap: any BodyTap) { self.tap = tap }

  /// Answers without an upstream. The elements above still run their `respond`; the one that calls this does not.
  ///
  /// `return try await exchange.respond(204) { $0.fields.set("x-cache", "hit") }`
  public final func respond(
    _ status: Int, body: [UInt8] = [], _ edit: (inout HTTPResponseHead) -> Void = { _ in }
  ) async throws -> Summary {
    try await commit { head in
      head.status = status
      head.origin = .local
      head.replaceBody(body)
      edit(&head)
    }
    return Summary(traffic: traffic, endedBy: .proxy)
  }

  /// Answers with a body that is written piece by piece, as fast as the client takes it.
  ///
  /// - Parameters:
  ///   - length: the bytes that `body` will write; `nil`: unknown (chunked, or ended by a close for HTTP/1.0). Writing more or
  ///     less cuts the connection, so that the client sees it.
  ///   - body: calls ``writeBody(_:)``. Not called for HEAD.
  public final func respond(
    _ status: Int, length: UInt64?, _ edit: (inout HTTPResponseHead) -> Void = { _ in },
    streaming body: (HTTPExchange) async throws -> Void
  ) async throws -> Summary {
    try await commit { head in
      head.status = status
      head.origin = .local
      head.streamBody(length: length)
      edit(&head)
    }
    // The head says what GET would get; a body never follows it (RFC 9110, 9.3.2).
    if request.method != .head { try await body(self) }
    try await finishBody()
    return Summary(traffic: traffic, endedBy: .proxy)
  }

  // MARK: Bodies

  /// Appends the next bytes of the request's body. The first call sends the `100 (Continue)` that a client waits for.
  ///
  /// - Returns: false when the body has ended.
  /// - Throws: `Rejection`: `malformed`, `bodyTooLarge`, `handshakeTimeout` (too slow), `clientGone`.
  open func readBody(into buffer: inout [UInt8], atMost limit: Int = 16 * 1024) async throws -> Bool { false }

  /// The whole body of the request.
  ///
  /// - Throws: `Rejection(.bodyTooLarge)` when it is longer than `limit`; what ``readBody(into:atMost:)`` throws.
  public final func collectBody(upTo limit: Int) async throws -> [UInt8] {
    if case .bytes(let length) = request.body, length > UInt64(limit) { throw Rejection(.bodyTooLarge) }
    var body: [UInt8] = []
    while try await readBody(into: &body, atMost: limit - body.count + 1) {
      if body.count > limit { throw Rejection(.bodyTooLarge) }
    }
    return body
  }

  /// Writes the next bytes of a streamed response; waits until the client takes them.
  open func writeBody(_ bytes: RawSpan) async throws {}

  /// Writes the next bytes of a streamed response; waits until the client takes them.
  public final func writeBody(_ bytes: [UInt8]) async throws { try await writeBody(bytes.span.bytes) }

  /// Ends a streamed response.
  open func finishBody() async throws {}

  // MARK: Going on without the client

  /// Whether the client has its answer already, and what comes is for the elements on the way only.
  @exclusivity(unchecked) public final private(set) var isDetached = false

  /// Answers the client now, and lets the exchange go on without it: what `next` brings is seen by the elements below and
  /// by taps, and is then dropped. So a cache serves what is stale and fetches what is fresh. The connection's next request
  /// waits until the chain has returned.
  public final func respondAndDetach(
    _ status: Int, body: [UInt8], _ edit: (inout HTTPResponseHead) -> Void = { _ in }
  ) async throws {
    _ = try await respond(status, body: body, edit)
    isDetached = true
    isCommitted = false
  }

  /// Whoever answers: fills the head, runs the response phase, writes the head.
  ///
  /// - Throws: what the phase throws, with the exchange uncommitted; what the write throws, with the exchange committed;
  ///   `Rejection(.internalError)` when it has been answered already.
  public final func commit(_ fill: (inout HTTPResponseHead) throws -> Void) async throws {
    if try prepareAnswer(fill) { try await write(head) }
  }

  /// Transport: as ``commit(_:)`` up to the write, for an answer that may be written without waiting.
  ///
  /// - Returns: whether ``preparedAnswer`` is to be written; not for a client that has its answer already.
  package final func prepareAnswer(_ fill: (inout HTTPResponseHead) throws -> Void) throws -> Bool {
    // A mistake of a destination, which must not end the process.
    guard !isCommitted else { throw Rejection(.internalError, detail: "an exchange is answered once") }
    // The head is taken out while elements edit it, so that they may use the exchange meanwhile (exclusive access).
    var answer = HTTPResponseHead()
    swap(&answer, &head)
    answer.reset()
    tap = nil
    defer { swap(&answer, &head) }
    try fill(&answer)
    if let limit = annotations.rateLimit { answer.fields.set(limit) }
    if let affinityCookie, answer.origin == .upstream { answer.fields.add("set-cookie", affinityCookie) }
    try phase?.respond(&answer, on: self)
    isCommitted = true
    tap?.begin(answer.body)
    if isDetached {
      tapReplacedBody(answer)
      drop(answer)
      return false
    }
    status = answer.status
    return true
  }

  /// Transport: what ``prepareAnswer(_:)`` has made.
  package final var preparedAnswer: HTTPResponseHead { head }

  /// Nobody writes a detached answer, so the tap hears here of a body that is in the head.
  private func tapReplacedBody(_ answer: HTTPResponseHead) {
    guard let tap, case .bytes(let bytes) = answer.body else { return }
    tap.receive(bytes.span.bytes)
    tap.finish(complete: true)
  }

  /// Transport: an error reached the top. The elements above the one that threw answer for it, too; if one of them throws
  /// now, the client gets a bare 500. Does nothing after the commit: then only truncation is honest.
  public final func refuse(_ error: any Error) async throws {
    guard !isCommitted, !isDetached else { return }
    let rejection = Rejection(error)
    let refusal = HTTPRefusal(rejection)
    do {
      try await commit { head in
        head.status = refusal.status(for: request)
        head.origin = .local
        head.replaceBody([])
        refusal.describe(in: &head, for: self)
      }
    } catch  where !isCommitted {
      phase = nil
      try await commit { head in
        head.status = 500
        head.origin = .local
        head.replaceBody([])
      }
    }
  }

  /// Transport: writes the head, and the body where the head holds one.
  open func write(_ head: HTTPResponseHead) async throws {}

  /// Transport: this would have been written, but the client has its answer already. A relayed body is still read, for the tap.
  open func drop(_ head: HTTPResponseHead) {}

  /// The status that this rejection is answered with, unless an element on the way changes it.
  public final func status(for rejection: Rejection) -> Int { HTTPRefusal(rejection).status(for: request) }

  final func attach(_ phase: any ResponsePhase) { if self.phase !== phase { self.phase = phase } }

  final func withhold(_ credentials: borrowing Span<UInt8>) {
    withheldCredentials.removeAll(keepingCapacity: true)
    credentials.withUnsafeBufferPointer { withheldCredentials.append(contentsOf: $0) }
  }
}

// MARK: - A request that is edited for those below

extension HTTPExchange {
  /// Lets the elements below see an edited request; afterwards it is what it was. So a retry above begins with what the
  /// client sent, and a log above writes that.
  ///
  /// `return try await exchange.withEditedRequest({ $0.path = "/" }) { try await next() }`
  ///
  /// Costs a copy of the head into memory that the connection keeps; allocates nothing once that has grown.
  public final func withEditedRequest(
    _ edit: (inout HTTPRequestHead) throws -> Void, next: Next
  ) async throws -> Summary {
    var head = spareHeads.popLast() ?? HTTPRequestHead(method: .get, target: "/")
    head.assign(request)
    do {
      try edit(&head)
    } catch {
      spareHeads.append(head)
      throw error
    }
    swap(&head, &request)
    defer {
      swap(&head, &request)
      spareHeads.append(head)
    }
    return try await next()
  }
}

// MARK: - Identities that a kept connection remembers

extension HTTPExchange {
  /// The identity that the authenticator with this state gave to the very same credential bytes earlier on this connection.
  ///
  /// - Parameters:
  ///   - state: the authenticator's state object.
  ///   - version: of the authenticator's state; an identity of another version (a changed user table) is not given.
  public final func rememberedIdentity<User: Identity>(
    _ type: User.Type, for credentials: borrowing Span<UInt8>, by state: AnyObject, version: UInt64
  ) -> User? {
    remembered(type, by: state)?.user(for: credentials, version: version, now: now)
  }

  /// Remembers an identity for the next requests on this connection that carry the very same credential bytes.
  ///
  /// - Parameter expiry: when it has to be established anew (a token's own expiry).
  public final func rememberIdentity<User: Identity>(
    _ user: User, for credentials: borrowing Span<UInt8>, by state: AnyObject, version: UInt64,
    until expiry: Instant = .distantFuture
  ) {
    let entry = remembered(User.self, by: state) ?? RememberedIdentity<User>(state: state)
    if !identities.contains(where: { $0 === entry }) { identities.append(entry) }
    entry.set(user, for: credentials, version: version, until: expiry)
  }

  private func remembered<User: Identity>(_ type: User.Type, by state: AnyObject) -> RememberedIdentity<User>? {
    // The types are compared first, so the cast cannot be wrong; a dynamic cast would cost more than all the rest.
    for entry in identities where Swift.type(of: entry) == RememberedIdentity<User>.self {
      let entry = unsafeDowncast(entry, to: RememberedIdentity<User>.self)
      if entry.state === state { return entry }
    }
    return nil
  }
}
