internal import Pipeline

/// One HTTP/1.1 client connection, and the exchange of the request that it carries at present.
///
/// One task, strictly in sequence: read a head, run the chain, end the answer, and begin anew. So pipelined requests are
/// answered in order, and the next one is not looked at before the one before is over. The object and everything in it
/// that has grown is used again by the next request.
///
/// Bytes pass through the loop's scratch buffer. Only what has to wait is kept, in queues that hold no memory while they are
/// empty: a connection that waits for its next request holds none.
final class HTTPConnection: HTTPExchange {
  let connection: Connection
  /// The client's end of the connection.
  let wire: RelaySide
  let share: HTTPShare
  let options: HTTPOptions
  /// Another configuration has served the requests before.
  let isContinued: Bool

  // Plain numbers and flags are not checked for overlapping accesses: see `Exchange`.

  // MARK: The request

  var parser: RequestHeadParser
  @exclusivity(unchecked) var framing = RequestFraming()
  /// Bytes of the client that were read ahead.
  var inbox = ByteQueue()
  var requestBody: BodyDecoder
  /// Whether bytes of the request's body have been handed on, to an upstream or to an element.
  @exclusivity(unchecked) var hasTakenBody = false
  /// Payload bytes of the request's body so far, for `maxBody` and for the rate.
  @exclusivity(unchecked) var bodyReceived: UInt64 = 0
  /// Whether `100 (Continue)` has been sent to the client, by whomever.
  @exclusivity(unchecked) var hasSentContinue = false
  var pace = BodyPace()
  /// What of the body has been handed on, where a retry wants to be able to send it again.
  var replay = ReplayBuffer()
  /// Whether the client asked with HEAD, and so gets no body; elements may ask the upstream with another method.
  @exclusivity(unchecked) var isHead = false

  /// What heads say of the way.
  let forwarder: Forwarder

  // MARK: The answer

  /// What the client has not taken yet.
  var outbox = ByteQueue()
  @exclusivity(unchecked) var answer = Answer.none
  @exclusivity(unchecked) var answerBody = BodyEncoder.none
  /// Whether `tap` is still to be told of the end.
  @exclusivity(unchecked) var isTapOpen = false
  /// Whether the connection may carry another request, as far as it is known.
  @exclusivity(unchecked) var keepsAlive = true
  /// Where the next request would begin is not known: what the client sends belongs to one that was refused.
  @exclusivity(unchecked) var isLost = false

  // MARK: The upstream

  let call: UpstreamCall
  /// Of a second upstream that was asked, too; kept for the next time.
  var rival: UpstreamCall?
  var allowance = Allowance()
  /// How a tunnel ended that followed a 101.
  var switched: Summary?

  /// How far the answer to the client is.
  enum Answer {
    /// The client has seen nothing of it but interim responses.
    case none
    /// The head is written, the body is not complete.
    case begun
    case complete
    /// What follows on this connection is no HTTP.
    case tunnel
  }

  init(
    _ connection: Connection, client: ClientAddress, listener: ListenerInfo, rules: ForwardingRules, id: UInt64,
    isContinued: Bool = false
  ) {
    self.connection = connection
    self.isContinued = isContinued
    wire = RelaySide(connection.client)
    share = connection.loop.http
    options = listener.options.http
    parser = RequestHeadParser(options)
    requestBody = BodyDecoder(options, from: .client)
    call = UpstreamCall(options)
    forwarder = Forwarder(rules, peer: client)
    super.init(
      id: id, client: client, listener: listener, runtime: connection,
      request: HTTPRequestHead(method: .get, target: "/"))
  }

  /// Goes on with a connection between two requests, by another configuration.
  convenience init(
    continuing old: HTTPConnection, client: ClientAddress, listener: ListenerInfo, rules: ForwardingRules
  ) {
    self.init(
      old.connection, client: client, listener: listener, rules: rules, id: old.share.ids.take(), isContinued: true)
    // What was read ahead, and what the client has not taken yet, belong to the connection.
    swap(&inbox, &old.inbox)
    swap(&outbox, &old.outbox)
    old.replay.release(on: old.connection.loop)
  }

  /// A request whose body has been handed on in part cannot be repeated, whatever its method, unless that part was kept.
  override var isRepeatable: Bool { !hasTakenBody || replay.isWhole }

  override func keepForRepeat(upTo limit: Int) {
    if !requestBody.hasEnded { replay.begin(upTo: limit, isTouched: hasTakenBody) }
  }

  override func beginRepeat() { replay.rewind() }

  override func recycle(id: UInt64) {
    super.recycle(id: id)
    requestBody.beginNone()
    hasTakenBody = false
    replay.release(on: connection.loop)
    allowance = Allowance()
    bodyReceived = 0
    hasSentContinue = false
    answer = .none
    answerBody = .none
    switched = nil
    connection.outlivesClient = false
  }

  // MARK: What the chain asks for

  override var scheme: String { forwarder.scheme(of: request) }

  override var clientStream: any ByteStream { wire.stream }

  override func destination() async throws -> Endpoint {
    if let requestedDestination { return requestedDestination }
    return try namedDestination()
  }

  override func forward(to destination: ApprovedDestination, over link: UpstreamLink) async throws -> Summary {
    if request.method == .connect { return try await connect(to: destination, over: link) }
    return try await relay(to: destination, over: link)
  }

  override func openTunnel(through upstream: any ByteStream) async throws { try await openClientTunnel() }

  override func readBody(into buffer: inout [UInt8], atMost limit: Int) async throws -> Bool {
    try await readBodyBytes(into: &buffer, atMost: limit)
  }

  override func write(_ head: HTTPResponseHead) async throws { try await writeAnswer(head) }

  override func writeBody(_ bytes: RawSpan) async throws { try await writeAnswerBody(bytes) }

  override func finishBody() async throws { try await finishAnswerBody() }

  override func drop(_ head: HTTPResponseHead) {
    switch head.body {
    case .relayed: break
    case .bytes, .streamed: call.stage = .done
    }
  }

  // MARK: The connection's life

  /// Serves requests until the connection is over, and closes it; or until another handler goes on with it.
  ///
  /// - Returns: who goes on; `nil`: it is closed.
  func serve(_ service: any Serving<HTTPExchange>) async -> HTTPHandler? {
    let run = service.run
    while true {
      switch await receiveRequest(for: service) {
      case .received: break
      case .handedOver:
        if let successor = takeSuccessor() { return successor }
        continue
      case .over:
        if isMetered { endMeters() }
        await end()
        return nil
      }
      connection.exchange = self
      await serveRequest(service, run)
      connection.exchange = nil
      guard keepsAlive else { break }
      if !requestBody.hasEnded, await !drainRequestBody() { break }
      if isMetered { endMeters() }
      recycle(id: share.ids.take())
    }
    if isMetered { endMeters() }
    await end()
    return nil
  }

  private func takeSuccessor() -> HTTPHandler? {
    defer { connection.successor = nil }
    return connection.successor as? HTTPHandler
  }

  /// Runs the chain for a request, and sees to it that it is answered exactly once.
  @inline(__always)
  private func serveRequest(
    _ service: any Serving<HTTPExchange>, _ run: @Sendable (HTTPExchange) async throws -> Summary
  ) async {
    connection.finishedClientIsGone = !options.toleratesHalfClose
    service.begin(self)
    do {
      _ = try await run(self)
      switch answer {
      case .complete, .tunnel: break
      case .begun: cutAnswer()
      case .none:
        await refuseRequest(Rejection(.internalError, detail: "HTTP: the destination ended without an answer"))
      }
    } catch {
      service.blame(error, on: self)
      await fail(error)
    }
    connection.finishedClientIsGone = false
  }

  /// The chain threw.
  private func fail(_ error: any Error) async {
    let rejection = rejection(for: error, of: self, on: connection)
    switch answer {
    case .complete:
      // What failed was behind the answer; but what it was may concern the connection.
      if HTTPRefusal(rejection).closesConnection, !isDetached { keepsAlive = false }
    case .tunnel:
      keepsAlive = false
      wire.stream.end(TCPClose(for: rejection.kind, isCommitted: isCommitted))
    case .begun: cutAnswer()
    case .none: await refuseRequest(rejection)
    }
  }

  /// Tells the client why it gets nothing, as far as it can still be told.
  func refuseRequest(_ rejection: Rejection) async {
    if rejection.kind == .clientGone {
      keepsAlive = false
      return wire.stream.abort()
    }
    // The deadlines of the chain are over with the chain.
    runtime.deadline = .distantFuture
    do {
      try await refuse(rejection)
    } catch {
      // The client does not stay to hear it, and the chain has the rejection that matters.
      cutAnswer()
    }
    if answer != .complete { cutAnswer() }
  }

  /// An answer that was begun cannot be completed: the client must see that it is not whole.
  ///
  /// Where the length is known or the body is chunked a missing end says so, and what came before is still delivered; a body
  /// that the close ends would look whole, so that connection is reset (RFC 9112, 8).
  func cutAnswer() {
    keepsAlive = false
    closeTap(complete: false)
    switch answerBody {
    case .close: wire.stream.abort()
    case .none, .bytes, .chunked: break
    }
  }

  /// Tells the tap, once, how the body ended.
  func closeTap(complete: Bool) {
    guard isTapOpen else { return }
    isTapOpen = false
    tap?.finish(complete: complete)
  }

  // MARK: The end

  /// How long, and how many bytes, a client is listened to after the last word, so that unread bytes of it do not turn our
  /// close into a reset which overtakes the answer (RFC 9112, 9.6).
  private static let lingerTime = Duration.seconds(1)
  private static let lingerBytes = 256 * 1024

  private func end() async {
    if let socket = wire.socket, socket.hasBacklog, !connection.isCut { await finishBacklog(socket) }
    if let socket = wire.socket, socket.descriptor >= 0, mayHaveUnreadBytes, !connection.isCut { await linger(socket) }
    inbox.release(on: connection.loop)
    outbox.release(on: connection.loop)
    replay.release(on: connection.loop)
    wire.stream.close()
  }

  /// The last answer counts as sent; here the connection waits until the client has taken it.
  private func finishBacklog(_ socket: Socket) async {
    runtime.deadline = .distantFuture
    do {
      while socket.hasBacklog {
        let limit = connection.now + options.bodyIdleTimeout
        guard try await connection.wait(for: socket, .writable, until: limit) else { return }
      }
    } catch {
      // The connection was cut, or the client is gone: nobody takes it any more.
    }
  }

  private var mayHaveUnreadBytes: Bool {
    if case .tunnel = answer { return false }
    return isLost || !requestBody.hasEnded || wire.mayRead
  }

  private func linger(_ socket: Socket) async {
    runtime.deadline = .distantFuture
    let limit = connection.now + Self.lingerTime
    var left = Self.lingerBytes
    do {
      try socket.finishWriting()
      while left > 0 {
        switch wire.read(connection.loop.scratch, Loop.scratchSize) {
        case .bytes(let count): left -= count
        case .end, .failed: return
        case .wouldBlock:
          guard try await connection.wait(for: socket, .readable, until: limit) else { return }
        }
      }
    } catch {
      // The connection was cut, or the client is gone: nothing is left to be overtaken.
    }
  }
}
