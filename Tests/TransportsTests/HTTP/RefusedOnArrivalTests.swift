import Middlewares
import Pipeline
import Testing

@testable import Transports

/// What is answered before any chain runs has its line in the access log all the same.
@Suite struct RefusedOnArrivalTests {
  private final class Lines: LogSink {
    let lines = Mailbox<String>()
    let dropped = 0
    func append(_ line: RawSpan, shard: Int) -> Bool {
      lines.put(line.withUnsafeBytes { String(decoding: $0, as: UTF8.self) })
      return true
    }
  }

  private static let garbage = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"

  private func line(
    _ format: AccessLog.Format = .text, after request: String,
    _ edit: @escaping (inout ListenerOptions) -> Void = { _ in }
  ) async throws -> String {
    let sink = Lines()
    try await withServer {
      Listener(.http, on: "127.0.0.1:0", name: "web") {
        AccessLog(format, to: sink)
      } to: {
        Respond(200)
      }.options { edit(&$0) }
    } body: { server in
      let address = server.address()
      try await onThread { _ = try address.ask(request) }
    }
    return try #require(await sink.lines.next())
  }

  @Test func whatIsNoRequestHasALineWithItsStatusAndItsReason() async throws {
    let line = try await line(after: Self.garbage)
    #expect(line.contains(" listener=web transport=http client=127.0.0.1:"))
    #expect(line.contains(" method=- host=- target=- status=400 "))
    #expect(
      line.contains(" outcome=malformed ended=proxy detail=\"content-length is there twice: at most one is allowed\""))
  }

  @Test func theJSONHasNull() async throws {
    let line = try await line(.json, after: Self.garbage)
    #expect(line.contains(#""method":null,"host":null,"target":null,"status":400"#))
    #expect(line.contains(#""outcome":"malformed""#))
  }

  @Test func aHeadThatIsTooLongHasItsStatus() async throws {
    let line = try await line(
      after: "GET /secret HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "x", count: 500))\r\n\r\n"
    ) { $0.http.maxHead = 256 }
    #expect(line.contains(" status=431 ") && line.contains(" target=- ") && line.contains(" outcome=headTooLarge "))
  }

  /// Its head was understood.
  @Test func aLoopIsNamed() async throws {
    let line = try await line(after: "GET /round?secret HTTP/1.1\r\nHost: a\r\nVia: 1.1 here\r\n\r\n") {
      $0.http.viaName = "here"
    }
    #expect(line.contains(" method=GET host=a target=/round status=502 "))
    #expect(line.contains(" outcome=loopDetected "))
  }

  /// The request before it on the connection says nothing of it.
  @Test func nothingOfTheRequestBeforeIsInTheLine() async throws {
    let sink = Lines()
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
        AccessLog(to: sink)
      } to: {
        Respond(200)
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        #expect(try client.get("/first")?.status == 200)
        #expect(try client.ask("GET / / HTTP/1.1\r\nHost: b\r\n\r\n")?.status == 400)
      }
    }
    #expect(await sink.lines.next()?.contains(" target=/first status=200 ") == true)
    #expect(await sink.lines.next()?.contains(" method=- host=- target=- status=400 ") == true)
  }

  /// Below an authenticator or in a route a log sees only what comes so far.
  @Test func onlyWhoWouldSeeEverythingIsTold() async throws {
    let (top, named, below, routed) = (Lines(), Lines(), Lines(), Lines())
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
        AccessLog(to: top)
        Chain {
          AccessLog(to: named).named("second")
        }.named("group")
        ClientAddressAuth(.block("127.0.0.0/8", as: "local"))
        AccessLog(to: below)
      } to: {
        Route("/a") {
          AccessLog(to: routed)
        } to: {
          Respond(200)
        }
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        _ = try address.ask(Self.garbage)
        #expect(try address.get("/a")?.status == 200)
      }
    }
    // In either order: the two connections are on two loops, and a line may come after its answer.
    for sink in [top, named] {
      let lines = [await sink.lines.next(), await sink.lines.next()]
      for status in [200, 400] { #expect(lines.count { $0?.contains(" status=\(status) ") == true } == 1) }
    }
    for sink in [below, routed] { #expect(await sink.lines.next()?.contains(" status=200 ") == true) }
  }

  /// Who only comes and goes, or is silent, is no request.
  @Test func aConnectionWithoutARequestHasNoLine() async throws {
    let sink = Lines()
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
        AccessLog(to: sink)
      } to: {
        Respond(200)
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        try HTTPPeer.connect(address).close()
        #expect(try address.get("/real")?.status == 200)
      }
    }
    #expect(await sink.lines.next()?.contains(" target=/real ") == true)
  }
}
