import CShim
import Glibc
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// The ways in which a relay moves bytes.
enum RelayMode: CaseIterable, Sendable {
  /// Copying at first, splicing once it is bulk.
  case adaptive
  /// Copying only.
  case copy
  /// The generic pump: neither side is known to be a socket.
  case opaque
  /// The generic pump, in small pieces of random size.
  case crumbs

  var engine: EngineOptions { EngineOptions(loops: 1, splices: self == .adaptive) }

  func wrap(_ stream: any ByteStream, seed: UInt64) -> any ByteStream {
    guard let socket = stream as? Socket else { return stream }
    switch self {
    case .adaptive, .copy: return socket
    case .opaque: return OpaqueStream(socket)
    case .crumbs: return OpaqueStream(socket, largestPiece: 3000, seed: seed)
    }
  }

  /// A tunnel from every client to `origin`.
  func tunnel(
    to origin: SocketAddress, options: ListenerOptions = ListenerOptions(), results: Mailbox<Summary>? = nil,
    prepare: @escaping @Sendable (TunnelExchange) -> Void = { _ in }
  ) async throws -> EngineFixture {
    try await EngineFixture(engine) { connection in
      let exchange = TunnelExchange(connection, options: options)
      prepare(exchange)
      let upstream = wrap(try await exchange.dial(approved(origin)), seed: 1)
      let client = wrap(connection.client, seed: 2)
      let summary = try await connection.relay(client: client, upstream: upstream, for: exchange)
      results?.put(summary)
    }
  }
}

@Suite struct RelayTests {
  @Test(arguments: RelayMode.allCases)
  func aMessageGoesThereAndBackAndTheClientsEndEndsIt(mode: RelayMode) async throws {
    let origin = try BlockingOrigin()
    let results = Mailbox<Summary>()
    let fixture = try await mode.tunnel(to: origin.address, results: results)
    let proxy = fixture.address
    async let served: [UInt8] = onThread {
      let peer = try origin.accept()
      let request = try peer.receiveToEnd()
      try peer.send(request.reversed())
      return request
    }
    let reply = try await onThread {
      let client = try BlockingPeer.connect(proxy)
      try client.send([1, 2, 3])
      client.finishWriting()
      return try client.receiveToEnd()
    }
    #expect(try await served == [1, 2, 3])
    #expect(reply == [3, 2, 1])
    #expect(await results.next() == Summary(traffic: Traffic(up: 3, down: 3), endedBy: .client, ending: .finished))
    await fixture.stopAndExpectNothingLeft()
  }

  @Test(arguments: RelayMode.allCases)
  func bothDirectionsAtOnceAreByteExact(mode: RelayMode) async throws {
    let origin = try BlockingOrigin()
    let results = Mailbox<Summary>()
    let fixture = try await mode.tunnel(to: origin.address, results: results)
    let proxy = fixture.address
    let scale = mode == .crumbs ? 1 : 4
    let up = noise(5_000_000 * scale, seed: 1)
    let down = noise(6_000_000 * scale, seed: 2)
    async let atOrigin: [UInt8] = onThread { try origin.accept().exchange(down) }
    let atClient = try await onThread { try BlockingPeer.connect(proxy).exchange(up) }
    #expect(try await atOrigin == up)
    #expect(atClient == down)
    #expect(await results.next()?.traffic == Traffic(up: UInt64(up.count), down: UInt64(down.count)))
    await fixture.stopAndExpectNothingLeft()
  }

  @Test(arguments: RelayMode.allCases)
  func anUpstreamThatEndsFirstStillHearsTheClient(mode: RelayMode) async throws {
    let origin = try BlockingOrigin()
    let results = Mailbox<Summary>()
    let fixture = try await mode.tunnel(to: origin.address, results: results)
    let proxy = fixture.address
    async let heard: [UInt8] = onThread {
      let peer = try origin.accept()
      try peer.send([1])
      peer.finishWriting()
      return try peer.receiveToEnd()
    }
    try await onThread {
      let client = try BlockingPeer.connect(proxy)
      #expect(try client.receiveToEnd() == [1])
      try client.send([4, 5])
    }
    #expect(try await heard == [4, 5])
    #expect(await results.next() == Summary(traffic: Traffic(up: 2, down: 1), endedBy: .upstream, ending: .finished))
    await fixture.stopAndExpectNothingLeft()
  }

  @Test(arguments: RelayMode.allCases)
  func aClientsResetIsPassedOnAsAReset(mode: RelayMode) async throws {
    let origin = try BlockingOrigin()
    let results = Mailbox<Summary>()
    let fixture = try await mode.tunnel(to: origin.address, results: results)
    let proxy = fixture.address
    async let ended: Int32? = onThread {
      let peer = try origin.accept()
      #expect(try peer.receive(exactly: 3) == [1, 2, 3])
      try peer.send([9])
      return peer.errorOfNextReceive()
    }
    try await onThread {
      let client = try BlockingPeer.connect(proxy)
      try client.send([1, 2, 3])
      #expect(try client.receive(exactly: 1) == [9])
      client.reset()
    }
    #expect(try await ended == ECONNRESET)
    #expect(await results.next() == Summary(traffic: Traffic(up: 3, down: 1), endedBy: .client, ending: .reset))
    await fixture.stopAndExpectNothingLeft()
  }

  @Test(arguments: RelayMode.allCases)
  func anUpstreamsResetIsPassedOnAsAReset(mode: RelayMode) async throws {
    let origin = try BlockingOrigin()
    let results = Mailbox<Summary>()
    let fixture = try await mode.tunnel(to: origin.address, results: results)
    let proxy = fixture.address
    async let served: Void = onThread {
      let peer = try origin.accept()
      #expect(try peer.receive(exactly: 3) == [1, 2, 3])
      peer.reset()
    }
    let code = try await onThread {
      let client = try BlockingPeer.connect(proxy)
      try client.send([1, 2, 3])
      return client.errorOfNextReceive()
    }
    try await served
    #expect(code == ECONNRESET)
    #expect(await results.next() == Summary(traffic: Traffic(up: 3), endedBy: .upstream, ending: .reset))
    await fixture.stopAndExpectNothingLeft()
  }

  @Test(arguments: RelayMode.allCases)
  func aStalledReaderHoldsOneWindowAndLosesNothing(mode: RelayMode) async throws {
    let origin = try BlockingOrigin()
    let fixture = try await mode.tunnel(to: origin.address)
    let bytes = noise(24_000_000, seed: 5)
    let stalled = Mailbox<Void>()
    async let served: Void = onThread {
      let peer = try origin.accept()
      // The sender notices that nobody reads when its own writes no longer fit.
      var limit = timeval(tv_sec: 0, tv_usec: 200_000)
      setsockopt(peer.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
      var sent = 0
      var said = false
      while sent < bytes.count {
        let count = bytes.withUnsafeBytes { send(peer.fd, $0.baseAddress! + sent, bytes.count - sent, 0) }
        if count > 0 { sent += count }
        if count < 0, !said {
          said = true
          stalled.put(())
        }
      }
      peer.finishWriting()
      if !said { stalled.put(()) }
    }
    let client = try BlockingPeer.connect(fixture.address, receiveBuffer: 16 * 1024)
    await stalled.next()
    let spilled = fixture.counters.spilledBytes.value
    #expect(spilled <= Loop.scratchSize)
    #expect(fixture.counters.pipesInFlight.value <= 1)
    #expect(spilled > 0 || fixture.counters.pipesInFlight.value == 1)
    let received = try await onThread { try client.receiveToEnd() }
    #expect(received == bytes)
    try await served
    client.close()
    await fixture.stopAndExpectNothingLeft()
  }

  @Test(arguments: RelayMode.allCases)
  func aClientThatResetsWhileTheUpstreamStallsIsNoticed(mode: RelayMode) async throws {
    let origin = try BlockingOrigin()
    let results = Mailbox<Summary>()
    let fixture = try await mode.tunnel(to: origin.address, results: results)
    let proxy = fixture.address
    let peer = try await onThread {
      let client = try BlockingPeer.connect(proxy)
      let peer = try origin.accept()
      var limit = timeval(tv_sec: 0, tv_usec: 200_000)
      setsockopt(client.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
      let block = [UInt8](repeating: 1, count: 1 << 20)
      while send(client.fd, block, block.count, Int32(MSG_NOSIGNAL)) > 0 {}
      client.reset()
      return peer
    }
    // The upstream reads nothing, and the relay ends all the same. The generic pump cannot ask a stream whether it is
    // broken; its reader has to take something first.
    if mode == .opaque || mode == .crumbs {
      async let read: Void = onThread { while (try? peer.receive()) ?? [] != [] {} }
      #expect(await results.next()?.ending == .reset)
      try await read
    } else {
      #expect(await results.next()?.ending == .reset)
    }
    peer.close()
    await fixture.stopAndExpectNothingLeft()
  }

  @Test func bytesThatWereReadAheadComeFirst() async throws {
    let origin = try BlockingOrigin()
    let fixture = try await EngineFixture { connection in
      let exchange = TunnelExchange(connection, options: ListenerOptions())
      let first = try await connection.client.readByte(connection)
      #expect(first == 1)
      connection.client.pushBack([first ?? 0].span.bytes)
      let upstream = try await exchange.dial(approved(origin.address))
      _ = try await exchange.tunnel(through: upstream)
    }
    let proxy = fixture.address
    async let heard: [UInt8] = onThread { try origin.accept().receiveToEnd() }
    try await onThread {
      let client = try BlockingPeer.connect(proxy)
      try client.send([1, 2, 3])
      client.finishWriting()
      _ = try client.receiveToEnd()
    }
    #expect(try await heard == [1, 2, 3])
    await fixture.stopAndExpectNothingLeft()
  }
}
