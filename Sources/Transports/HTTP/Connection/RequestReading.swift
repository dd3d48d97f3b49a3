internal import Pipeline

extension HTTPConnection {
  /// What is read at once while nobody knows how long the head is.
  private static let headRead = 16 * 1024
  /// Bytes of a body that nobody wanted which are read for the sake of the next request on the connection. A longer rest
  /// costs more than a new connection.
  static let drainedBody: UInt64 = 64 * 1024

  // MARK: The head

  /// What came of the wait for the next request.
  enum Reception {
    case received
    /// Another handler is to receive it.
    case handedOver
    /// The client has left, was idle for too long, or was sent away.
    case over
  }

  /// Waits for the next request.
  @inline(__always)
  func receiveRequest(for service: any Serving<HTTPExchange>) async -> Reception {
    do {
      return try await readHead()
    } catch {
      let rejection = Rejection(error)
      // What follows cannot be told from this request.
      keepsAlive = false
      isLost = true
      let isToldOf = rejection.kind != .clientGone && rejection.kind != .draining
      if isToldOf { share.complain(connection, self, rejection) }
      await refuseRequest(rejection)
      // A loop is found in a head that is complete.
      if isToldOf { service.noteRefusal(of: self, isRead: rejection.kind == .loopDetected, rejection) }
      return .over
    }
  }

  @inline(__always)
  private func readHead() async throws -> Reception {
    if connection.successor != nil { return .handedOver }
    parser.reset()
    request.method = .get
    request.version = .http11
    isHead = false
    keepsAlive = true
    let isFirst = isFirstOfConnection
    var limit = connection.now + (isFirst ? options.headTimeout : options.keepAliveTimeout)
    var hasBegun = !inbox.isEmpty
    if hasBegun {
      limit = begin(limit)
      // A long row of pipelined requests must not keep the others waiting.
      await connection.passTurn()
      if try parseInbox() { return .received }
    }
    while true {
      guard wire.mayRead else {
        if !hasBegun {
          guard try await connection.waitIdle(until: limit) else { return .over }
          if connection.successor != nil { return .handedOver }
        } else if try await !connection.wait(for: connection.client, .readable, until: limit) {
          throw Rejection(.handshakeTimeout, detail: "the request's head is not complete after \(options.headTimeout)")
        }
        continue
      }
      let received: Socket.Outcome
      let isComplete: Bool
      if inbox.isEmpty {
        received = wire.read(connection.loop.scratch, Self.headRead)
        guard case .bytes(let count) = received else {
          if received == .wouldBlock { continue }
          return .over
        }
        if !hasBegun { limit = begin(limit) }
        isComplete = try parse(scratch: count)
      } else {
        received = fillInbox()
        guard case .bytes = received else {
          if received == .wouldBlock { continue }
          return .over
        }
        isComplete = try parseInbox()
      }
      if isComplete { return .received }
      hasBegun = true
    }
  }

  /// The first byte of a request is here. A kept connection's client has its time for the head from now on, a new one has it
  /// from the beginning.
  private func begin(_ limit: Instant) -> Instant {
    startedAt = connection.now
    return isFirstOfConnection ? limit : connection.now + options.headTimeout
  }

  private var isFirstOfConnection: Bool { ordinal == 1 && !isContinued }

  private func fillInbox() -> Socket.Outcome {
    var received = Socket.Outcome.wouldBlock
    inbox.fill(atLeast: 4096, on: connection.loop) { room in
      guard let base = room.baseAddress else { return 0 }
      received = wire.read(base, room.count)
      if case .bytes(let count) = received { return count }
      return 0
    }
    return received
  }

  /// Parses what stands in the loop's scratch buffer, and keeps what does not belong to the head.
  private func parse(scratch count: Int) throws -> Bool {
    let bytes = UnsafeRawBufferPointer(start: connection.loop.scratch, count: count)
    switch try parser.parse(bytes, into: &request, &framing) {
    case .incomplete:
      inbox.append(bytes, on: connection.loop)
      return false
    case .complete(let length):
      if length < count { inbox.append(UnsafeRawBufferPointer(rebasing: bytes[length...]), on: connection.loop) }
      try beginRequest(length)
      return true
    }
  }

  private func parseInbox() throws -> Bool {
    switch try parser.parse(inbox.bytes, into: &request, &framing) {
    case .incomplete: return false
    case .complete(let length):
      inbox.consume(length, on: connection.loop)
      try beginRequest(length)
      return true
    }
  }

  private func beginRequest(_ length: Int) throws {
    traffic.up = UInt64(length)
    isHead = request.method == .head
    switch request.body {
    case .none: requestBody.beginNone()
    case .bytes(let length): requestBody.begin(length)
    case .unknown: requestBody.beginChunked()
    }
    if !requestBody.hasEnded { pace.reset() }
    keepsAlive = framing.keepsAlive
    client = try forwarder.receive(&request)
    if let most = options.maxRequestsPerConnection, ordinal >= most { keepsAlive = false }
  }

  // MARK: The body

  /// What one attempt to read the body found.
  enum BodyRead {
    /// Payload, in the loop's scratch buffer behind ``BodyEncoder/headroom`` free bytes: valid until the next suspension.
    case payload(Range<Int>)
    case blocked
    case ended
  }

  /// Reads the next bytes of the request's body without waiting.
  func readRequestBody(atMost limit: Int) throws -> BodyRead {
    while !requestBody.hasEnded {
      let base = connection.loop.scratch + Self.bodyOffset
      let isKept = !inbox.isEmpty
      let count: Int
      if let kept = inbox.bytes.baseAddress, isKept {
        count = min(inbox.count, limit)
        base.copyMemory(from: kept, byteCount: count)
      } else {
        guard wire.mayRead else { return .blocked }
        switch wire.read(base, Int(min(UInt64(limit), requestBody.needed ?? .max))) {
        case .bytes(let received): count = received
        case .wouldBlock: return .blocked
        case .end: throw Rejection(.clientGone, detail: "the client ended in the middle of the request's body")
        case .failed: throw Rejection(.clientGone, detail: "in the middle of the request's body")
        }
      }
      let step = try requestBody.decode(UnsafeMutableRawBufferPointer(start: base, count: count))
      if isKept {
        inbox.consume(step.consumed, on: connection.loop)
      } else {
        inbox.append(
          UnsafeRawBufferPointer(start: base + step.consumed, count: count - step.consumed), on: connection.loop)
      }
      traffic.up += UInt64(step.consumed)
      if step.payload.isEmpty { continue }
      try countBody(step.payload.count)
      keepForReplay(UnsafeRawBufferPointer(start: base + step.payload.lowerBound, count: step.payload.count))
      return .payload((Self.bodyOffset + step.payload.lowerBound)..<(Self.bodyOffset + step.payload.upperBound))
    }
    return .ended
  }

  private func countBody(_ count: Int) throws {
    hasTakenBody = true
    bodyReceived += UInt64(count)
    if let most = options.maxBody, bodyReceived > most {
      keepsAlive = false
      throw Rejection(.bodyTooLarge, detail: "a chunked body of more than \(most) bytes")
    }
  }

  private func keepForReplay(_ payload: UnsafeRawBufferPointer) {
    let total: UInt64? = if case .bytes(let length) = request.body { length } else { nil }
    if replay.append(payload, of: total, on: connection.loop) { return }
    share.tellOfLostReplay(connection, self)
  }

  func readBodyBytes(into buffer: inout [UInt8], atMost limit: Int) async throws -> Bool {
    precondition(limit > 0, "atMost: \(limit); allowed is 1 or more")
    try await sendContinue()
    if replay.hasUnread {
      let again = UnsafeRawBufferPointer(rebasing: replay.unread.prefix(limit))
      buffer.append(contentsOf: again)
      replay.advance(again.count)
      return true
    }
    while true {
      if requestBody.hasEnded { return false }
      if inbox.isEmpty, !wire.mayRead { try await waitForBody() }
      let before = traffic.up
      let most = try await admitted(min(limit, 64 * 1024), .up)
      let read = try readRequestBody(atMost: most)
      allowance.moved(up: Int(traffic.up - before))
      switch read {
      case .ended: return false
      case .blocked: try await waitForBody()
      case .payload(let range):
        buffer.append(
          contentsOf: UnsafeRawBufferPointer(start: connection.loop.scratch + range.lowerBound, count: range.count))
        return true
      }
    }
  }

  /// Waits for bytes of the body, as long as the client may take.
  private func waitForBody() async throws {
    let limit = pace.limit(connection.now, received: bodyReceived, options)
    let came = try await connection.wait(for: connection.client, .readable, until: limit)
    pace.ended(connection.now)
    if !came { throw tooSlow() }
  }

  func tooSlow() -> Rejection {
    keepsAlive = false
    return Rejection(.handshakeTimeout, detail: "the request's body came too slowly: \(bodyReceived) bytes so far")
  }

  /// Sends the `100 (Continue)` that the client waits for (RFC 9110, 10.1.1): once, and only if somebody here reads the body.
  private func sendContinue() async throws {
    guard framing.expectsContinue, !hasSentContinue, answer == .none, !requestBody.hasEnded else { return }
    hasSentContinue = true
    // A client that sends its body already does not wait (RFC 9110, 10.1.1).
    if !inbox.isEmpty { return }
    try transmit("HTTP/1.1 100 Continue\r\n\r\n")
    try await flush()
  }

  // MARK: Between two requests

  /// Whether what is left of the request's body is little enough to be read for the sake of the next request.
  var canDrainBody: Bool {
    if requestBody.hasEnded { return true }
    // The client may or may not send it: what comes next could be either (RFC 9110, 10.1.1).
    if framing.expectsContinue, !hasSentContinue { return false }
    return requestBody.needed.map { $0 <= Self.drainedBody } ?? false
  }

  /// Reads what nobody wanted of the body. False when the connection cannot be kept.
  func drainRequestBody() async -> Bool {
    guard canDrainBody else { return false }
    runtime.deadline = .distantFuture
    do {
      while true {
        switch try readRequestBody(atMost: 64 * 1024) {
        case .ended: return true
        case .payload: continue
        case .blocked: try await waitForBody()
        }
      }
    } catch {
      // Nobody waits for an answer any more: the connection ends.
      return false
    }
  }
}
