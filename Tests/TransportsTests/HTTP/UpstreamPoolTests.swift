import Glibc
import Pipeline
import Testing

@testable import Transports

extension UpstreamPool {
  fileprivate func take(_ link: UpstreamLink, _ addresses: [SocketAddress]) -> RelaySide? {
    var address: SocketAddress?
    let side = take(link, addresses, &address)
    #expect(address.map(addresses.contains) ?? (side == nil))
    return side
  }
}

/// The idle upstream connections of a loop.
@Suite struct UpstreamPoolTests {
  /// Sockets to one backend, on a loop of their own.
  private struct World {
    let engine: Engine
    let backend: BlockingOrigin
    var loop: Loop { engine.loops[0] }

    init() throws {
      engine = try Engine(EngineOptions(loops: 1))
      backend = try BlockingOrigin()
    }

    /// A connected socket on the loop, and its far end.
    func socket() async throws -> (Socket, BlockingPeer) {
      let near = try BlockingPeer.connect(backend.address)
      let far = try backend.accept()
      let fd = dup(near.fd)
      _ = fcntl(fd, F_SETFL, O_NONBLOCK)
      let socket = await loop.run { Socket(adopting: fd, on: $0) }
      return (try #require(socket), far)
    }

    func stop() async {
      let engine = engine
      try? await onThread { engine.stop() }
    }
  }

  private let address = SocketAddress.ip(.loopbackV4, port: 80)
  private let other = SocketAddress.ip(.loopbackV4, port: 81)

  @Test func theYoungestComesFirstAndOnlyToItsAddressAndLink() async throws {
    let world = try World()
    let link = UpstreamLink()
    let (a, farA) = try await world.socket()
    let (b, farB) = try await world.socket()
    let (c, farC) = try await world.socket()
    let (address, other) = (address, other)
    await world.loop.run { loop in
      let pool = loop.http.pool
      pool.put(RelaySide(a), to: address, for: link)
      pool.put(RelaySide(b), to: address, for: link)
      pool.put(RelaySide(c), to: other, for: link)
      #expect(pool.take(UpstreamLink(), [address]) == nil)
      #expect(pool.take(link, [address])?.socket === b)
      #expect(pool.take(link, [address])?.socket === a)
      #expect(pool.take(link, [address]) == nil)
      #expect(pool.take(link, [address, other])?.socket === c)
      #expect(pool.count == 0)
    }
    _ = (farA, farB, farC)
    await world.stop()
  }

  /// The edge of a segment may be reported after its bytes were read: that is nothing new to read.
  @Test func anEventForBytesThatWereReadAlreadyCostsNoConnection() async throws {
    let world = try World()
    let link = UpstreamLink()
    let (socket, far) = try await world.socket()
    let (address, loop) = (address, world.loop)
    await loop.run { loop in
      let pool = loop.http.pool
      socket.becameReady(.readable)
      pool.put(RelaySide(socket), to: address, for: link)
      #expect(pool.count == 1)
      socket.becameReady(.readable)
      #expect(pool.count == 1)
      #expect(pool.take(link, [address])?.socket === socket)
      #expect(!socket.mayRead)
      pool.put(RelaySide(socket), to: address, for: link)
    }
    // What is there to read does, whether the loop has heard of it or hears of it now.
    try far.send(Array("unasked".utf8))
    while await loop.run({ $0.http.pool.count }) > 0 { await Task.yield() }
    let descriptor = await loop.run { _ in socket.descriptor }
    #expect(descriptor < 0)
    await world.stop()
  }

  @Test func theOldestGivesWayWhenTheShelfIsFull() async throws {
    let world = try World()
    let link = UpstreamLink(maxIdle: 2)
    var sockets: [Socket] = []
    var peers: [BlockingPeer] = []
    for _ in 1...3 {
      let (socket, far) = try await world.socket()
      sockets.append(socket)
      peers.append(far)
    }
    let (address, all) = (address, sockets)
    await world.loop.run { loop in
      for socket in all { loop.http.pool.put(RelaySide(socket), to: address, for: link) }
      #expect(loop.http.pool.count == 2)
      #expect(all[0].descriptor < 0)
      #expect(loop.http.pool.take(link, [address])?.socket === all[2])
    }
    let first = peers[0]
    let closed = try await onThread { try first.receive().isEmpty }
    #expect(closed)
    await world.stop()
  }

  @Test func aLinkThatKeepsNothingKeepsNothing() async throws {
    let world = try World()
    let (socket, far) = try await world.socket()
    let address = address
    await world.loop.run { loop in
      loop.http.pool.put(RelaySide(socket), to: address, for: UpstreamLink(maxIdle: 0))
      #expect(loop.http.pool.count == 0)
      #expect(socket.descriptor < 0)
    }
    _ = far
    await world.stop()
  }

  @Test func oneThatItsUpstreamClosesLeavesAtOnce() async throws {
    let world = try World()
    let link = UpstreamLink()
    let (socket, far) = try await world.socket()
    let address = address
    await world.loop.run { $0.http.pool.put(RelaySide(socket), to: address, for: link) }
    far.close()
    // The close is known to the kernel; each of these is at least one turn of the loop, with a look at it.
    for _ in 0..<20 { await world.loop.run { _ in } }
    await world.loop.run { loop in
      #expect(loop.http.pool.count == 0)
      #expect(socket.descriptor < 0)
    }
    await world.stop()
  }

  /// The pool's reference is the last one: it goes away within the very call that tells of the event.
  @Test func oneThatNobodyElseHoldsLeavesAndIsFreed() async throws {
    let world = try World()
    let link = UpstreamLink()
    let near = try BlockingPeer.connect(world.backend.address)
    let far = try world.backend.accept()
    let fd = dup(near.fd)
    _ = fcntl(fd, F_SETFL, O_NONBLOCK)
    let address = address
    let freed = Freed()
    await world.loop.run { loop in
      guard let socket = Socket(adopting: fd, on: loop) else { return }
      freed.socket = socket
      loop.http.pool.put(RelaySide(socket), to: address, for: link)
    }
    #expect(await world.loop.run { _ in freed.socket != nil })
    near.close()
    far.close()
    while await world.loop.run({ $0.http.pool.count }) > 0 { await Task.yield() }
    #expect(await world.loop.run { _ in freed.socket == nil })
    await world.stop()
  }

  /// Looked at on the loop alone.
  private final class Freed: @unchecked Sendable {
    weak var socket: Socket?
  }

  @Test func aLinkThatWasSweptIsUsedAgain() async throws {
    let world = try World()
    let link = UpstreamLink(idleTimeout: .milliseconds(20))
    let (old, far) = try await world.socket()
    let (new, farNew) = try await world.socket()
    let address = address
    await world.loop.run { $0.http.pool.put(RelaySide(old), to: address, for: link) }
    let closed = try await onThread { try far.receive().isEmpty }
    #expect(closed)
    await world.loop.run { loop in
      let pool = loop.http.pool
      #expect(pool.take(link, [address]) == nil)
      pool.put(RelaySide(new), to: address, for: link)
      #expect(pool.count == 1)
      #expect(pool.take(link, [address])?.socket === new)
    }
    _ = farNew
    await world.stop()
  }

  @Test func oneThatIsIdleForTooLongIsClosed() async throws {
    let world = try World()
    let link = UpstreamLink(idleTimeout: .milliseconds(20))
    let (socket, far) = try await world.socket()
    let address = address
    await world.loop.run { $0.http.pool.put(RelaySide(socket), to: address, for: link) }
    let closed = try await onThread { try far.receive().isEmpty }
    #expect(closed)
    #expect(await world.loop.run { $0.http.pool.count } == 0)
    await world.stop()
  }
}
