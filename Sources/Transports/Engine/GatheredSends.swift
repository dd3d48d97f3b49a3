/// Who keeps what the kernel did not take of a gathered piece.
protocol GatheredOwner: AnyObject {
  /// Called on the loop, within the call that sends the piece.
  func keep(_ rest: UnsafeRawBufferPointer, for socket: Socket)
}

/// Small pieces that the sockets of one loop send in a row at the end of its turn.
///
/// Waking a receiver is the sender's work, and costs more than the rest of a small send. A receiver that gets its pieces one
/// by one, with the work on the next request in between, falls asleep each time; one that gets them in a row is woken once
/// and finds the others there. It costs one copy, no suspension and no allocation.
///
/// A socket has at most one piece here. Whatever else is done with it (another send, a FIN, a close) sends that piece first,
/// so the order of the bytes is the order of the calls.
final class GatheredSends {
  /// The largest piece: copying it costs little.
  static let largestPiece = 4 * 1024
  private static let capacity = 128 * 1024
  /// Pieces that wait for each other: the first of them is late by the time that the work on the others takes.
  private static let most = 64

  private struct Piece {
    // Sound: a socket sends its piece, which empties this place, before it goes away.
    let socket: Unmanaged<Socket>
    let offset: Int
    /// 0 once it has been sent.
    var count: Int
  }

  // Plain memory and numbers of one thread: nothing here calls back while it changes.
  private let base: UnsafeMutableRawPointer
  @exclusivity(unchecked) private var used = 0
  @exclusivity(unchecked) private var pieces: [Piece] = []

  init() {
    base = .allocate(byteCount: Self.capacity, alignment: 64)
    pieces.reserveCapacity(Self.most)
  }

  deinit { base.deallocate() }

  /// Takes a copy of `bytes` for `socket`, which has no piece here yet.
  ///
  /// - Returns: the place of the piece; nil when it is too large.
  @inline(__always)
  func take(_ bytes: UnsafeRawBufferPointer, for socket: Socket) -> Int? {
    guard let source = bytes.baseAddress, bytes.count <= Self.largestPiece else { return nil }
    if used + bytes.count > Self.capacity || pieces.count == Self.most { sendAll() }
    (base + used).copyMemory(from: source, byteCount: bytes.count)
    pieces.append(Piece(socket: .passUnretained(socket), offset: used, count: bytes.count))
    used += bytes.count
    return pieces.count - 1
  }

  /// Sends one piece before its time.
  func send(_ place: Int) {
    let piece = pieces[place]
    pieces[place].count = 0
    let bytes = UnsafeRawBufferPointer(start: base + piece.offset, count: piece.count)
    piece.socket._withUnsafeGuaranteedRef { $0.sendGathered(bytes) }
  }

  /// To be called when the loop has nothing else to do in this turn.
  @inline(__always)
  func sendAll() {
    if pieces.isEmpty { return }
    sendEach()
  }

  private func sendEach() {
    for place in pieces.indices where pieces[place].count > 0 { send(place) }
    pieces.removeAll(keepingCapacity: true)
    used = 0
  }
}
