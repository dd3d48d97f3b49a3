import Pipeline
import PipelineTesting
import Testing

@testable import Middlewares

@Suite struct AdaptiveConcurrencyTests {
  /// Two at once while it measures.
  private static func small(_ options: inout AdaptiveConcurrencyOptions) {
    options.minLimit = 2
    options.initialLimit = 4
    options.remeasureSamples = 1
  }

  @Test func whoComesAboveTheLimitIsRefusedAsOverloaded() async throws {
    let harness = try ChainHarness(.socks5) { AdaptiveConcurrency(Self.small) }
    let first = await harness.start()
    let second = await harness.start()
    let third = await harness.start()
    #expect(third.outcome == .refused(.overloaded))
    #expect(third.rejection?.detail == "as many run as are served without waiting, per global")
    await first.finish()
    await second.finish()
  }

  @Test func aPermitComesBackOnEveryPath() async throws {
    let limit = AdaptiveConcurrency(Self.small)
    let harness = try ChainHarness(.tcp) { limit }
    let gates = try #require(limit.state as? AdaptiveGates)
    let failed = await harness.start()
    await failed.fail(Rejection(.upstreamReset))
    let cut = await harness.start()
    await cut.cut()
    let served = await harness.start()
    await served.finish()
    _ = await harness.start()
    await harness.shutDown()
    #expect(gates.gate(of: .global)?.load.running == 0)
  }

  @Test func failuresAreNoSamplesAndDeadlinesAre() async throws {
    let limit = AdaptiveConcurrency(Self.small)
    let harness = try ChainHarness(.tcp) { limit }
    let gate = { (limit.state as? AdaptiveGates)?.gate(of: .global) }
    let failed = await harness.start()
    await failed.fail(Rejection(.upstreamReset))
    // Still the two of the measurement.
    #expect(gate()?.load.allowed == 2)
    let late = await harness.start()
    await late.fail(Rejection(.deadlineExceeded))
    #expect(gate()?.load.allowed == 4)
  }

  @Test func anAnswerThatNoUpstreamGaveIsNoSample() async throws {
    let limit = AdaptiveConcurrency(Self.small)
    let gates = try #require(limit.state as? AdaptiveGates)
    let harness = try ChainHarness(
      Listener(.http, on: "127.0.0.1:1") {
        limit
      } to: {
        Respond(200, "local")
      })
    #expect(await harness.run() == .served(Summary(endedBy: .proxy)))
    #expect(gates.gate(of: .global)?.load.allowed == 2)
  }

  @Test func eachKeyHasALimitOfItsOwn() async throws {
    let harness = try ChainHarness(.socks5) {
      NamedByClient()
      AdaptiveConcurrency(per: .identity, Self.small)
    }
    let first = await harness.start(MockClient(user: "ada"))
    let second = await harness.start(MockClient(user: "ada"))
    #expect(await harness.run(MockClient(user: "ada")) == .refused(.overloaded))
    #expect(await harness.run(MockClient(user: "grace")) == .served())
    await first.finish()
    await second.finish()
  }

  @Test func anUnusedKeyMakesWayForANewOne() async throws {
    let limit = AdaptiveConcurrency(per: .clientAddress, maxKeys: 16, Self.small)
    let harness = try ChainHarness(.tcp) { limit }
    for last in 1...200 { #expect(await harness.run(MockClient(ip: "192.0.2.\(last)")) == .served()) }
    let gates = try #require(limit.state as? AdaptiveGates)
    #expect(gates.count <= 16)
  }

  @Test func inShadowNobodyIsRefused() async throws {
    let harness = try ChainHarness(.tcp) { AdaptiveConcurrency(Self.small).shadow() }
    let runs = [await harness.start(), await harness.start()]
    #expect(await harness.run() == .served())
    for run in runs { await run.finish() }
  }

  @Test func aReloadKeepsWhatWasLearnt() async throws {
    let old = try ChainHarness(.tcp) { AdaptiveConcurrency(Self.small) }
    #expect(await old.run() == .served())
    let limit = AdaptiveConcurrency(Self.small)
    let new = try ChainHarness(.tcp, clock: old.clock, replacing: old.service.placement) { limit }
    let runs = [await new.start(), await new.start(), await new.start(), await new.start()]
    #expect(runs.allSatisfy { $0.outcome == .waiting })
    #expect(await new.run() == .refused(.overloaded))
    for run in runs { await run.finish() }
  }

  @Test func optionsOutOfTheirDomainAreNamed() {
    func refused(_ edit: @escaping (inout AdaptiveConcurrencyOptions) -> Void) -> String {
      complaints { _ = try ChainHarness(.tcp) { AdaptiveConcurrency(edit) } }.joined(separator: "\n")
    }
    #expect(refused { $0.minLimit = 0 }.contains("minLimit of 0: 1 to maxLimit (1000) are allowed"))
    #expect(refused { $0.maxLimit = 2_000_000 }.contains("maxLimit of 2000000: 1 to 1,000,000 are allowed"))
    #expect(refused { $0.initialLimit = 1 }.contains("initialLimit of 1: minLimit (3) to maxLimit (1000) are allowed"))
    #expect(refused { $0.window = .milliseconds(1) }.contains("10 ms to 1 minute are allowed"))
    #expect(refused { $0.minSamples = 65 }.contains("minSamples of 65: 1 to 64 are allowed"))
    #expect(refused { $0.remeasureSamples = 0 }.contains("remeasureSamples of 0: 1 to 64 are allowed"))
    #expect(refused { $0.tolerance = -1 }.contains("a tolerance of -1.0: 0 to 10 are allowed"))
    #expect(refused { $0.remeasureEvery = .zero }.contains("1 s to 1 day are allowed"))
    #expect(refused { $0.jitter = 2 }.contains("a jitter of 2.0: 0 to 1 is allowed"))
    #expect(refused { _ in } == "")
  }

  @Test func thePlanShowsWhatItMayDo() {
    #expect(
      AdaptiveConcurrency().parameters == [
        Parameter("limit", "3...1000"), Parameter("window", "0.1 seconds"), Parameter("tolerance", "0.25"),
        Parameter("remeasure", "60.0 seconds"), Parameter("per", "global"),
      ])
  }
}
