internal import CShim
internal import Glibc
internal import Pipeline

/// A connected stream socket (TCP or Unix) that belongs to one loop.
///
/// Registered once, edge-triggered: the kernel reports only changes, so the socket remembers what it is ready for and
/// clears a bit only when a call has shown that it no longer holds. It is closed exactly once: by `close`, by `abort`,
/// or, as a backstop, when the last reference goes away.
final class Socket: ByteStream, ReadinessTarget, @unchecked Sendable {
  // Sound as Sendable: everything here is used on the loop's thread alone (see `Loop`).

  /// What one system call did.
  enum Outcome: Equatable {
    case bytes(Int)
    case end
    case wouldBlock
    /// An errno value.
    case failed(Int32)
  }

  let loop: Loop
  /// -1 once closed.
  private(set) var descriptor: Int32
  private var generation: UInt32 = 0
  private(set) var readiness: Readiness
  private(set) var hasFinishedWriting = false
  private var isMuted = false
  /// Bytes that were read ahead and belong to the next reader; `pushedBackOffset` of them are taken.
  private var pushedBack: [UInt8] = []
  private var pushedBackOffset = 0
  private var knownRemoteAddress: SocketAddress?
  /// Looks at what is received, until it is settled.
  private var firstBytes: FirstBytes?
  private var isRefused = false
  /// Where among the loop's gathered sends a piece of this socket lies; -1: there is none.
  private var gathered = -1
  /// What the kernel did not take of such a piece. While there is something the socket is not writable for anybody else.
  private var backlog = ByteQueue()
  // Sound: an owner has its piece sent before it goes away.
  private unowned(unsafe) var gatheredOwner: (any GatheredOwner)?

  unowned(unsafe) var waker: (any StreamWaker)? { didSet { task = nil } }
  /// The waker again, where it is a connection. Its task holds it, and runs only after the call: no reference is counted.
  private var task: Unmanaged<Connection>?

  /// Takes over a non-blocking descriptor. On nil the descriptor has been closed: the kernel would not watch it.
  init?(adopting fd: Int32, on loop: Loop, remoteAddress: SocketAddress? = nil, readiness: Readiness = []) {
    self.loop = loop
    descriptor = fd
    knownRemoteAddress = remoteAddress
    self.readiness = readiness
    loop.counters.sockets.add(1)
    guard let generation = loop.watch(fd, .connection, self) else {
      close()
      return nil
    }
    self.generation = generation
  }

  deinit { close() }

  // MARK: Readiness

  func becameReady(_ readiness: Readiness) {
    self.readiness.formUnion(readiness)
    if !backlog.isEmpty { sendBacklog() }
    if let task { return task._withUnsafeGuaranteedRef { $0.wake(self) } }
    waker?.wake(self)
  }

  func setWaker(_ connection: Connection) {
    waker = connection
    task = .passUnretained(connection)
  }

  /// Whether a read would not block, as far as is known.
  var mayRead: Bool { readiness.contains(.readable) || !pushedBack.isEmpty }
  /// Whether a write would not block, as far as is known.
  var mayWrite: Bool { readiness.contains(.writable) }
  /// Whether the peer has broken the connection (and has not merely finished, after we had finished, too).
  var isBroken: Bool { readiness.contains(.gone) && !hasFinishedWriting }

  /// Stops to be woken by arriving bytes: the reader cannot take more now. Edges of writability still come.
  func mute() {
    guard !isMuted, descriptor >= 0 else { return }
    isMuted = true
    loop.modify(descriptor, generation, .writableOnly)
  }

  /// Undoes `mute`. What arrived meanwhile is readable at once.
  func unmute() {
    guard isMuted, descriptor >= 0 else { return }
    readiness.insert(.readable)
    listenAgain()
  }

  /// The reader takes more again. Arriving bytes wake it only once a read has found nothing: with a sender who is always ahead
  /// that never happens, and the poller is not told of each pause.
  func mayReadMuted() { if isMuted { readiness.insert(.readable) } }

  private func listenAgain() {
    isMuted = false
    loop.modify(descriptor, generation, .connection)
  }

  /// A read has shown that the socket is empty.
  func noteNothingToRead() {
    readiness.remove(.readable)
    if isMuted { listenAgain() }
  }

  // MARK: Reading

  /// Reads with one system call, without looking at pushed-back bytes.
  ///
  /// A short read proves that the socket is empty, so the next read can wait for an edge; but once the peer has
  /// finished, its edge has been consumed, and only reading on finds the end.
  func receive(_ buffer: UnsafeMutableRawPointer, _ capacity: Int) -> Outcome {
    while true {
      let count = shim_recv(descriptor, buffer, capacity, 0)
      if count > 0 {
        if count < capacity, !readiness.contains(.hangUp) { noteNothingToRead() }
        if firstBytes != nil, !screen(UnsafeRawBufferPointer(start: buffer, count: count)) { return .failed(EPROTO) }
        return .bytes(count)
      }
      if count == 0 { return .end }
      switch errno {
      case EINTR: continue
      case EAGAIN:
        noteNothingToRead()
        return .wouldBlock
      case let code: return .failed(code)
      }
    }
  }

  /// Shows what is received to `firstBytes`, until it has seen enough. What it takes for a header is never handed on, and
  /// nothing after it.
  func screen(by firstBytes: FirstBytes) { self.firstBytes = firstBytes }

  private func screen(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard !isRefused, let firstBytes else { return false }
    switch firstBytes.judge(bytes) {
    case .undecided: return true
    case .harmless:
      self.firstBytes = nil
      return true
    case .header:
      isRefused = true
      return false
    }
  }

  func read(into buffer: inout OutputRawSpan) throws -> StreamRead {
    if buffer.freeCapacity == 0 { return .bytes(0) }
    if !pushedBack.isEmpty { return .bytes(takePushedBack(into: &buffer)) }
    guard descriptor >= 0 else { throw StreamError.closed }
    guard readiness.contains(.readable) else { return .wouldBlock }
    let outcome = buffer.withUnsafeMutableBytes { bytes, initialized in
      let room = bytes.count - initialized
      // A buffer with room has an address.
      let outcome = receive(bytes.baseAddress! + initialized, room)
      if case .bytes(let count) = outcome { initialized += count }
      return outcome
    }
    switch outcome {
    case .bytes(let count): return .bytes(count)
    case .end: return .end
    case .wouldBlock: return .wouldBlock
    case .failed(let code): throw Self.streamError(code)
    }
  }

  /// Gives bytes back that were read ahead (data that a client sent right behind its handshake). The next read returns
  /// them first.
  func pushBack(_ bytes: RawSpan) {
    if bytes.isEmpty { return }
    var joined: [UInt8] = []
    joined.reserveCapacity(bytes.byteCount + pushedBack.count - pushedBackOffset)
    bytes.withUnsafeBytes { joined.append(contentsOf: $0) }
    joined.append(contentsOf: pushedBack[pushedBackOffset...])
    pushedBack = joined
    pushedBackOffset = 0
  }

  /// Whether the next read returns pushed-back bytes: then the kernel must not move bytes past them.
  var hasPushedBack: Bool { !pushedBack.isEmpty }

  private func takePushedBack(into buffer: inout OutputRawSpan) -> Int {
    let count = min(buffer.freeCapacity, pushedBack.count - pushedBackOffset)
    for byte in pushedBack[pushedBackOffset..<pushedBackOffset + count] { buffer.append(byte) }
    pushedBackOffset += count
    if pushedBackOffset == pushedBack.count {
      pushedBack = []
      pushedBackOffset = 0
    }
    return count
  }

  // MARK: Writing

  /// Writes with one system call.
  ///
  /// - Parameter isMoreAtHand: the rest follows at once, so the kernel need not send a short segment now.
  func send(_ bytes: UnsafeRawPointer, _ count: Int, isMoreAtHand: Bool = false) -> Outcome {
    if gathered >= 0, !sendGatheredNow() { return .wouldBlock }
    return sendNow(bytes, count, isMoreAtHand: isMoreAtHand)
  }

  private func sendNow(_ bytes: UnsafeRawPointer, _ count: Int, isMoreAtHand: Bool) -> Outcome {
    let flags = Int32(MSG_NOSIGNAL) | (isMoreAtHand ? Int32(MSG_MORE) : 0)
    while true {
      let sent = shim_send(descriptor, bytes, count, flags)
      if sent >= 0 {
        // The kernel takes less than all only when its buffer is full; an edge follows when it has room.
        if sent < count { readiness.remove(.writable) }
        return .bytes(sent)
      }
      switch errno {
      case EINTR: continue
      case EAGAIN:
        readiness.remove(.writable)
        return .wouldBlock
      case let code: return .failed(code)
      }
    }
  }

  // MARK: Sending with others

  /// Takes a small piece, to be sent in a row with those of other sockets when the loop has done what else this turn is for.
  ///
  /// - Parameter owner: keeps what the kernel does not take of it, and settles the piece before it goes away; nil: the socket
  ///   does.
  /// - Returns: false when the caller has to send it by itself: it is large, the socket is not writable, or nobody else has
  ///   something to do in this turn, so that there is nothing to wait for.
  @inline(__always)
  func sendAtEndOfTurn(_ bytes: UnsafeRawBufferPointer, for owner: (any GatheredOwner)? = nil) -> Bool {
    guard loop.hasMoreToDo, descriptor >= 0, mayWrite else { return false }
    if gathered >= 0, !sendGatheredNow() { return false }
    guard let place = loop.gatheredSends.take(bytes, for: self) else { return false }
    gathered = place
    gatheredOwner = owner
    return true
  }

  /// Sends the gathered piece, if there is one, before its time.
  @inline(__always)
  func settleGathered() { if gathered >= 0 { _ = sendGatheredNow() } }

  /// Whether bytes wait that the kernel did not take.
  var hasBacklog: Bool { !backlog.isEmpty }

  /// Sends the gathered piece now. False when nothing can follow it yet.
  private func sendGatheredNow() -> Bool {
    loop.gatheredSends.send(gathered)
    return mayWrite
  }

  /// The loop's turn to send the piece has come.
  func sendGathered(_ bytes: UnsafeRawBufferPointer) {
    gathered = -1
    let rest: UnsafeRawBufferPointer
    // Sound: a piece is not empty.
    switch sendNow(bytes.baseAddress!, bytes.count, isMoreAtHand: false) {
    case .bytes(let count):
      if count == bytes.count { return }
      rest = UnsafeRawBufferPointer(rebasing: bytes[count...])
    case .wouldBlock: rest = bytes
    // The connection is over, which its readiness says: whoever reads from it or waits for it finds out.
    case .end, .failed: return
    }
    if let gatheredOwner { gatheredOwner.keep(rest, for: self) } else { backlog.append(rest, on: loop) }
  }

  private func sendBacklog() {
    guard let base = backlog.bytes.baseAddress, mayWrite else { return }
    switch sendNow(base, backlog.count, isMoreAtHand: false) {
    case .bytes(let count): backlog.consume(count, on: loop)
    case .wouldBlock: break
    case .end, .failed: backlog.release(on: loop)
    }
  }

  func write(_ bytes: RawSpan) throws -> Int {
    guard descriptor >= 0 else { throw StreamError.closed }
    if bytes.isEmpty || !mayWrite { return 0 }
    let outcome = bytes.withUnsafeBytes { send($0.baseAddress!, $0.count) }
    switch outcome {
    case .bytes(let count): return count
    case .end, .wouldBlock: return 0
    case .failed(let code): throw Self.streamError(code)
    }
  }

  func finishWriting() throws {
    guard descriptor >= 0 else { throw StreamError.closed }
    if hasFinishedWriting { return }
    settleGathered()
    hasFinishedWriting = true
    // ENOTCONN: the peer has reset it meanwhile, which the next read reports.
    if shutdown(descriptor, Int32(SHUT_WR)) != 0, errno != ENOTCONN { throw Self.streamError(errno) }
  }

  /// Whether the peer has neither sent anything nor finished, by the kernel's word and not by the last event: one system
  /// call.
  var isQuiet: Bool {
    var byte: UInt8 = 0
    return shim_recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) < 0 && errno == EAGAIN
  }

  /// The same, where the kernel is asked only if an event has come since the last read. It may have been for bytes that were read
  /// before it was reported: of a large answer the last segment comes while the first is being read.
  func isSilent() -> Bool {
    // Of a muted one no further event would come.
    guard descriptor >= 0, !isMuted, pushedBack.isEmpty, readiness.isDisjoint(with: [.hangUp, .gone]) else {
      return false
    }
    if !readiness.contains(.readable) { return true }
    if isQuiet { readiness.remove(.readable) }
    return !readiness.contains(.readable)
  }

  // MARK: Splicing

  /// Moves bytes into a pipe within the kernel. `wouldBlock` says nothing about who is in the way: the socket may be
  /// empty or the pipe full; the caller knows whether the pipe is.
  func splice(into pipe: Pipe, _ count: Int) -> Outcome { Self.splice(descriptor, pipe.writeEnd, count) }

  /// Moves bytes out of a pipe within the kernel.
  func splice(outOf pipe: Pipe, _ count: Int) -> Outcome {
    if gathered >= 0, !sendGatheredNow() { return .wouldBlock }
    let outcome = Self.splice(pipe.readEnd, descriptor, count)
    switch outcome {
    case .bytes(let moved) where moved < count: readiness.remove(.writable)
    case .wouldBlock: readiness.remove(.writable)
    case .bytes, .end, .failed: break
    }
    return outcome
  }

  private static func splice(_ from: Int32, _ to: Int32, _ count: Int) -> Outcome {
    while true {
      let moved = shim_splice(from, to, count)
      if moved > 0 { return .bytes(moved) }
      if moved == 0 { return .end }
      switch errno {
      case EINTR: continue
      case EAGAIN: return .wouldBlock
      case let code: return .failed(code)
      }
    }
  }

  // MARK: Ending

  func close() {
    guard descriptor >= 0 else { return }
    settleGathered()
    backlog.release(on: loop)
    loop.close(descriptor)
    descriptor = -1
    readiness = []
    loop.counters.sockets.add(-1)
  }

  func abort() {
    guard descriptor >= 0 else { return }
    settleGathered()
    // With a linger time of zero, close discards what is queued and sends RST.
    var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
    close()
  }

  // MARK: Addresses and errors

  var localAddress: SocketAddress? {
    descriptor >= 0 ? SocketAddress.ask(descriptor) { getsockname($0, $1, $2) } : nil
  }

  var remoteAddress: SocketAddress? {
    if let knownRemoteAddress { return knownRemoteAddress }
    guard descriptor >= 0 else { return nil }
    knownRemoteAddress = SocketAddress.ask(descriptor) { getpeername($0, $1, $2) }
    return knownRemoteAddress
  }

  /// Who the peer is, by what the kernel says: its address, or the user id behind a Unix socket. Nil when it has gone
  /// already.
  var clientAddress: ClientAddress? {
    switch remoteAddress {
    case .ip(let address, let port):
      return ClientAddress(.ip(address, port: port))
    case .unix:
      var uid: UInt32 = 0
      return descriptor >= 0 && shim_peer_uid(descriptor, &uid) == 0 ? ClientAddress(.unix(uid: uid)) : nil
    case nil:
      return nil
    }
  }

  /// Takes the socket's pending error, 0 when there is none.
  func takeError() -> Int32 { descriptor >= 0 ? takeSocketError(descriptor) : EBADF }

  static func streamError(_ code: Int32) -> StreamError {
    switch code {
    case ECONNRESET, EPIPE, ECONNABORTED, ETIMEDOUT: .reset
    case EBADF: .closed
    default: .system(errno: code)
    }
  }
}
