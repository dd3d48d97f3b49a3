import Glibc
import Pipeline
import Testing

@testable import Transports

@Suite struct RelayTests {
  @Test func aMessageGoesThereAndBackAndTheClientsEndEndsIt() async throws {
    let origin = try BlockingOrigin()
    let results = Mailbox<Summary>()
    let fixture = try await EngineFixture.tunnel(to: origin.address, results: results)
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
    let summary = await results.next()
    #expect(summary == Summary(traffic: Traffic(up: 3, down: 3), endedBy: .client, ending: .finished))
    await fixture.stop()
  }

  @Test func bothDirectionsAtOnceAreByteExact() async throws {
    let origin = try BlockingOrigin()
    let results = Mailbox<Summary>()
    let fixture = try await EngineFixture.tunnel(to: origin.address, results: results)
    let proxy = fixture.address
    let up = noise(20_000_000, seed: 1)
    let down = noise(30_000_000, seed: 2)
    async let atOrigin: [UInt8] = onThread {
      let peer = try origin.accept()
      let writer = startThread(named: "writer") {
        try? peer.send(down)
        peer.finishWriting()
      }
      defer { pthread_join(writer, nil) }
      return try peer.receiveToEnd()
    }
    let atClient = try await onThread {
      let client = try BlockingPeer.connect(proxy)
      let writer = startThread(named: "writer") {
        try? client.send(up)
        client.finishWriting()
      }
      defer { pthread_join(writer, nil) }
      return try client.receiveToEnd()
    }
    #expect(try await atOrigin == up)
    #expect(atClient == down)
    let summary = await results.next()
    #expect(summary?.traffic == Traffic(up: 20_000_000, down: 30_000_000))
    await fixture.stop()
  }
}
