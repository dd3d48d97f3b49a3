import Middlewares
import Pipeline
import PipelineTesting
import Testing

struct RequestIDTests {
  @Test func anIdGoesToTheUpstreamTheClientAndTheLog() async throws {
    let origin = Origin(fields: ["x-request-id": "of the upstream"])
    let log = LogRecorder()
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        AccessLog(to: log)
        RequestID()
      } to: {
        origin
      })
    let run = await harness.start(client(.get, "/", ["x-request-id": "mine", "X-Request-ID": "mine too"]))
    let id = try #require(run.response).fields.values(of: "x-request-id")
    #expect(id.count == 1 && id[0].count == 32 && id[0].allSatisfy { $0.isHexDigit && !$0.isUppercase })
    #expect(try #require(origin.requests.first).fields.values(of: "x-request-id") == id)
    #expect(log.text.first?.contains(" request=\(id[0]) ") == true)
    let next = await harness.start()
    #expect(next.response?["x-request-id"] != id[0])
  }

  @Test func anIdIsTakenOverOnlyFromWhomIsTrustedAndOnlyIfItIsWellFormed() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        RequestID("x-correlation-id", trusting: .everybody)
      } to: {
        Respond(200)
      })
    for good in ["a", "8e03978e-40d5-43e8-bc93-6894a57f9324", String(repeating: "x", count: 128)] {
      #expect(await harness.start(client(.get, "/", ["x-correlation-id": good])).response?["x-correlation-id"] == good)
    }
    for bad in ["", "a b", "a\"b", "<b>", "a=b", String(repeating: "x", count: 129), "ä", "a,b"] {
      let id = await harness.start(client(.get, "/", ["x-correlation-id": bad])).response?["x-correlation-id"]
      #expect(id?.count == 32 && id != bad, "\(bad)")
    }
    let two = client(.get, "/", ["x-correlation-id": "a", "X-Correlation-Id": "b"])
    #expect(await harness.start(two).response?["x-correlation-id"].count == 32)
  }

  @Test func aRuleDecidesWhomToTrust() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        RequestID(trusting: .when { $0.client == MockClient(ip: "192.0.2.9").address })
      } to: {
        Respond(200)
      })
    #expect(
      await harness.start(client(.get, "/", ip: "192.0.2.9", ["x-request-id": "a"])).response?["x-request-id"] == "a")
    #expect(
      await harness.start(client(.get, "/", ip: "192.0.2.8", ["x-request-id": "a"])).response?["x-request-id"] != "a")
  }

  @Test func aRetryKeepsTheId() async throws {
    let origin = Origin(failures: [.connectionRefused])
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        Retry(attempts: 2, backoff: .none)
        RequestID()
      } to: {
        origin
      })
    let run = await harness.start()
    let id = run.response?["x-request-id"]
    #expect(origin.requests.map { $0.fields["x-request-id"] } == [id, id])
  }

  @Test func aRefusalHasTheIdToo() async throws {
    let harness = try ChainHarness(.http) {
      RequestID()
      Deny(.rateLimited)
    }
    #expect(await harness.start().response?["x-request-id"].count == 32)
  }
}
