internal import Pipeline

/// A stream that takes bytes back which were read ahead: the next read returns them first.
protocol RewindableStream: ByteStream {
  func pushBack(_ bytes: RawSpan)
}

/// One SOCKS5 client: the shell that performs what ``SOCKS5Handshake`` says on a stream.
///
/// It is driven by the chain: every step of the handshake happens when somebody asks for what it yields, so a client whose
/// chain has no authenticator is never asked for a password, and one that a limiter sends away sends none.
final class SOCKS5Connection: SOCKS5Exchange {
  /// How long, and how many bytes, a refused client is listened to after the last word, so that unread bytes of it do not
  /// turn our close into a reset which overtakes the answer.
  private static let lingerTime = Duration.seconds(1)
  private static let lingerBytes = 64 * 1024

  private let stream: any RewindableStream
  private var handshake = SOCKS5Handshake()
  /// What is left of the client's time: only its own part counts, not our dialling or hashing.
  private var patience: Duration
  /// The answer to the first question for credentials: a retry above the authenticator asks again.
  private var answered: PasswordCredentials??

  init(
    id: UInt64, client: ClientAddress, listener: ListenerInfo, runtime: ConnectionRuntime, stream: any RewindableStream
  ) {
    self.stream = stream
    patience = listener.options.handshakeTimeout
    super.init(id: id, client: client, listener: listener, runtime: runtime)
  }

  // MARK: What the chain asks for

  override var clientStream: any ByteStream { stream }

  override func credentials() async throws -> PasswordCredentials? {
    if let answered { return answered }
    switch try await advance(to: .credentials) {
    case .credentials(let credentials):
      answered = .some(credentials)
      return credentials
    case .destination, .opened, .close, .read, .send, .fault:
      // The handshake is over: nobody can be asked.
      return nil
    }
  }

  override func destination() async throws -> Endpoint {
    if let requestedDestination { return requestedDestination }
    while true {
      switch try await advance(to: .destination) {
      case .destination(let endpoint):
        requestedDestination = endpoint
        return endpoint
      case .credentials(let credentials):
        // The authenticator stopped waiting for them, and the chain went on without.
        answered = .some(credentials)
      case .opened, .close, .read, .send, .fault:
        throw Rejection(.internalError, detail: "SOCKS5: the request is asked for after the handshake has ended")
      }
    }
  }

  override func openTunnel(through upstream: any ByteStream) async throws {
    _ = try await destination()
    guard case .opened = try await advance(to: .open(bound: upstream.localAddress)) else {
      throw Rejection(.internalError, detail: "SOCKS5: a tunnel is opened after the handshake has ended")
    }
    answered = nil
    let early = handshake.takeEarlyData()
    if !early.isEmpty { stream.pushBack(early.span.bytes) }
  }

  // MARK: The end

  /// The chain has returned: both directions have ended.
  func finish() async {
    if handshake.isOpen { return stream.close() }
    // A destination that neither opened a tunnel nor threw: the client is still owed an answer.
    await refuse(Rejection(.internalError, detail: "SOCKS5: the destination ended without opening a tunnel"))
  }

  /// The chain threw: tells the client, as far as it can still be told, and closes.
  func refuse(_ rejection: Rejection) async {
    if handshake.isOpen {
      return stream.end(TCPClose(for: rejection.kind, isCommitted: true))
    }
    if rejection.kind == .clientGone { return stream.abort() }
    // The deadlines of the chain are over with the chain; what is left is the client's own time.
    runtime.deadline = .distantFuture
    let refusal = SOCKS5Handshake.Refusal(rejection.kind, isAuthenticated: principal != nil)
    do {
      _ = try await advance(to: .refusal(refusal))
      try await linger()
    } catch {
      // The client does not stay to hear it, and the chain has the rejection that matters.
    }
    stream.close()
  }

  /// Reads on until the client has finished, for a while: see `lingerTime`.
  private func linger() async throws {
    try stream.finishWriting()
    runtime.deadline = runtime.now + Self.lingerTime
    var unread: [UInt8] = []
    var total = 0
    while total < Self.lingerBytes, try await read(from: stream, into: &unread, atMost: 4096) {
      total += unread.count
      unread.removeAll(keepingCapacity: true)
    }
  }

  // MARK: Performing the handshake

  private func advance(to goal: SOCKS5Handshake.Goal) async throws -> SOCKS5Handshake.Action {
    while true {
      let action = handshake.advance(to: goal)
      switch action {
      case .read: try await receive()
      case .send(let message): try await send(message)
      case .fault(let rejection): throw rejection
      case .credentials, .destination, .opened, .close: return action
      }
    }
  }

  private func receive() async throws {
    while true {
      let found: StreamRead
      do {
        found = try handshake.receive { try stream.read(into: &$0) }
      } catch {
        throw Rejection(.clientGone, detail: "during the SOCKS5 handshake", cause: error)
      }
      switch found {
      case .bytes: return
      case .end: throw Rejection(.clientGone, detail: "the client ended in the middle of the SOCKS5 handshake")
      case .wouldBlock: try await waitForClient(.readable)
      }
    }
  }

  private func send(_ message: SOCKS5Message) async throws {
    // From the first byte of the success reply on, no other answer is possible.
    if handshake.isOpen { isCommitted = true }
    var sent = 0
    while sent < message.count {
      let taken: Int
      do {
        taken = try message.withBytes(from: sent) { try stream.write($0) }
      } catch {
        throw Rejection(.clientGone, detail: "during the SOCKS5 handshake", cause: error)
      }
      sent += taken
      if taken == 0 { try await waitForClient(.writable) }
    }
  }

  private func waitForClient(_ interest: Interest) async throws {
    let begun = runtime.now
    let outer = runtime.deadline
    let mine = begun + patience
    if mine < outer { runtime.deadline = mine }
    defer {
      runtime.deadline = outer
      patience = max(.zero, patience - (runtime.now - begun))
    }
    do {
      try await runtime.wait(for: stream, interest)
    } catch let exceeded as DeadlineExceeded where mine < outer && exceeded.deadline == mine {
      throw Rejection(
        .handshakeTimeout, detail: "the SOCKS5 handshake is not complete after \(listener.options.handshakeTimeout)",
        cause: exceeded)
    }
  }
}

extension Socket: RewindableStream {}
