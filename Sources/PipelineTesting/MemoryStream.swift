public import Pipeline

/// One end of a two-way stream in memory, with a bounded window each way, half-close and reset: a socket without a system.
public final class MemoryStream: ByteStream {
  /// The bytes on their way in one direction.
  private final class Window {
    let capacity: Int
    var bytes: [UInt8] = []
    var isFinished = false
    weak var reader: MemoryStream?
    weak var writer: MemoryStream?
    init(capacity: Int) { self.capacity = capacity }
  }

  private let incoming: Window
  private let outgoing: Window
  private var isClosed = false
  private var wasReset = false

  // Weak, as the protocol asks: who waits owns the stream.
  public weak var waker: (any StreamWaker)?
  public var localAddress: SocketAddress?
  public var remoteAddress: SocketAddress?

  /// Two ends of one stream.
  ///
  /// - Parameter window: bytes that may be on their way in one direction; at least 1.
  public static func pair(window: Int = 64 * 1024) -> (near: MemoryStream, far: MemoryStream) {
    precondition(window >= 1, "window: \(window): at least 1 is needed")
    let there = Window(capacity: window)
    let back = Window(capacity: window)
    let near = MemoryStream(incoming: back, outgoing: there)
    let far = MemoryStream(incoming: there, outgoing: back)
    there.writer = near
    there.reader = far
    back.writer = far
    back.reader = near
    return (near, far)
  }

  private init(incoming: Window, outgoing: Window) {
    self.incoming = incoming
    self.outgoing = outgoing
  }

  deinit {
    // An end that nobody holds is a closed one.
    outgoing.isFinished = true
    notify(outgoing.reader)
  }

  /// Bytes that wait to be read here.
  public var readableCount: Int { incoming.bytes.count }

  /// Whether everything was read and nothing more will come.
  public var hasEnded: Bool { incoming.isFinished && incoming.bytes.isEmpty }

  /// Whether the other side was told that something went wrong.
  public var isReset: Bool { wasReset }

  public func read(into buffer: inout OutputRawSpan) throws -> StreamRead {
    try check()
    precondition(buffer.freeCapacity > 0, "a read needs room for at least 1 byte")
    let count = min(incoming.bytes.count, buffer.freeCapacity)
    if count == 0 { return incoming.isFinished ? .end : .wouldBlock }
    for i in 0..<count { buffer.append(incoming.bytes[i]) }
    incoming.bytes.removeFirst(count)
    notify(incoming.writer)
    return .bytes(count)
  }

  public func write(_ bytes: RawSpan) throws -> Int {
    try check()
    if outgoing.isFinished { throw StreamError.closed }
    guard let reader = outgoing.reader, !reader.isClosed else { throw StreamError.reset }
    let count = min(bytes.byteCount, outgoing.capacity - outgoing.bytes.count)
    if count == 0 { return 0 }
    bytes.extracting(first: count).withUnsafeBytes { outgoing.bytes.append(contentsOf: $0) }
    notify(reader)
    return count
  }

  public func finishWriting() throws {
    try check()
    outgoing.isFinished = true
    notify(outgoing.reader)
  }

  public func close() {
    if isClosed { return }
    isClosed = true
    outgoing.isFinished = true
    notify(outgoing.reader)
    notify(incoming.writer)
  }

  public func abort() {
    if isClosed { return }
    isClosed = true
    outgoing.reader?.wasReset = true
    notify(outgoing.reader)
  }

  /// Everything that can be read now, at once.
  public func readAll() throws -> [UInt8] { try take(atMost: .max) }

  func take(atMost limit: Int) throws -> [UInt8] {
    try check()
    let taken = Array(incoming.bytes.prefix(limit))
    incoming.bytes.removeFirst(taken.count)
    if !taken.isEmpty { notify(incoming.writer) }
    return taken
  }

  /// How many bytes a write takes now.
  var room: Int { outgoing.capacity - outgoing.bytes.count }

  /// Whether a write would take something, or fail.
  var hasRoom: Bool { room > 0 || outgoing.isFinished }

  /// Writes as much of `bytes` as fits and says how much.
  @discardableResult public func write(_ bytes: [UInt8]) throws -> Int { try write(bytes.span.bytes) }

  private func check() throws {
    if wasReset { throw StreamError.reset }
    if isClosed { throw StreamError.closed }
  }

  private func notify(_ other: MemoryStream?) {
    guard let other else { return }
    other.waker?.wake(other)
  }
}

/// Sits at the far end of a ``MemoryStream`` and behaves like an upstream.
public struct MemoryPeer: Sendable {
  enum Behaviour: Sendable {
    case echo, sink
    case says([UInt8], thenFinishes: Bool)
    case resets
    case answers(@Sendable ([UInt8]) -> [UInt8])
  }

  let behaviour: Behaviour

  /// Sends back what it gets, and finishes when the other side has.
  public static let echo = MemoryPeer(behaviour: .echo)
  /// Takes everything, says nothing, finishes when the other side has.
  public static let sink = MemoryPeer(behaviour: .sink)
  /// Resets the connection as soon as it is open.
  public static let resets = MemoryPeer(behaviour: .resets)
  /// Says this at once.
  public static func says(_ bytes: [UInt8], thenFinishes: Bool = true) -> MemoryPeer {
    MemoryPeer(behaviour: .says(bytes, thenFinishes: thenFinishes))
  }

  /// Answers whatever comes with what `answer` makes of it; finishes when the other side has. A conversation that goes on
  /// over several pieces keeps its state in the closure.
  public static func answers(_ answer: @escaping @Sendable ([UInt8]) -> [UInt8]) -> MemoryPeer {
    MemoryPeer(behaviour: .answers(answer))
  }

  /// Takes the far end over.
  func attach(to stream: MemoryStream) -> AnyObject {
    let driver = PeerDriver(self, stream)
    driver.wake(stream)
    return driver
  }
}

private final class PeerDriver: StreamWaker {
  private let stream: MemoryStream
  private let behaviour: MemoryPeer.Behaviour
  private var pending: [UInt8] = []
  private var hasFinished = false
  private var isBusy = false

  init(_ peer: MemoryPeer, _ stream: MemoryStream) {
    self.stream = stream
    behaviour = peer.behaviour
    if case .says(let bytes, _) = peer.behaviour { pending = bytes }
    stream.waker = self
  }

  func wake(_ stream: any ByteStream) {
    // A write from here may wake the other end, which may wake this one: the outer call goes on.
    if isBusy { return }
    isBusy = true
    defer { isBusy = false }
    do {
      try step()
    } catch {
      // The near end has closed or reset: nothing is left to do.
    }
  }

  private func step() throws {
    if case .resets = behaviour {
      stream.abort()
      return
    }
    while true {
      // Reads only what it can pass on, so that a near end which does not read is held up, too.
      let bytes = pending.isEmpty ? try stream.readAll() : []
      if case .echo = behaviour { pending += bytes }
      if case .answers(let answer) = behaviour, !bytes.isEmpty { pending += answer(bytes) }
      var taken = 0
      if !pending.isEmpty {
        taken = try stream.write(pending)
        pending.removeFirst(taken)
      }
      if bytes.isEmpty, taken == 0 { break }
    }
    let sawEnd = stream.hasEnded
    let wantsToFinish: Bool
    switch behaviour {
    case .echo, .sink, .answers: wantsToFinish = sawEnd
    case .says(_, let thenFinishes): wantsToFinish = thenFinishes || sawEnd
    case .resets: wantsToFinish = false
    }
    if pending.isEmpty, wantsToFinish, !hasFinished {
      hasFinished = true
      try stream.finishWriting()
    }
  }
}
