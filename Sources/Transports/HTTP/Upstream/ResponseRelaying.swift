internal import Pipeline

extension HTTPConnection {
  /// What one look for the response's head found.
  enum HeadStep {
    case blocked
    /// The final head is parsed, and what came behind it stands in the scratch buffer.
    case final
    /// The connection is over without one.
    case lost
    /// 101: what follows is another protocol.
    case switching
  }

  /// Reads of one turn.
  private static let readsPerTurn = 8
  private static let readSize = Loop.scratchSize - bodyOffset - bodyTail

  // MARK: The head

  /// Reads and parses what is there; interim responses are handed on here.
  func stepHead(_ upstream: RelaySide, _ wants: inout Wants) throws -> HeadStep {
    // Interim responses are not piled up for a client that does not read.
    try pushOutbox()
    if !outbox.isEmpty {
      wants.client.formUnion(.writable)
      return .blocked
    }
    while true {
      guard upstream.mayRead else {
        wants.upstream.formUnion(.readable)
        return .blocked
      }
      if allowance.isStrict {
        if allowance.needsDown { try allowance.renew(self, wanting: .down, unsent: outbox.count) }
        // An empty lease: what would come with the head has to wait.
        if allowance.down <= 0 { return .blocked }
      }
      let base = connection.loop.scratch + Self.bodyOffset
      let kept = call.inbox.count
      if kept > 0, let bytes = call.inbox.bytes.baseAddress { base.copyMemory(from: bytes, byteCount: kept) }
      // An exchange that is metered begins with a small share, which is not exceeded by much; a limit is exceeded by the head.
      let most = allowance.isStrict ? allowance.down : allowance.isMetered ? Allowance.free + 2 * 1024 : Self.readSize
      let count: Int
      switch upstream.read(base + kept, min(most, Self.readSize - kept)) {
      case .bytes(let received): count = kept + received
      case .wouldBlock: continue
      case .end, .failed: return .lost
      }
      call.inbox.release(on: connection.loop)
      call.hasAnswered = true
      // It answers, however slowly: nobody else is asked.
      call.hedgeAt = .distantFuture
      call.lastMove = connection.now
      if let found = try parseHeads(UnsafeRawBufferPointer(start: base, count: count)) { return found }
    }
  }

  /// Parses the heads that stand in the scratch buffer. Nil: more bytes are needed.
  private func parseHeads(_ bytes: UnsafeRawBufferPointer) throws -> HeadStep? {
    var start = 0
    while true {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[start...])
      switch try call.parser.parse(rest, for: request.method, into: &call.head, &call.framing) {
      case .incomplete:
        // The parser begins anew with bytes that are kept: it remembers how far it was.
        call.inbox.append(rest, on: connection.loop)
        return nil
      case .complete(let length):
        start += length
        call.part = (Self.bodyOffset + start)..<(Self.bodyOffset + bytes.count)
        if call.framing.opensTunnel {
          guard framing.wantsUpgrade else {
            throw Rejection(.upstreamProtocol, detail: "origin: status 101 without a request for another protocol")
          }
          return .switching
        }
        guard call.framing.isInterim else { return .final }
        try relayInterim()
        call.parser.reset()
      }
    }
  }

  /// Hands on a 1xx. Not to HTTP/1.0, which knows none; a 100 only to who waits for one and has got none (RFC 9110, 15.2).
  private func relayInterim() throws {
    if request.version == .http10 || isDetached { return }
    if call.head.status == 100 {
      guard framing.expectsContinue, !hasSentContinue else { return }
      hasSentContinue = true
    }
    share.head.clear()
    appendInterimHead(call.head)
    try share.head.withBytes { try transmit($0) }
  }

  // MARK: The body

  /// Sends the head that stands in `share.head`, with what came behind the upstream's.
  ///
  /// - Parameter hasContent: false: the client gets no body, whatever the upstream sends.
  func sendRelayed(hasContent: Bool) throws {
    if !hasContent {
      // An element made it an answer without a body.
      try share.head.withBytes { try transmit($0) }
      return endRelayed()
    }
    try relay(call.part, behindHead: true)
  }

  /// What came of a detached answer's body with its head.
  func dropDetached() throws {
    answerBody = .none
    isTapOpen = tap != nil
    call.stage = .body
    try relay(call.part, behindHead: false)
  }

  /// Moves what can be moved now of the response's body.
  func stepBody(_ upstream: RelaySide, _ wants: inout Wants) throws {
    for _ in 0..<Self.readsPerTurn {
      try pushOutbox()
      if !outbox.isEmpty { return wants.client.formUnion(.writable) }
      if call.body.hasEnded { return endRelayed() }
      guard upstream.mayRead else { return wants.upstream.formUnion(.readable) }
      // What the client does not take now is better left in the kernel.
      if !isDetached, !wire.mayWrite { return wants.client.formUnion(.writable) }
      if allowance.needsDown { try allowance.renew(self, wanting: .down, unsent: outbox.count) }
      if allowance.down <= 0 { return }
      let capacity = min(Self.readSize, allowance.down)
      switch upstream.read(connection.loop.scratch + Self.bodyOffset, capacity) {
      case .bytes(let count):
        call.lastMove = connection.now
        try relay(try decode(Self.bodyOffset..<(Self.bodyOffset + count)), behindHead: false)
      case .wouldBlock: return wants.upstream.formUnion(.readable)
      case .end: try upstreamEnded()
      case .failed: throw Rejection(.upstreamReset, detail: "in the middle of the response's body")
      }
    }
    wants.again = true
  }

  /// The upstream has finished: that ends a body without a length, and cuts every other.
  private func upstreamEnded() throws {
    guard call.body.endsWithClose else {
      throw Rejection(.upstreamReset, detail: "the upstream closed in the middle of the response's body")
    }
    call.body.end()
    try relay(Self.bodyOffset..<Self.bodyOffset, behindHead: false)
  }

  /// Finds the payload in bytes of the response's body that stand in the scratch buffer.
  func decode(_ part: Range<Int>) throws -> Range<Int> {
    let start = connection.loop.scratch + part.lowerBound
    let step = try call.body.decode(UnsafeMutableRawBufferPointer(start: start, count: part.count))
    if step.consumed < part.count { call.hasExcess = true }
    return (part.lowerBound + step.payload.lowerBound)..<(part.lowerBound + step.payload.upperBound)
  }

  /// Hands on payload that stands in the scratch buffer, in one write with what goes before and behind.
  private func relay(_ payload: Range<Int>, behindHead: Bool) throws {
    let base = connection.loop.scratch
    allowance.moved(down: payload.count)
    if let tap, !payload.isEmpty {
      tap.receive(RawSpan(_unsafeBytes: UnsafeRawBufferPointer(start: base + payload.lowerBound, count: payload.count)))
    }
    var framed = payload
    if !payload.isEmpty {
      framed = answerBody.frame(base, payload)
      answerBody.wrote(payload.count)
    }
    let isLast = call.body.hasEnded
    if behindHead {
      let head = share.head.count
      if head <= framed.lowerBound {
        share.head.withBytes {
          // Sound: it is not empty.
          (base + framed.lowerBound - head).copyMemory(from: $0.baseAddress!, byteCount: head)
        }
        framed = (framed.lowerBound - head)..<framed.upperBound
      } else {
        try share.head.withBytes { try transmit($0, isMoreAtHand: !framed.isEmpty) }
      }
    }
    if isLast, answerBody == .chunked {
      share.head.clear()
      appendLastChunk(call.framing.body == .chunked && framing.acceptsTrailers ? call.body.trailers : nil)
      let tail = share.head.count
      if tail <= Self.bodyTail {
        share.head.withBytes {
          // Sound: it is not empty.
          (base + framed.upperBound).copyMemory(from: $0.baseAddress!, byteCount: tail)
        }
        framed = framed.lowerBound..<(framed.upperBound + tail)
        try transmit(UnsafeRawBufferPointer(start: base + framed.lowerBound, count: framed.count))
      } else {
        try transmit(UnsafeRawBufferPointer(start: base + framed.lowerBound, count: framed.count), isMoreAtHand: true)
        try share.head.withBytes { try transmit($0) }
      }
    } else if isLast, behindHead, !isDetached {
      try transmitLast(UnsafeRawBufferPointer(start: base + framed.lowerBound, count: framed.count))
    } else {
      let isMoreAtHand = !isLast && (call.side?.mayRead ?? false)
      try transmit(
        UnsafeRawBufferPointer(start: base + framed.lowerBound, count: framed.count), isMoreAtHand: isMoreAtHand)
    }
    if isLast, outbox.isEmpty { endRelayed() } else { call.stage = .body }
  }

  /// The client has its answer.
  private func endRelayed() {
    call.stage = .done
    closeTap(complete: true)
    if answer == .begun { answer = .complete }
  }
}
