internal import Pipeline

extension HTTPConnection {
  /// A body of a local answer up to this size is sent with its head in one piece.
  private static let joinedBody = 16 * 1024
  /// Pieces in which a longer one is written.
  private static let writtenPiece = 64 * 1024

  // MARK: The head

  func writeAnswer(_ head: HTTPResponseHead) async throws {
    if case .relayed = head.body, !opensTunnel(head) { return try writeRelayed(head) }
    try beginAnswer(head)
    let hasContent = hasContent(head)
    switch head.body {
    case .relayed:
      if head.status == 101 { try await writeSwitchingHead(head) } else { try await writeTunnelHead(head) }
    case .bytes(let body):
      answerBody = .none
      var joined = Self.joinedBody
      if hasContent, limitsFirstByte {
        joined = try await admitted(min(body.count, Self.joinedBody), .down)
        // Other connections have had their turn.
        share.head.clear()
      }
      let isDeclared = head.status != 204 && head.status != 304
      appendHead(head, length: isDeclared ? UInt64(body.count) : nil)
      try await send(hasContent ? body : [], joined: joined)
      answer = .complete
      if let tap {
        tap.receive(body.span.bytes)
        tap.finish(complete: true)
      }
    case .streamed(let length):
      answerBody = hasContent ? BodyEncoder(length: length, for: request.version) : .none
      appendHead(head, length: hasContent ? nil : length)
      isTapOpen = tap != nil
      try transmitHead()
      try await flush()
    }
  }

  private func opensTunnel(_ head: HTTPResponseHead) -> Bool {
    head.status == 101 || (request.method == .connect && 200..<300 ~= head.status)
  }

  private func hasContent(_ head: HTTPResponseHead) -> Bool {
    !isHead && head.status != 204 && head.status != 304 && head.status >= 200
  }

  private func beginAnswer(_ head: HTTPResponseHead) throws {
    guard answer == .none else { throw Rejection(.internalError, detail: "HTTP: an answer was begun already") }
    decidePersistence(head)
    share.head.clear()
    // What has an answer is not asked again.
    replay.release(on: connection.loop)
    answer = .begun
  }

  /// Writes the head of an upstream's response, and what came with it, without waiting.
  private func writeRelayed(_ head: HTTPResponseHead) throws {
    try beginAnswer(head)
    let hasContent = hasContent(head)
    answerBody = hasContent ? call.encoder(for: request.version) : .none
    appendHead(head, length: hasContent ? nil : call.framing.declaredLength)
    isTapOpen = tap != nil
    try sendRelayed(hasContent: hasContent)
  }

  /// Runs the response phase for the upstream's response, and hands on what came with its head.
  ///
  /// - Returns: false where an element has put a body of its own in place of the upstream's, which is still to be written.
  func commitRelayed() throws -> Bool {
    call.beginBody()
    // Before the commit, so that a broken body that is here already is a 502 and not a cut.
    call.part = try decode(call.part)
    guard try prepareAnswer({ head in swap(&head, &call.head) }) else {
      // The client has its answer already. What is left is for the tap, unless an element has replaced it.
      if case .head = call.stage { try dropDetached() }
      return true
    }
    let head = preparedAnswer
    guard case .relayed = head.body, !opensTunnel(head) else { return false }
    try writeRelayed(head)
    return true
  }

  /// Whether this answer is the last one on the connection, which it has to say.
  private func decidePersistence(_ head: HTTPResponseHead) {
    if (head.fields.mayHoldConnectionFields && saysClose(head)) || connection.isDraining || !canDrainBody {
      keepsAlive = false
    }
  }

  private func saysClose(_ head: HTTPResponseHead) -> Bool {
    head.fields.withValue(of: "connection") { value in
      guard let value else { return false }
      return value.isName("close")
    }
  }

  private func appendHead(_ head: HTTPResponseHead, length: UInt64?) {
    if case .close = answerBody { keepsAlive = false }
    appendAnswerHead(head, length: length)
  }

  private func transmitHead() throws {
    try share.head.withBytes { try transmit($0) }
  }

  /// Sends the head that stands in `share.head`, and a body.
  ///
  /// - Parameter joined: bytes of it that may go with the head.
  private func send(_ body: [UInt8], joined: Int) async throws {
    if body.count <= joined {
      allowance.moved(down: body.count)
      share.head.append(contentsOf: body)
      try share.head.withBytes { try transmitLast($0) }
      return try await flush()
    }
    try share.head.withBytes { try transmit($0, isMoreAtHand: true) }
    var sent = 0
    while sent < body.count {
      try await flush()
      let end = sent + (try await admitted(min(Self.writtenPiece, body.count - sent), .down))
      allowance.moved(down: end - sent)
      try body.withUnsafeBytes {
        try transmit(UnsafeRawBufferPointer(rebasing: $0[sent..<end]), isMoreAtHand: end < body.count)
      }
      sent = end
    }
    try await flush()
  }

  /// Waits until limits let a part of `count` bytes go that way, of a body that somebody here writes or reads, and says how
  /// much of it. Without a limit that is all, at once.
  func admitted(_ count: Int, _ way: Directions) async throws -> Int {
    if limitsFirstByte != allowance.isStrict { allowance.begin(self) }
    guard allowance.isStrict, count > 0 else { return count }
    while true {
      // What the meters have not heard of is not lent twice.
      try await flush()
      let isOver = allowance.renewAt <= connection.now
      let granted = way == .up ? allowance.up : allowance.down
      if granted > 0, !isOver { return min(count, granted) }
      if !isOver, allowance.rests(way) { try await connection.sleep(until: allowance.renewAt) }
      try allowance.renew(self, wanting: way, unsent: outbox.count)
    }
  }

  // MARK: A body in pieces

  func writeAnswerBody(_ bytes: RawSpan) async throws {
    guard answer == .begun else {
      throw Rejection(.internalError, detail: "HTTP: body bytes without an answer that streams them")
    }
    tap?.receive(bytes)
    if case .none = answerBody { return }
    if case .bytes(let left) = answerBody, UInt64(bytes.byteCount) > left {
      throw Rejection(.internalError, detail: "HTTP: a streamed body is longer than its destination said")
    }
    var sent = 0
    while sent < bytes.byteCount {
      let count = try await admitted(min(Self.writtenPiece, bytes.byteCount - sent), .down)
      allowance.moved(down: count)
      let base = connection.loop.scratch
      let payload = Self.bodyOffset..<(Self.bodyOffset + count)
      bytes.extracting(sent..<(sent + count)).withUnsafeBytes {
        // Sound: `count` is at least 1.
        (base + payload.lowerBound).copyMemory(from: $0.baseAddress!, byteCount: count)
      }
      let framed = answerBody.frame(base, payload)
      answerBody.wrote(count)
      try transmit(UnsafeRawBufferPointer(start: base + framed.lowerBound, count: framed.count))
      try await flush()
      sent += count
    }
  }

  func finishAnswerBody() async throws {
    guard answer == .begun else { return }
    switch answerBody {
    case .bytes(let left) where left > 0:
      throw Rejection(
        .internalError, detail: "HTTP: a streamed body is \(left) bytes shorter than its destination said")
    case .chunked: try transmit("0\r\n\r\n")
    case .bytes, .none, .close: break
    }
    try await flush()
    answer = .complete
    closeTap(complete: true)
  }

  // MARK: Sending

  /// Sends what the client takes now, and keeps the rest for ``flush()``.
  func transmit(_ bytes: UnsafeRawBufferPointer, isMoreAtHand: Bool = false) throws {
    guard let base = bytes.baseAddress, bytes.count > 0 else { return }
    var sent = 0
    if outbox.isEmpty, wire.mayWrite {
      switch wire.write(base, bytes.count, isMoreAtHand: isMoreAtHand) {
      case .bytes(let count): sent = count
      case .wouldBlock: break
      case .end, .failed: throw Rejection(.clientGone, detail: "while it was answered")
      }
    }
    traffic.down += UInt64(sent)
    if sent < bytes.count { outbox.append(UnsafeRawBufferPointer(rebasing: bytes[sent...]), on: connection.loop) }
  }

  /// As ``transmit(_:isMoreAtHand:)`` for a whole answer on a connection that goes on: a small one is sent with those of others.
  func transmitLast(_ bytes: UnsafeRawBufferPointer) throws {
    if keepsAlive, outbox.isEmpty, let socket = wire.socket, socket.sendAtEndOfTurn(bytes) {
      traffic.down += UInt64(bytes.count)
    } else {
      try transmit(bytes)
    }
  }

  func transmit(_ text: StaticString) throws {
    try transmit(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  /// Hands over what the client takes now of what it did not take before.
  func pushOutbox() throws {
    while !outbox.isEmpty, wire.mayWrite {
      let bytes = outbox.bytes
      guard let base = bytes.baseAddress else { return }
      switch wire.write(base, bytes.count) {
      case .bytes(let count):
        traffic.down += UInt64(count)
        call.lastMove = connection.now
        outbox.consume(count, on: connection.loop)
      case .wouldBlock: return
      case .end, .failed: throw Rejection(.clientGone, detail: "while it was answered")
      }
    }
  }

  /// Waits until the client has taken everything.
  func flush() async throws {
    while !outbox.isEmpty {
      try pushOutbox()
      if outbox.isEmpty { return }
      let limit = connection.now + options.bodyIdleTimeout
      guard try await connection.wait(for: connection.client, .writable, until: limit) else {
        throw Rejection(.idleTimeout, detail: "the client has taken nothing for \(options.bodyIdleTimeout)")
      }
    }
  }
}

extension BodyEncoder {
  /// - Parameter length: `nil` where nobody knows it beforehand.
  init(length: UInt64?, for version: HTTPVersion) {
    if let length {
      self = .bytes(length)
    } else {
      switch version {
      case .http11: self = .chunked
      case .http10: self = .close
      }
    }
  }

  mutating func wrote(_ count: Int) {
    if case .bytes(let left) = self { self = .bytes(left - UInt64(count)) }
  }
}
