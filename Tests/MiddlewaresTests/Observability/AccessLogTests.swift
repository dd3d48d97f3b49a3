import Middlewares
import Pipeline
import PipelineTesting
import Testing

private let noon = WallClock { UnixTime(seconds: 1_795_267_648, nanoseconds: 123_000_000) }

@Suite struct AccessLogTests {
  private let sink = LogRecorder()

  @Test func aServedExchangeIsOneLineOfText() async throws {
    let harness = try ChainHarness(.socks5) {
      AccessLog(.text, to: sink, clock: noon)
      NamedByClient()
      TokenBucket(.perSecond(1), per: .destination)
    }
    let run = await harness.start(MockClient(ip: "2001:db8::7", user: "ada", destination: "Example.org:443"))
    await run.perform { $0.upstreamAddress = SocketAddress("192.0.2.80:443") }
    harness.clock.advance(by: .microseconds(12_345))
    await run.finish(Summary(traffic: Traffic(up: 123, down: 4567), endedBy: .client))
    #expect(
      sink.text == [
        "2026-11-21T13:27:28.123Z id=1 listener=socks5 transport=socks5 client=[2001:db8::7]:50000 identity=ada "
          + "destination=example.org:443 upstream=192.0.2.80:443 attempt=1 up=123 down=4567 ms=12.345 outcome=ok "
          + "ended=client"
      ])
  }

  @Test func aServedExchangeIsOneObjectOfJSON() async throws {
    let harness = try ChainHarness(.tcp) { AccessLog(.json, to: sink, clock: noon) }
    await harness.run(.unix(uid: 1000))
    #expect(
      sink.text == [
        #"{"time":"2026-11-21T13:27:28.123Z","id":1,"listener":"tcp","transport":"tcp","#
          + #""client":"unix:uid/1000","identity":null,"destination":null,"upstream":null,"attempt":1,"up":0,"down":0,"#
          + #""ms":0.000,"outcome":"ok","ended":"upstream"}"#
      ])
  }

  /// Rewrites the path, as an element below the log may.
  private struct Elsewhere: HTTPMiddleware {
    func handle(_ exchange: HTTPExchange, next: Next) async throws -> Summary {
      try await exchange.withEditedRequest({ $0.path = "/v2/elsewhere" }, next: next)
    }
  }

  @Test func aRequestIsLoggedAsItCameWithoutItsQuery() async throws {
    let harness = try ChainHarness(.http) {
      AccessLog(.text, to: sink, clock: noon)
      Elsewhere()
    }
    var client = MockClient(method: .delete, target: "/items/7?token=secret")
    client.request.fields.set("host", "shop.example:8080")
    let run = await harness.start(client)
    await run.perform { _ = try? await ($0 as? HTTPExchange)?.respond(204) }
    await run.finish()
    #expect(
      sink.text.first?.contains(" method=DELETE host=shop.example:8080 target=/items/7 status=204 attempt=1 ") == true)
    #expect(sink.text.first?.contains("secret") == false)
  }

  @Test func aRefusedRequestIsLoggedWithItsStatus() async throws {
    let harness = try ChainHarness(.http) {
      AccessLog(.json, to: sink, clock: noon)
      TokenBucket(.perHour(1), per: .global)
    }
    await harness.run(MockClient(target: "/a\"b"))
    await harness.run(MockClient(target: "/a\"b"))
    #expect(
      sink.text.last?.contains(
        #""method":"GET","host":null,"target":"/a\"b","status":429,"attempt":1"#) == true)
  }

  @Test func aRefusedExchangeIsLoggedWithItsReasonAndStaysRefused() async throws {
    let harness = try ChainHarness(.tcp) {
      AccessLog(.text, to: sink, clock: noon)
      TokenBucket(.perHour(1), per: .global)
    }
    await harness.run()
    #expect(await harness.run() == .refused(.rateLimited))
    #expect(
      sink.text.last?.hasSuffix(#"outcome=rateLimited ended=client detail="1 per hour, burst 1, per global""#) == true)
  }

  @Test(arguments: [
    (Rejection(.connectionRefused), "outcome=connectionRefused ended=upstream"),
    (Rejection(.clientGone), "outcome=clientGone ended=client"),
    (Rejection(.draining, detail: "grace is over"), "outcome=draining ended=proxy detail=\"grace is over\""),
  ])
  func saysWhoEndedIt(_ rejection: Rejection, _ expected: String) async throws {
    let harness = try ChainHarness(.tcp) { AccessLog(to: sink, clock: noon) }
    let run = await harness.start()
    await run.fail(rejection)
    #expect(sink.text.count == 1)
    #expect(sink.text[0].hasSuffix(expected))
  }

  @Test func anErrorThatIsNoRejectionIsOurs() async throws {
    struct Odd: Error {}
    let harness = try ChainHarness(.tcp) { AccessLog(to: sink, clock: noon) }
    let run = await harness.start()
    await run.fail(Odd())
    #expect(run.outcome == .failed("Odd()"))
    #expect(sink.text[0].hasSuffix("outcome=internalError ended=proxy detail=Odd()"))
  }

  @Test func bytesOfACutTunnelAreLogged() async throws {
    let harness = try ChainHarness(.tcp) { AccessLog(to: sink, clock: noon) }
    let run = await harness.start()
    await run.move(up: 10, down: 20)
    await run.cut(.clientGone)
    #expect(sink.text[0].contains(" up=10 down=20 "))
  }

  @Test func belowARetryThereIsOneLineAnAttempt() async throws {
    let harness = try ChainHarness(.tcp) {
      AccessLog(to: sink, clock: noon)
      Retry(attempts: 2, backoff: .none)
      AccessLog(to: sink, clock: noon)
    }
    let run = await harness.start()
    await run.fail(Rejection(.connectionRefused))
    await run.finish()
    #expect(
      sink.text.map { $0.split(separator: " ").filter { $0.hasPrefix("attempt=") || $0.hasPrefix("outcome=") } } == [
        ["attempt=1", "outcome=connectionRefused"], ["attempt=2", "outcome=ok"], ["attempt=2", "outcome=ok"],
      ])
  }

  @Test func noPasswordIsEverWritten() async throws {
    for format in [AccessLog.Format.text, .json] {
      let harness = try ChainHarness(.http) {
        AccessLog(format, to: sink, clock: noon)
        RefusesEverybody()
      }
      var client = MockClient(user: "ada", password: "mellon")
      client.request.fields.add("authorization", "Basic YWRhOm1lbGxvbg==")
      client.request.fields.add("cookie", "session=mellon")
      #expect(await harness.run(client) == .refused(.credentialsInvalid))
      client.request.fields.remove("authorization")
      #expect(await harness.run(client) == .refused(.credentialsInvalid))
    }
    #expect(sink.text.count == 4)
    for line in sink.text {
      #expect(!line.contains("mellon") && !line.contains("YWRhOm1lbGxvbg"))
      #expect(line.contains("credentialsInvalid"))
    }
  }

  @Test func aUserNameCannotForgeALine() async throws {
    let name = "ada outcome=ok\n2026-11-21T00:00:00.000Z id=9 \u{1b}[31m\""
    let harness = try ChainHarness(.socks5) {
      AccessLog(.text, to: sink, clock: noon)
      AccessLog(.json, to: sink, clock: noon)
      NamedByClient()
    }
    await harness.run(MockClient(user: name))
    #expect(sink.text.count == 2)
    #expect(sink.text[0].contains(#""identity":"ada outcome=ok\n2026-11-21T00:00:00.000Z id=9 \u001b[31m\"","#))
    #expect(sink.text[1].contains(#" identity="ada outcome=ok\n2026-11-21T00:00:00.000Z id=9 \u001b[31m\"" "#))
    #expect(sink.text.allSatisfy { !$0.utf8.contains { $0 < 0x20 } })
  }

  @Test func aFullSinkHarmsNoExchange() async throws {
    let harness = try ChainHarness(.tcp) { AccessLog(to: sink, clock: noon) }
    sink.limit(to: 1)
    for _ in 0..<3 { #expect(await harness.run() == .served()) }
    #expect(sink.text.count == 1)
    #expect(sink.dropped == 2)
  }
}

/// Asks for a password and does not like it.
private struct RefusesEverybody: Authenticator {
  var uses: Uses { .password }

  func authenticate(_ exchange: PasswordExchange) async throws -> Principal {
    let credentials = try await exchange.credentials()
    throw Rejection(.credentialsInvalid, detail: "user \(String(decoding: credentials?.user ?? [], as: UTF8.self))")
  }
}
