internal import CShim
internal import Glibc
internal import Pipeline

/// One direction of a relay: from a source to a sink, by copying through the loop's scratch buffer or, while traffic is
/// bulk, by splicing through a pipe within the kernel.
///
/// The window is fixed: what a sink did not take waits in one spill buffer or one pipe, and nothing is read before that
/// is empty (a spill) or has room (a pipe). So a receiver that stalls holds at most `Loop.scratchSize` or
/// `PipePool.pipeSize` here, whatever the sender does; TCP's own window then stops the sender.
///
/// A value that is stepped by `Relay`; it touches nothing but itself and what it is given.
struct RelayDirection {
  /// Why a step stopped.
  enum Outcome: Equatable {
    /// Until the next event there is nothing to do.
    case blocked
    /// The share of this turn is used up.
    case moreToDo
    /// The source has bytes, or may have, and the lease has none left.
    case leaseUsedUp
    /// The source has ended and everything was handed over.
    case finished
    /// The source broke; what was read before has been handed over as far as the sink took it.
    case sourceFailed(Int32)
    case sinkFailed(Int32)
  }

  /// Operations of one turn: a bulk transfer must not make the others wait.
  private static let copiesPerTurn = 8
  private static let splicesPerTurn = 16
  /// A read of so much is a sign of bulk traffic, two in a row switch to splicing (measured: for small messages splicing
  /// costs a fifth more than copying).
  private static let bulkRead = 64 * 1024
  private static let bulkReads = 2
  /// Spliced pieces below this are a sign that the bulk is over.
  private static let smallSplice = 16 * 1024
  private static let smallSplices = 4

  /// Bytes that may still be read. Counted when they are read, so that what moves never exceeds the lease.
  var lease = Int.max
  /// Bytes read from the source since the start.
  private(set) var moved: UInt64 = 0
  /// The source has sent its FIN.
  private(set) var sourceHasEnded = false
  /// Everything was handed over, or never will be.
  private(set) var isFinished = false

  private let maySplice: Bool
  private var isSplicing = false
  private var signs = 0
  private var spill: SpillBuffer?
  private var spillStart = 0
  private var spillEnd = 0
  private var pipe: Pipe?
  private var inPipe = 0
  /// The pipe took nothing although it holds less than its size: its page slots are used up.
  private var pipeIsFull = false
  private var wastedWakes = 0

  init(maySplice: Bool) { self.maySplice = maySplice }

  /// Bytes that were read and not yet handed over.
  var held: Int { spillEnd - spillStart + inPipe }

  /// Moves what can be moved now.
  ///
  /// Nothing of this direction may wait among the gathered sends.
  ///
  /// - Parameter owner: calls ``keep(_:_:)`` for what the sink does not take of a piece that is sent later in this turn.
  mutating func step(_ source: RelaySide, _ sink: RelaySide, _ loop: Loop, for owner: any GatheredOwner) -> Outcome {
    if isFinished { return .finished }
    let before = (moved, held)
    var outcome: Outcome
    var switchedMode: Bool
    repeat {
      let wasSplicing = isSplicing
      if isSplicing, let from = source.socket, let to = sink.socket {
        outcome = stepBySplice(from, to, loop)
      } else {
        outcome = stepByCopy(source, sink, loop, owner)
      }
      switchedMode = wasSplicing != isSplicing
    } while outcome == .moreToDo && switchedMode
    if outcome == .finished { isFinished = true }
    if outcome == .blocked { noteBlocked(source, movedSomething: (moved, held) != before) }
    return outcome
  }

  /// A direction whose sink is full is woken by every segment that arrives at its source. After one such wake for
  /// nothing the source is muted until the sink has taken what is held.
  private mutating func noteBlocked(_ source: RelaySide, movedSomething: Bool) {
    guard let socket = source.socket else { return }
    if held == 0 || movedSomething {
      wastedWakes = 0
    } else if !sourceHasEnded {
      wastedWakes += 1
      if wastedWakes == 2 { socket.mute() }
    }
  }

  // MARK: Copying

  private mutating func stepByCopy(
    _ source: RelaySide, _ sink: RelaySide, _ loop: Loop, _ owner: any GatheredOwner
  ) -> Outcome {
    for _ in 0..<Self.copiesPerTurn {
      if let spill {
        guard sink.mayWrite else { return .blocked }
        switch sink.write(spill.base + spillStart, spillEnd - spillStart) {
        case .bytes(let count):
          spillStart += count
          loop.counters.spilledBytes.add(-count)
          // Only "would block" ends the attempts: a stream that is no socket may take less than it could.
          if spillStart < spillEnd { continue }
          dropSpill(loop)
          source.socket?.mayReadMuted()
        case .wouldBlock: return .blocked
        case .end: return .sinkFailed(EPIPE)
        case .failed(let code): return .sinkFailed(code)
        }
      }
      if sourceHasEnded { return .finished }
      // What could not be handed over is better left in the kernel.
      guard source.mayRead, sink.mayWrite else { return .blocked }
      if lease <= 0 { return .leaseUsedUp }
      let capacity = min(Loop.scratchSize, lease)
      switch source.read(loop.scratch, capacity) {
      case .bytes(let count):
        took(count)
        if let failure = hand(count, from: source, to: sink, loop, owner) { return failure }
        if spill == nil, maySplice, isBulk(count), startSplicing(loop) { return .moreToDo }
      case .end:
        sourceHasEnded = true
        return .finished
      case .wouldBlock: return .blocked
      case .failed(let code): return .sourceFailed(code)
      }
    }
    return .moreToDo
  }

  private mutating func took(_ count: Int) {
    moved &+= UInt64(count)
    if lease != .max { lease -= count }
  }

  /// Hands what stands in the scratch buffer to the sink and keeps the rest. A small piece behind which nothing is to be read
  /// now is sent with those of others.
  private mutating func hand(
    _ count: Int, from source: RelaySide, to sink: RelaySide, _ loop: Loop, _ owner: any GatheredOwner
  ) -> Outcome? {
    if !source.mayRead, let socket = sink.socket,
      socket.sendAtEndOfTurn(UnsafeRawBufferPointer(start: loop.scratch, count: count), for: owner)
    {
      return nil
    }
    var sent = 0
    if sink.mayWrite {
      switch sink.write(loop.scratch, count) {
      case .bytes(let taken): sent = taken
      case .wouldBlock: break
      case .end: return .sinkFailed(EPIPE)
      case .failed(let code): return .sinkFailed(code)
      }
    }
    if sent < count { keep(UnsafeRawBufferPointer(start: loop.scratch + sent, count: count - sent), loop) }
    return nil
  }

  /// Keeps what the sink has not taken. Nothing else is kept at that time.
  mutating func keep(_ rest: UnsafeRawBufferPointer, _ loop: Loop) {
    guard let source = rest.baseAddress else { return }
    let buffer = loop.buffers.take(rest.count)
    buffer.base.copyMemory(from: source, byteCount: rest.count)
    spill = buffer
    spillStart = 0
    spillEnd = rest.count
    loop.counters.spilledBytes.add(rest.count)
  }

  private mutating func dropSpill(_ loop: Loop) {
    guard let buffer = spill else { return }
    loop.counters.spilledBytes.add(spillStart - spillEnd)
    loop.buffers.put(buffer)
    spill = nil
    spillStart = 0
    spillEnd = 0
  }

  // MARK: Splicing

  private mutating func isBulk(_ count: Int) -> Bool {
    signs = count >= Self.bulkRead ? signs + 1 : 0
    return signs >= Self.bulkReads
  }

  private mutating func startSplicing(_ loop: Loop) -> Bool {
    signs = 0
    guard let taken = loop.pipes.take() else { return false }
    pipe = taken
    isSplicing = true
    return true
  }

  private mutating func stopSplicing() {
    signs = 0
    isSplicing = false
  }

  private mutating func stepBySplice(_ source: Socket, _ sink: Socket, _ loop: Loop) -> Outcome {
    let outcome = splice(source, sink, loop)
    // A pipe is held only while it holds bytes: idle tunnels need none.
    if inPipe == 0, let empty = pipe {
      loop.pipes.put(empty, isEmpty: true)
      pipe = nil
    }
    return outcome
  }

  private mutating func splice(_ source: Socket, _ sink: Socket, _ loop: Loop) -> Outcome {
    for _ in 0..<Self.splicesPerTurn {
      var progressed = false
      if inPipe > 0, sink.mayWrite, let pipe {
        switch sink.splice(outOf: pipe, inPipe) {
        case .bytes(let count):
          inPipe -= count
          progressed = true
          if inPipe == 0 {
            pipeIsFull = false
            source.mayReadMuted()
          }
        case .wouldBlock: break
        case .end: return .sinkFailed(EPIPE)
        case .failed(let code): return .sinkFailed(code)
        }
      }
      if sourceHasEnded {
        if inPipe == 0 { return .finished }
      } else if source.mayRead, !pipeIsFull, inPipe < PipePool.pipeSize {
        if lease <= 0 {
          if inPipe == 0 { return .leaseUsedUp }
        } else if let stop = fill(source, loop, &progressed) {
          return stop
        }
      }
      if !progressed { return .blocked }
    }
    return .moreToDo
  }

  /// Reads into the pipe. Returns an outcome where the direction cannot go on by splicing.
  private mutating func fill(_ source: Socket, _ loop: Loop, _ progressed: inout Bool) -> Outcome? {
    if pipe == nil { pipe = loop.pipes.take() }
    guard let pipe else {
      stopSplicing()
      return .moreToDo
    }
    let wasEmpty = inPipe == 0
    switch source.splice(into: pipe, min(PipePool.pipeSize - inPipe, lease)) {
    case .bytes(let count):
      took(count)
      inPipe += count
      progressed = true
      signs = wasEmpty && count < Self.smallSplice ? signs + 1 : 0
    case .end:
      sourceHasEnded = true
      progressed = true
    case .wouldBlock:
      // An empty socket or a full pipe: an empty pipe is not full.
      if wasEmpty { source.noteNothingToRead() } else { pipeIsFull = true }
      if wasEmpty, signs >= Self.smallSplices { stopSplicing() }
    case .failed(EINVAL) where wasEmpty:
      // This kind of socket does not splice.
      stopSplicing()
      return .moreToDo
    case .failed(let code):
      return .sourceFailed(code)
    }
    return nil
  }

  // MARK: Ending

  /// Gives back what is held. Bytes that the sink has not taken are lost.
  mutating func release(_ loop: Loop) {
    isFinished = true
    dropSpill(loop)
    if let pipe { loop.pipes.put(pipe, isEmpty: inPipe == 0) }
    pipe = nil
    inPipe = 0
  }
}
