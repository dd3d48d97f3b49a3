import Middlewares
import Pipeline
import PipelineTesting
import Synchronization
import Testing

/// A service that a test answers for.
private final class Service: HTTPClient {
  struct Question: Sendable {
    let method: HTTPMethod
    let target: String
    let fields: HeaderFields
    let limit: Int
  }

  private let state: Mutex<(questions: [Question], answer: @Sendable (Question) throws -> HTTPClientResponse)>
  let delay: Duration

  init(delay: Duration = .zero, _ answer: @escaping @Sendable (Question) throws -> HTTPClientResponse) {
    state = Mutex(([], answer))
    self.delay = delay
  }

  var description: String { "auth:9091" }
  var questions: [Question] { state.withLock { $0.questions } }

  func send(
    _ method: HTTPMethod, _ target: String, _ fields: HeaderFields, on exchange: Exchange, atMost limit: Int
  ) async throws -> HTTPClientResponse {
    let question = Question(method: method, target: target, fields: fields, limit: limit)
    let answer = state.withLock { state in
      state.questions.append(question)
      return state.answer
    }
    if delay > .zero { try await exchange.sleep(for: delay) }
    return try answer(question)
  }
}

private func response(
  _ status: Int, _ body: String = "", _ fields: KeyValuePairs<HeaderName, String> = [:]
) -> HTTPClientResponse {
  var answer = HTTPClientResponse(status: status, body: Array(body.utf8))
  for (name, value) in fields { answer.fields.add(name, value) }
  return answer
}

struct ForwardAuthTests {
  private func harness(_ auth: ForwardAuth, _ origin: Origin = Origin()) throws -> ChainHarness<HTTPExchange> {
    try ChainHarness(
      Listener(.http, on: ":1") {
        ErrorPages()
        auth
      } to: {
        origin
      })
  }

  @Test func theServiceLearnsOfTheRequestFromUsAlone() async throws {
    let service = Service { _ in response(200) }
    let harness = try harness(ForwardAuth(service, path: "/verify?x", sending: ["cookie"], maxBody: 10))
    await harness.run(
      client(
        .post, "/a/b?c=d", ip: "2001:db8::1",
        [
          "host": "App.example:8080", "cookie": "s=1", "authorization": "Basic x", "x-forwarded-uri": "/public",
          "x-forwarded-for": "1.2.3.4", "content-type": "text/plain",
        ]))
    let question = try #require(service.questions.first)
    #expect(question.method == .get && question.target == "/verify?x" && question.limit == 10)
    var lines: [String] = []
    question.fields.forEach { name, value in
      func text(_ span: borrowing Span<UInt8>) -> String {
        var bytes: [UInt8] = []
        for i in 0..<span.count { bytes.append(span[i]) }
        return String(decoding: bytes, as: UTF8.self)
      }
      lines.append(text(name) + ": " + text(value))
    }
    #expect(
      lines == [
        "cookie: s=1", "x-forwarded-method: POST", "x-forwarded-proto: http", "x-forwarded-host: app.example",
        "x-forwarded-uri: /a/b?c=d", "x-forwarded-for: 2001:db8::1", "accept: */*",
      ])
  }

  @Test func aYesCarriesItsFieldsOnAndNobodyElseCanSendThem() async throws {
    let service = Service { question in
      response(
        204, "",
        question.fields["cookie"] == nil ? ["x-user": "ann"] : ["x-user": "bob", "x-roles": "a, b,,", "x-other": "1"])
    }
    let origin = Origin()
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        ForwardAuth(service, user: "x-user", roles: "x-roles", copying: ["x-user", "x-roles"])
        Authorize { (user: AuthenticatedUser) in user.principal.id == "ann" || user.roles == ["a", "b"] }
      } to: {
        origin
      })
    let run = await harness.start(
      client(.get, "/", ["X-User": "admin", "x_user": "root", "x-roles": "root", "x-other": "2"]))
    #expect(run.principal?.id == "ann")
    let seen = try #require(origin.requests.first).fields
    #expect(
      seen.values(of: "x-user") == ["ann"] && !seen.contains("x-roles") && seen["x-other"] == "2"
        && !seen.contains("x_user"))
    let second = await harness.start(client(.get, "/", ["cookie": "c"]))
    #expect(second.principal?.id == "bob")
    #expect(origin.requests.last?.fields["x-roles"] == "a, b,,")
  }

  @Test(arguments: [301, 302, 303, 307, 308, 401, 403])
  func aNoIsTheClientsAnswer(_ status: Int) async throws {
    let service = Service { _ in
      response(
        status, "go away",
        [
          "location": "https://login.example/", "set-cookie": "a=1", "set-cookie": "b=2", "content-type": "text/x",
          "server": "s",
        ])
    }
    let origin = Origin()
    let run = await (try harness(ForwardAuth(service), origin)).start()
    let head = try #require(run.response)
    #expect(head.status == status && run.responseBody == Array("go away".utf8))
    #expect(head["location"] == "https://login.example/" && head["set-cookie"] == "a=1 | b=2")
    #expect(head["content-type"] == "text/x" && head["server"] == "")
    #expect(origin.requests.isEmpty)
  }

  @Test(arguments: [304, 400, 404, 429, 500, 503, 999])
  func anyOtherAnswerLetsNobodyPass(_ status: Int) async throws {
    let origin = Origin()
    let run = await (try harness(ForwardAuth(Service { _ in response(status) }), origin)).start()
    #expect(run.response?.status == 503 && origin.requests.isEmpty)
  }

  @Test(arguments: [Rejection.Kind.connectionRefused, .nameNotFound, .upstreamProtocol, .connectTimeout, .overloaded])
  func aServiceThatIsDownLetsNobodyPass(_ kind: Rejection.Kind) async throws {
    let origin = Origin()
    let run = await (try harness(ForwardAuth(Service { _ in throw Rejection(kind) }), origin)).start()
    #expect(run.response?.status == 503 && origin.requests.isEmpty)
    #expect(run.rejection?.detail.contains("auth:9091") == true)
  }

  private struct Odd: Error {}

  /// A client of somebody else's throws what it likes. It is the service that cannot be asked, and nothing of ours broke.
  @Test func aFailureThatIsNoRejectionLetsNobodyPassEither() async throws {
    let origin = Origin()
    let run = await (try harness(ForwardAuth(Service { _ in throw Odd() }), origin)).start()
    #expect(run.response?.status == 503 && origin.requests.isEmpty)
    #expect(run.rejection?.source == .upstream && run.rejection?.cause is Odd)
    #expect(run.rejection?.detail == "auth:9091 could not be asked: Odd()")
  }

  @Test func whatEndsTheExchangeIsNotTheServicesFault() async throws {
    let cut = await (try harness(ForwardAuth(Service { _ in throw CancellationError() }))).start()
    #expect(cut.rejection == nil && cut.outcome != .refused(.overloaded))
    let left = await (try harness(ForwardAuth(Service { _ in throw Rejection(.clientGone) }))).start()
    #expect(left.outcome == .refused(.clientGone))
  }

  @Test func aServiceThatIsSlowLetsNobodyPass() async throws {
    let harness = try harness(ForwardAuth(Service(delay: .seconds(9)) { _ in response(200) }, timeout: .seconds(2)))
    let run = await harness.start()
    harness.clock.advance(by: .seconds(2))
    await run.settle()
    #expect(run.response?.status == 503)
  }

  @Test func theDeadlineAboveIsNotTheServicesFault() async throws {
    let harness = try ChainHarness(.http) {
      Timeout(.seconds(1))
      ForwardAuth(Service(delay: .seconds(9)) { _ in response(200) }, timeout: .seconds(2))
    }
    let run = await harness.start()
    harness.clock.advance(by: .seconds(1))
    await run.settle()
    #expect(run.response?.status == 504)
  }

  @Test func aClientThatGoesAwayEndsTheQuestion() async throws {
    let harness = try harness(ForwardAuth(Service(delay: .seconds(2)) { _ in response(200) }))
    let run = await harness.start()
    await run.cut()
    #expect(run.outcome == .refused(.clientGone))
  }

  @Test func aYesWithoutItsUserLetsNobodyPass() async throws {
    for answer in [response(200), response(200, "", ["x-user": ""])] {
      let run = await (try harness(ForwardAuth(Service { _ in answer }, user: "x-user"))).start()
      #expect(run.response?.status == 503)
    }
  }

  @Test func aYesIsRememberedForTheVerySameQuestion() async throws {
    let service = Service { question in response(200, "", ["x-user": question.fields["cookie"] ?? "-"]) }
    let origin = Origin()
    let harness = try harness(
      ForwardAuth(service, user: "x-user", copying: ["x-user"], remembering: .seconds(10)), origin)
    func user(_ client: MockClient) async -> String? {
      await harness.run(client)
      return origin.requests.last?.fields["x-user"]
    }
    let ann = client(.get, "/", ["cookie": "ann"])
    #expect(await user(ann) == "ann")
    #expect(await user(ann) == "ann")
    #expect(service.questions.count == 1)
    #expect(await user(client(.get, "/", ["cookie": "bob"])) == "bob")
    #expect(await user(client(.get, "/other", ["cookie": "ann"])) == "ann")
    #expect(await user(client(.get, "/", ip: "192.0.2.2", ["cookie": "ann"])) == "ann")
    #expect(service.questions.count == 4)
    harness.clock.advance(by: .seconds(10))
    #expect(await user(ann) == "ann")
    #expect(service.questions.count == 5)
  }

  @Test func aNoIsAskedAgainEachTime() async throws {
    let service = Service { _ in response(401) }
    let harness = try harness(ForwardAuth(service, remembering: .seconds(10)))
    for _ in 0..<3 { #expect(await harness.start().response?.status == 401) }
    #expect(service.questions.count == 3)
  }

  @Test func whatCannotWorkIsRefusedWhenTheAppIsBuilt() {
    #expect(
      problems {
        ForwardAuth(
          Service { _ in response(200) }, path: "verify", sending: ["X-Forwarded-Uri"], timeout: .zero,
          remembering: .seconds(301), maxBody: -1)
      } == [
        "forward-auth: the path \"verify\" has to begin with / and to be percent-encoded",
        "forward-auth: a timeout of 0.0 seconds: more than 0 seconds, up to 1 minute, is allowed",
        "forward-auth: remembering is 301.0 seconds: 0 seconds to 5 minutes are allowed",
        "forward-auth: a maxBody of -1: 0...1048576 are allowed",
        "forward-auth: X-Forwarded-Uri is written here: what the client sent under this name must not reach the service",
      ])
  }
}
