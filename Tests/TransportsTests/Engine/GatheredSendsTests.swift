import CShim
import Glibc
import Pipeline
import Testing

@testable import Transports

/// A socket on a loop, and its far end.
private struct Pair: Sendable {
  let socket: Socket
  let peer: BlockingPeer
}

/// Two ends; the first does not block.
private func connectedEnds() -> (Int32, Int32) {
  var ends: [Int32] = [-1, -1]
  precondition(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0, "no sockets are left")
  precondition(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0, "fcntl")
  return (ends[0], ends[1])
}

/// Runs `body` with a pair on a loop that has another task ready, as long as `body` runs: sends wait for its end.
private func withPair(_ body: @escaping @Sendable (Pair) -> Void, then check: (Pair, Loop) async throws -> Void)
  async throws
{
  let engine = try Engine(EngineOptions(loops: 1, counters: EngineCounters()))
  let loop = engine.loops[0]
  let pair = await loop.run { loop in
    let ends = connectedEnds()
    setSocketOption(ends.0, SOL_SOCKET, SO_SNDBUF, 16 * 1024)
    let socket = Socket(adopting: ends.0, on: loop, readiness: .writable)!
    let pair = Pair(socket: socket, peer: BlockingPeer(ends.1))
    Task(executorPreference: loop) {}
    precondition(loop.hasMoreToDo, "the task waits for its turn")
    body(pair)
    return pair
  }
  try await check(pair, loop)
  await loop.run { _ in pair.socket.close() }
  try await onThread { engine.stop() }
}

private func gather(_ text: String, _ socket: Socket) -> Bool {
  Array(text.utf8).withUnsafeBytes { socket.sendAtEndOfTurn($0) }
}

private func send(_ text: String, _ socket: Socket) {
  let bytes = Array(text.utf8)
  bytes.withUnsafeBytes { #expect(socket.send($0.baseAddress!, $0.count) == .bytes(bytes.count)) }
}

private func isSilent(_ peer: BlockingPeer) -> Bool {
  var byte: UInt8 = 0
  return recv(peer.fd, &byte, 1, Int32(MSG_DONTWAIT) | Int32(MSG_PEEK)) < 0
}

@Suite struct GatheredSendsTests {
  @Test func aSmallPieceGoesOutAtTheEndOfTheTurnAndNotBefore() async throws {
    try await withPair { pair in
      #expect(gather("one", pair.socket))
      #expect(isSilent(pair.peer))
    } then: { pair, _ in
      let received = try await onThread { try pair.peer.receive(exactly: 3) }
      #expect(received == Array("one".utf8))
    }
  }

  @Test func whatFollowsComesAfterIt() async throws {
    try await withPair { pair in
      #expect(gather("one ", pair.socket))
      #expect(gather("two ", pair.socket))
      send("three ", pair.socket)
      #expect(gather("four", pair.socket))
    } then: { pair, _ in
      let received = try await onThread { try pair.peer.receive(exactly: 18) }
      #expect(received == Array("one two three four".utf8))
    }
  }

  @Test(arguments: [false, true])
  func theEndComesAfterIt(_ closes: Bool) async throws {
    try await withPair { pair in
      #expect(gather("last", pair.socket))
      if closes { pair.socket.close() } else { #expect(throws: Never.self) { try pair.socket.finishWriting() } }
    } then: { pair, _ in
      let received = try await onThread { try pair.peer.receiveToEnd() }
      #expect(received == Array("last".utf8))
    }
  }

  @Test func aLargePieceIsTheCallersToSend() async throws {
    try await withPair { pair in
      #expect(!gather(String(repeating: "x", count: GatheredSends.largestPiece + 1), pair.socket))
      #expect(gather(String(repeating: "x", count: GatheredSends.largestPiece), pair.socket))
    } then: { pair, _ in
      let count = GatheredSends.largestPiece
      let received = try await onThread { try pair.peer.receive(exactly: count) }
      #expect(received.count == count)
    }
  }

  @Test func withNobodyElseReadyNothingIsHeldBack() async throws {
    let engine = try Engine(EngineOptions(loops: 1, counters: EngineCounters()))
    await engine.loops[0].run { loop in
      let ends = connectedEnds()
      let peer = BlockingPeer(ends.1)
      let socket = Socket(adopting: ends.0, on: loop, readiness: .writable)!
      #expect(!gather("one", socket))
      socket.close()
      peer.close()
    }
    try await onThread { engine.stop() }
  }

  @Test func whatTheKernelDoesNotTakeFollowsWhenThereIsRoom() async throws {
    let piece = String(repeating: "y", count: 4000)
    try await withPair { pair in
      // Behind the socket's back, so that it believes there is room.
      let filling = [UInt8](repeating: UInt8(ascii: "x"), count: 1 << 20)
      _ = filling.withUnsafeBytes { Glibc.send(pair.socket.descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT)) }
      #expect(gather(piece, pair.socket))
    } then: { pair, loop in
      let waits = await loop.run { _ in pair.socket.hasBacklog && !pair.socket.mayWrite }
      #expect(waits)
      let received = try await onThread {
        var all: [UInt8] = []
        while all.count(where: { $0 == UInt8(ascii: "y") }) < 4000 {
          let part = try pair.peer.receive()
          if part.isEmpty { break }
          all += part
        }
        return all
      }
      #expect(received.suffix(4000).allSatisfy { $0 == UInt8(ascii: "y") })
      #expect(received.count(where: { $0 == UInt8(ascii: "y") }) == 4000)
      let rests = await loop.run { _ in pair.socket.hasBacklog }
      #expect(!rests)
    }
  }

  @Test func aPieceForAPeerThatIsGoneIsDroppedAndTheSocketSaysSo() async throws {
    try await withPair { pair in
      #expect(gather("one", pair.socket))
      pair.peer.close()
    } then: { pair, loop in
      let state = await loop.run { _ in (pair.socket.hasBacklog, pair.socket.readiness.contains(.hangUp)) }
      #expect(!state.0)
      #expect(state.1)
    }
  }

  @Test func morePiecesThanTheTableHoldsAreAllSent() async throws {
    let engine = try Engine(EngineOptions(loops: 1, counters: EngineCounters()))
    let pairs = await engine.loops[0].run { loop in
      Task(executorPreference: loop) {}
      return (0..<200).map { index in
        let ends = connectedEnds()
        let pair = Pair(
          socket: Socket(adopting: ends.0, on: loop, readiness: .writable)!, peer: BlockingPeer(ends.1))
        #expect(gather("piece \(index)", pair.socket))
        return pair
      }
    }
    let received = try await onThread { try pairs.map { String(decoding: try $0.peer.receive(), as: UTF8.self) } }
    #expect(received == (0..<200).map { "piece \($0)" })
    await engine.loops[0].run { _ in for pair in pairs { pair.socket.close() } }
    try await onThread { engine.stop() }
  }
}
