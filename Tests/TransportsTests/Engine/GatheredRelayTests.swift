import Glibc
import Pipeline
import Testing

@testable import Transports

@Suite struct GatheredRelayTests {
  /// Forty tunnels of one loop, whose readers take nothing before the senders are stuck: small pieces are sent with those of
  /// others, and the kernel takes a part of one, or nothing of it, again and again.
  @Test func smallPiecesArriveWholeAndInOrderHoweverSlowTheirReadersAre() async throws {
    let tunnels = 40
    let pieces = 900
    let origin = try BlockingOrigin()
    let results = Mailbox<Summary>()
    let fixture = try await EngineFixture.tunnel(to: origin.address, results: results)
    let proxy = fixture.address
    let sent = (0..<tunnels).map { noise(pieces * 700, seed: UInt64($0 + 1)) }

    async let served: Void = onThread {
      let peers = try (0..<tunnels).map { _ in try origin.accept() }
      // Each says which tunnel it is, by its first byte.
      let places = try peers.map { Int(try $0.receive(exactly: 1)[0]) }
      // One piece each in turn, so that the loop finds many of them at once.
      for peer in peers { setSocketOption(peer.fd, SOL_SOCKET, SO_SNDBUF, 1 << 20) }
      for piece in 0..<pieces {
        for (peer, place) in zip(peers, places) { try peer.send(Array(sent[place][piece * 700..<(piece + 1) * 700])) }
      }
      for peer in peers { peer.close() }
    }
    let received = try await onThread {
      let clients = try (0..<tunnels).map { place in
        let client = try BlockingPeer.connect(proxy, receiveBuffer: 4096)
        try client.send([UInt8(place)])
        return client
      }
      var received = [[UInt8]](repeating: [], count: tunnels)
      var left = Set(0..<tunnels)
      // Small bites in turn: nobody is ever far ahead.
      while !left.isEmpty {
        for place in left {
          let bite = try clients[place].receive(upTo: 1500)
          if bite.isEmpty { left.remove(place) } else { received[place] += bite }
        }
      }
      return received
    }
    try await served
    for place in 0..<tunnels { #expect(received[place] == sent[place], "tunnel \(place)") }
    for _ in 0..<tunnels { #expect(await results.next()?.traffic.down == UInt64(pieces * 700)) }
    await fixture.stopAndExpectNothingLeft()
  }
}
