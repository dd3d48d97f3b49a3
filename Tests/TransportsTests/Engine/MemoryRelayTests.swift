import Pipeline
import PipelineTesting
import Testing

@testable import Transports

/// The far end of a stream in memory: says something, takes what comes, finishes when it has said all.
private final class Talker: StreamWaker {
  private let stream: MemoryStream
  private var unsaid: [UInt8]
  private(set) var heard: [UInt8] = []
  private var hasFinished = false
  private var isBusy = false

  init(_ stream: MemoryStream, saying bytes: [UInt8]) {
    self.stream = stream
    unsaid = bytes
    stream.waker = self
  }

  func wake(_ stream: any ByteStream) {
    // A write from here may wake the relay, which may wake this end: the outer call goes on.
    if isBusy { return }
    isBusy = true
    defer { isBusy = false }
    do {
      var progressed = true
      while progressed {
        let bytes = try self.stream.readAll()
        heard += bytes
        let taken = unsaid.isEmpty ? 0 : try self.stream.write(unsaid)
        unsaid.removeFirst(taken)
        progressed = taken > 0 || !bytes.isEmpty
      }
      if unsaid.isEmpty, !hasFinished {
        hasFinished = true
        try self.stream.finishWriting()
      }
    } catch {
      // The relay has closed its end.
    }
  }
}

private struct Heard: Sendable, Equatable {
  var client: [UInt8]
  var upstream: [UInt8]
  var summary: Summary
}

/// The relay over streams that have no descriptor at all, as TLS sessions have none that may be spliced.
@Suite struct MemoryRelayTests {
  @Test(arguments: [(1, 500), (1000, 200_000), (1 << 20, 3_000_000)])
  func bothDirectionsAtOnceAreByteExactWhateverTheWindow(window: Int, count: Int) async throws {
    let up = noise(count, seed: 3)
    let down = noise(count + 17, seed: 4)
    let results = Mailbox<Heard>()
    let fixture = try await EngineFixture { connection in
      let (client, clientFar) = MemoryStream.pair(window: window)
      let (upstream, upstreamFar) = MemoryStream.pair(window: window)
      let (asking, answering) = (Talker(clientFar, saying: up), Talker(upstreamFar, saying: down))
      asking.wake(clientFar)
      answering.wake(upstreamFar)
      let exchange = TunnelExchange(connection, options: ListenerOptions())
      let summary = try await connection.relay(client: client, upstream: upstream, for: exchange)
      results.put(Heard(client: asking.heard, upstream: answering.heard, summary: summary))
    }
    let address = fixture.address
    let trigger = try await onThread { try BlockingPeer.connect(address) }
    let heard = try #require(await results.next())
    #expect(heard.upstream == up)
    #expect(heard.client == down)
    #expect(heard.summary.traffic == Traffic(up: UInt64(up.count), down: UInt64(down.count)))
    #expect(heard.summary.ending == .finished)
    withExtendedLifetime(trigger) {}
    await fixture.stopAndExpectNothingLeft()
  }

  @Test func aResetIsPassedOnAsAReset() async throws {
    let results = Mailbox<Heard>()
    let fixture = try await EngineFixture { connection in
      let (client, clientFar) = MemoryStream.pair()
      let (upstream, upstreamFar) = MemoryStream.pair()
      upstreamFar.abort()
      let exchange = TunnelExchange(connection, options: ListenerOptions())
      let summary = try await connection.relay(client: client, upstream: upstream, for: exchange)
      results.put(Heard(client: clientFar.isReset ? [1] : [0], upstream: [], summary: summary))
    }
    let address = fixture.address
    let trigger = try await onThread { try BlockingPeer.connect(address) }
    let heard = try #require(await results.next())
    #expect(heard.summary.ending == .reset)
    #expect(heard.summary.endedBy == .upstream)
    #expect(heard.client == [1], "the client's end was reset, too")
    withExtendedLifetime(trigger) {}
    await fixture.stopAndExpectNothingLeft()
  }

  @Test func aLeaseIsNeverOvershot() async throws {
    let results = Mailbox<Heard>()
    let fixture = try await EngineFixture { connection in
      let (client, clientFar) = MemoryStream.pair(window: 4096)
      let (upstream, upstreamFar) = MemoryStream.pair(window: 4096)
      let (asking, answering) = (
        Talker(clientFar, saying: noise(50_000, seed: 5)), Talker(upstreamFar, saying: [])
      )
      asking.wake(clientFar)
      answering.wake(upstreamFar)
      let exchange = TunnelExchange(connection, options: ListenerOptions())
      exchange.attach(Quota(of: 10_000))
      do {
        _ = try await connection.relay(client: client, upstream: upstream, for: exchange)
      } catch let rejection as Rejection where rejection.kind == .quotaExhausted {
        let summary = Summary(traffic: exchange.traffic)
        results.put(Heard(client: [], upstream: answering.heard, summary: summary))
      }
    }
    let address = fixture.address
    let trigger = try await onThread { try BlockingPeer.connect(address) }
    let heard = try #require(await results.next())
    #expect(heard.summary.traffic.up == 10_000)
    #expect(heard.upstream.count <= 10_000)
    withExtendedLifetime(trigger) {}
    await fixture.stopAndExpectNothingLeft()
  }
}

/// Grants so many bytes up, then cuts.
private final class Quota: ByteMeter {
  private let limit: Int

  init(of limit: Int) { self.limit = limit }

  func account(_ moved: Traffic, on exchange: Exchange, isLast: Bool) throws -> Lease {
    let left = limit - Int(exchange.traffic.up)
    guard left > 0 else { throw Rejection(.quotaExhausted) }
    return Lease(up: min(left, 3000))
  }
}
