import Middlewares
import Pipeline
import PipelineTesting
import Testing

struct HeadersTests {
  @Test func anEditOfTheRequestIsSeenBelowAndOneOfTheResponseByTheClient() async throws {
    let origin = Origin(fields: ["server": "old/1.0", "x-a": "1"])
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        Headers(
          request: .remove("cookie", "x-secret"), .set("x-by", "sluice"), .add("x-many", "2"),
          response: .remove("server"), .set("x-a", "2"), .setIfMissing("x-a", "3"), .setIfMissing("x-b", "4"))
      } to: {
        origin
      })
    let run = await harness.start(
      client(.get, "/", ["cookie": "a", "Cookie": "b", "X-Secret": "s", "x-many": "1", "x-by": "me"]))
    let seen = try #require(origin.requests.first)
    #expect(!seen.fields.contains("cookie") && !seen.fields.contains("x-secret"))
    #expect(seen.fields.values(of: "x-by") == ["sluice"])
    #expect(seen.fields.values(of: "x-many") == ["1", "2"])
    let head = try #require(run.response)
    #expect(head["server"] == "" && head["x-a"] == "2" && head["x-b"] == "4")
  }

  @Test func anAllowListKeepsTheHostAndWhatItNames() async throws {
    let origin = Origin()
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        Headers(request: .keepOnly("accept"))
      } to: {
        origin
      })
    await harness.run(client(.get, "/", ["Host": "h", "Accept": "*/*", "x-a": "1", "x-b": "2"]))
    let lines = try #require(origin.requests.first).fields.withWireBytes { bytes in
      String(decoding: (0..<bytes.count).map { bytes[$0] }, as: UTF8.self)
    }
    #expect(lines == "Host: h\r\nAccept: */*\r\n")
  }

  @Test func aValueComesFromTheExchange() async throws {
    let origin = Origin()
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        RequestID()
        AnonymousAuth(as: "ann")
        Headers(
          request: .set("x-user", "user=\(.identity); ip=\(.clientIP)"), .set("x-id", .requestID),
          .set("x-path", .path),
          .set("x-old-host", .field("host")), .set("host", "backend"),
          .set("x-own", HeaderValue { String($0.request.target.utf8.count) }))
      } to: {
        origin
      })
    let run = await harness.start(client(.get, "/a?b", ip: "2001:db8::1", ["host": "front"]))
    let seen = try #require(origin.requests.first).fields
    #expect(seen["x-user"] == "user=ann; ip=2001:db8::1")
    #expect(seen["x-id"] == run.response?["x-request-id"])
    #expect(seen["x-path"] == "/a" && seen["x-own"] == "4")
    #expect(seen["x-old-host"] == "front" && seen["host"] == "backend")
  }

  @Test func whatIsNotKnownIsNotSetAndCannotBeSentByTheClientEither() async throws {
    let origin = Origin()
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        Headers(request: .set("x-user", .identity), .add("x-more", "id \(.identity)"))
      } to: {
        origin
      })
    await harness.run(client(.get, "/", ["x-user": "admin", "X_User": "root"]))
    let seen = try #require(origin.requests.first).fields
    #expect(!seen.contains("x-user") && !seen.contains("x-more") && !seen.contains("x_user"))
  }

  @Test func aRetryAboveBeginsWithWhatTheClientSent() async throws {
    let origin = Origin(failures: [.connectionRefused, .connectionRefused])
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        Retry(attempts: 3, backoff: .none)
        Headers(request: .add("x-hop", "sluice"))
      } to: {
        origin
      })
    await harness.run()
    #expect(origin.requests.map { $0.fields.values(of: "x-hop") } == [["sluice"], ["sluice"], ["sluice"]])
  }

  @Test func aRefusalOfOursIsEditedLikeAnUpstreamsAnswer() async throws {
    let harness = try ChainHarness(.http) {
      Headers(response: .set("x-frame-options", "DENY"))
      Deny(.forbidden)
    }
    #expect(await harness.start().response?["x-frame-options"] == "DENY")
  }

  @Test func noValueCanBeginAnotherField() async throws {
    let harness = try ChainHarness(.http) {
      Headers(response: .set("x-a", HeaderValue { _ in "1\r\nx-b: 2\u{0}" }))
      Deny(.forbidden)
    }
    let head = try #require(await harness.start().response)
    #expect(head["x-a"] == "1x-b: 2" && !head.fields.contains("x-b"))
  }

  @Test func framingIsRefusedWhenTheAppIsBuilt() {
    #expect(
      problems {
        Headers(request: .set("Content-Length", "3"), response: .remove("transfer-encoding"))
        Headers(request: .remove("host"))
        Headers()
      } == [
        "headers: Content-Length is written by the transport, which alone knows how the message is framed",
        "headers: transfer-encoding is written by the transport, which alone knows how the message is framed",
        "headers: a request without host is refused by every origin (RFC 9112, 3.2): set it to another value instead",
        "headers: it edits nothing: name an edit or remove it",
      ])
  }
}
