import Pipeline
import PipelineTesting
import Testing

struct MemoryStreamTests {
  @Test func aWindowIsBounded() throws {
    let (near, far) = MemoryStream.pair(window: 4)
    #expect(try near.write([1, 2, 3, 4, 5, 6]) == 4)
    #expect(try near.write([5]) == 0)
    #expect(try far.readAll() == [1, 2, 3, 4])
    #expect(try near.write([5, 6]) == 2)
  }

  @Test func halfCloseLeavesTheOtherDirectionOpen() throws {
    let (near, far) = MemoryStream.pair()
    try near.write([1])
    try near.finishWriting()
    #expect(throws: StreamError.closed) { try near.write([2]) }
    #expect(try far.readAll() == [1])
    #expect(far.hasEnded)
    try far.write([9])
    #expect(try near.readAll() == [9])
    #expect(!near.hasEnded)
  }

  @Test func anAbortIsAResetForTheOther() {
    let (near, far) = MemoryStream.pair()
    near.abort()
    #expect(far.isReset)
    #expect(throws: StreamError.reset) { try far.readAll() }
    #expect(throws: StreamError.closed) { try near.readAll() }
  }

  @Test func whoReadsWakesWhoWaitsToWrite() throws {
    let (near, far) = MemoryStream.pair(window: 1)
    let waker = Woken()
    near.waker = waker
    try near.write([1])
    #expect(waker.count == 0)
    _ = try far.readAll()
    #expect(waker.count == 1)
  }

  @Test func aChainRelaysToAnEchoWithinItsLease() async throws {
    let (near, far) = MemoryStream.pair()
    let runtime = TestRuntime()
    let exchange = MockTCPExchange(runtime: runtime, stream: near)
    try far.write(Array("hello".utf8))
    try far.finishWriting()
    let upstream = try await runtime.connect(to: .unixSocket("/upstream"), timeout: .seconds(1))
    let summary = try await exchange.tunnel(through: upstream)
    #expect(summary.traffic == Traffic(up: 5, down: 5))
    #expect(try far.readAll() == Array("hello".utf8))
    #expect(runtime.network.dials == [.unixSocket("/upstream")])
  }

  @Test func anUpstreamThatResetsIsSaidSo() async throws {
    let runtime = TestRuntime()
    runtime.network.nextDials(.connects(to: .resets), .fails(.connectionRefused))
    let exchange = MockTCPExchange(runtime: runtime, stream: MemoryStream.pair().near)
    let upstream = try await runtime.connect(to: .unixSocket("/a"), timeout: .seconds(1))
    let error = await #expect(throws: Rejection.self) { try await exchange.tunnel(through: upstream) }
    #expect(error?.kind == .upstreamReset)
    let refused = await #expect(throws: Rejection.self) {
      _ = try await runtime.connect(to: .unixSocket("/a"), timeout: .seconds(1))
    }
    #expect(refused?.kind == .connectionRefused)
  }

  @Test func aDialThatHangsEndsWithItsTimeout() async throws {
    let harness = try ChainHarness(
      Listener(.tcp, on: ":1") {
      } to: {
        Dials()
      }.connectTimeout(.seconds(3)))
    harness.network.usually(.hangs)
    let run = await harness.start()
    harness.clock.advance(by: .seconds(2))
    #expect(run.outcome == .waiting)
    harness.clock.advance(by: .seconds(1))
    #expect(run.outcome == .refused(.connectTimeout))
  }

  @Test func namesAreWhatTheTestSays() async throws {
    let runtime = TestRuntime()
    runtime.network.name("Example.org", is: IPAddress("192.0.2.9")!)
    let exchange = MockTCPExchange(runtime: runtime)
    #expect(try await exchange.resolve(Host("example.org")!) == [IPAddress("192.0.2.9")!])
    let error = await #expect(throws: Rejection.self) { try await exchange.resolve(Host("nowhere.test")!) }
    #expect(error?.kind == .nameNotFound)
  }
}

private final class Woken: StreamWaker {
  var count = 0
  func wake(_ stream: any ByteStream) { count += 1 }
}

private struct Dials: Destination {
  func serve(_ exchange: Exchange) async throws -> Summary {
    let upstream = try await exchange.dial(.unixSocket("/upstream"))
    return try await exchange.tunnel(through: upstream)
  }
}
