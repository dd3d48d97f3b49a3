import Middlewares
import Pipeline
import Testing

@testable import Transports

/// A limit over real sockets: what curl would print.
@Suite struct RateLimitFieldTests {
  @Test func theRequestTooManyIsToldWhenToComeBack() async throws {
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        TokenBucket(.perHour(2), per: .clientAddress)
      } to: {
        Respond(200, "ok")
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        for _ in 1...2 {
          let answer = try client.get()
          #expect(answer?.status == 200)
          #expect(answer?.head["ratelimit"] == [])
          #expect(answer?.head["x-ratelimit-limit"] == [])
        }
        let refused = try client.get()
        #expect(refused?.status == 429)
        #expect(refused?.head["retry-after"] == ["1800"])
        #expect(refused?.head["ratelimit-policy"] == ["\"client-address\";q=2;w=3600"])
        #expect(refused?.head["ratelimit"] == ["\"client-address\";r=0;t=1800"])
        #expect(refused?.head["x-ratelimit-limit"] == ["2"])
        #expect(refused?.head["x-ratelimit-remaining"] == ["0"])
        #expect(refused?.head["x-ratelimit-reset"] == ["3600"])
        // The connection goes on.
        #expect(try client.get()?.status == 429)
      }
    }
  }

  @Test func everyAnswerSaysWhatIsLeftWhereThatIsAskedFor() async throws {
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        RateLimit(
          .perHour(3), per: .header("x-api-key"), algorithm: .slidingWindow, overrides: [.value("gold"): .perHour(100)],
          headers: .always(policy: "api"))
      } to: {
        Respond(200, "ok")
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        for left in [2, 1, 0] {
          let answer = try client.get("/", "X-API-Key: a\r\n")
          #expect(answer?.status == 200)
          #expect(answer?.head["ratelimit-policy"] == ["\"api\";q=3;w=3600"])
          #expect(answer?.head["ratelimit"].first?.hasPrefix("\"api\";r=\(left);t=") == true)
          #expect(answer?.head["x-ratelimit-remaining"] == ["\(left)"])
        }
        #expect(try client.get("/", "X-API-Key: a\r\n")?.status == 429)
        #expect(try client.get("/", "X-API-Key: b\r\n")?.status == 200)
        #expect(try client.get("/", "X-API-Key: gold\r\n")?.head["x-ratelimit-limit"] == ["100"])
      }
    }
  }

  @Test func aRequestThatWaitsIsAnsweredWhenItsTokenComes() async throws {
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        RateLimit(.perSecond(20, burst: 1), per: .clientAddress, when: .wait(max: .seconds(30)))
      } to: {
        Respond(200, "ok")
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let clients = try (0..<5).map { _ in try HTTPPeer.connect(address) }
        let clock = ContinuousClock()
        let began = clock.now
        for client in clients { try client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n") }
        for client in clients { #expect(try client.readResponse()?.status == 200) }
        // Four tokens had to come, one each 50 ms.
        #expect(clock.now - began >= .milliseconds(200))
      }
    }
  }

  @Test func aResponsesCostIsTakenFromTheClientsLimit() async throws {
    let backend = try ScriptedBackend.answering("HTTP/1.1 200 OK\r\nX-Cost: 9\r\nContent-Length: 2\r\n\r\nok")
    let place = backend.address.text
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        RateLimit(.perHour(10), per: .clientAddress, cost: .responseField("x-cost", estimate: 1))
      } to: {
        Upstream(place)
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        #expect(try client.get()?.status == 200)
        // One token is left, which the estimate takes; the rest is owed.
        #expect(try client.get()?.status == 200)
        #expect(try client.get()?.status == 429)
      }
    }
  }
}
