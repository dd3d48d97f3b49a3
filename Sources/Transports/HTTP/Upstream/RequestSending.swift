internal import Pipeline

extension HTTPConnection {
  /// Pieces of a request's body that are moved before the response has its turn.
  private static let uploadsPerTurn = 8
  private static let uploadRead = 64 * 1024

  /// Sends the head, and what is there of the body with it.
  func sendRequest(_ destination: ApprovedDestination, _ link: UpstreamLink, _ upstream: RelaySide) throws {
    share.head.clear()
    appendRequestHead(destination, link)
    call.isUploading = !requestBody.hasEnded
    if replay.hasUnread { return resend(to: upstream) }
    if !call.isUploading { return finishUpload(upstream) }
    if inbox.isEmpty || allowance.up <= 0 { return share.head.withBytes { send($0, to: upstream) } }
    // The head is short of the scratch buffer's room for one, or goes by itself.
    let head = share.head.count
    let before = traffic.up
    guard head <= Self.bodyOffset - BodyEncoder.headroom,
      case .payload(let payload) = try readRequestBody(atMost: min(Self.uploadRead, allowance.up))
    else { return share.head.withBytes { send($0, to: upstream) } }
    allowance.moved(up: Int(traffic.up - before))
    let framed = frameUpload(payload)
    let base = connection.loop.scratch
    share.head.withBytes {
      // Sound: a head is not empty.
      (base + framed.lowerBound - head).copyMemory(from: $0.baseAddress!, byteCount: head)
    }
    send(UnsafeRawBufferPointer(start: base + framed.lowerBound - head, count: head + framed.count), to: upstream)
    noteUploadEnd()
  }

  /// Once more: behind the head what was kept of the body. What the client still sends of it follows as it comes.
  private func resend(to upstream: RelaySide) {
    let kept = replay.unread
    let isChunked = if case .unknown = request.body { true } else { false }
    if isChunked { ChunkSerializer.appendHead(kept.count, to: &share.head) }
    share.head.withBytes { send($0, to: upstream) }
    send(kept, to: upstream)
    replay.advance(kept.count)
    if isChunked {
      share.head.clear()
      ChunkSerializer.appendEnd(to: &share.head)
      if !call.isUploading { appendLastChunk(requestBody.trailers) }
      share.head.withBytes { send($0, to: upstream) }
    }
    if !call.isUploading { call.headEnds = connection.now + options.responseTimeout }
  }

  /// The head is all that there is.
  private func finishUpload(_ upstream: RelaySide) {
    let head = share.head.bytes
    if !call.outbox.isEmpty || !(upstream.socket?.sendAtEndOfTurn(head) ?? false) { send(head, to: upstream) }
    call.headEnds = connection.now + options.responseTimeout
  }

  /// Moves what can be moved now of the request's body.
  func stepUpload(_ upstream: RelaySide, _ wants: inout Wants) throws {
    for _ in 0..<Self.uploadsPerTurn {
      pushToUpstream(upstream)
      if call.refusesUpload { return stopUpload() }
      if !call.outbox.isEmpty { return wants.upstream.formUnion(.writable) }
      if !call.isUploading { return }
      // The last chunk may have come with the head.
      if !requestBody.hasEnded {
        if inbox.isEmpty, !wire.mayRead { return wants.client.formUnion(.readable) }
        if allowance.needsUp { try allowance.renew(self, wanting: .up, unsent: outbox.count) }
        // An empty lease: the direction rests until it is renewed.
        if allowance.up <= 0 { return }
      }
      let before = traffic.up
      let read = try readRequestBody(atMost: min(Self.uploadRead, allowance.up))
      allowance.moved(up: Int(traffic.up - before))
      switch read {
      case .blocked: return wants.client.formUnion(.readable)
      case .ended: break
      case .payload(let payload):
        let framed = frameUpload(payload)
        send(
          UnsafeRawBufferPointer(start: connection.loop.scratch + framed.lowerBound, count: framed.count), to: upstream)
      }
      noteUploadEnd()
    }
    wants.again = true
  }

  /// Puts chunked coding around the payload where its length was not declared, and the last chunk behind the last one.
  private func frameUpload(_ payload: Range<Int>) -> Range<Int> {
    if case .unknown = request.body { return BodyEncoder.chunked.frame(connection.loop.scratch, payload) }
    return payload
  }

  /// The client has sent the last byte of its body.
  private func noteUploadEnd() {
    guard requestBody.hasEnded, call.isUploading else { return }
    call.isUploading = false
    call.headEnds = connection.now + options.responseTimeout
    guard case .unknown = request.body, let upstream = call.side else { return }
    share.head.clear()
    appendLastChunk(requestBody.trailers)
    share.head.withBytes { send($0, to: upstream) }
  }

  /// The upstream takes no more. It may have answered before it closed: that is what counts.
  private func stopUpload() {
    call.isUploading = false
    call.outbox.release(on: connection.loop)
    call.headEnds = min(call.headEnds, connection.now + options.responseTimeout)
  }

  // MARK: Sending

  private func send(_ bytes: UnsafeRawBufferPointer, to upstream: RelaySide) {
    guard let base = bytes.baseAddress, bytes.count > 0, !call.refusesUpload else { return }
    var sent = 0
    if call.outbox.isEmpty, upstream.mayWrite {
      switch upstream.write(base, bytes.count) {
      case .bytes(let count):
        sent = count
        call.lastMove = connection.now
      case .wouldBlock: break
      case .end, .failed: return call.refusesUpload = true
      }
    }
    if sent < bytes.count { call.outbox.append(UnsafeRawBufferPointer(rebasing: bytes[sent...]), on: connection.loop) }
  }

  private func pushToUpstream(_ upstream: RelaySide) {
    while !call.outbox.isEmpty, upstream.mayWrite {
      let bytes = call.outbox.bytes
      guard let base = bytes.baseAddress else { return }
      switch upstream.write(base, bytes.count) {
      case .bytes(let count):
        call.lastMove = connection.now
        call.outbox.consume(count, on: connection.loop)
      case .wouldBlock: return
      case .end, .failed: return call.refusesUpload = true
      }
    }
  }
}
