import Pipeline
import PipelineTesting
import Testing

struct HeaderFieldsTests {
  @Test func namesAreComparedWithoutCaseAndOnlyWhole() {
    var fields = HeaderFields()
    fields.add("X-Served-By", "a")
    #expect(fields["x-served-by"] == "a")
    #expect(fields["x-served"] == nil)
    #expect(fields["x-served-by2"] == nil)
    fields.add("x^a", "1")
    #expect(fields["x~a"] == nil)
  }

  @Test func setReplacesEveryFieldOfItsName() {
    var fields = HeaderFields()
    fields.add("a", "1")
    fields.add("b", "2")
    fields.add("A", "3")
    fields.set("a", 40)
    #expect(fields.values(of: "a") == ["40"])
    #expect(fields["b"] == "2")
    fields.set("n", -1)
    #expect(fields["n"] == "-1")
  }

  @Test func aValueCannotBeginAnotherField() {
    var fields = HeaderFields()
    fields.set("a", "1\r\nset-cookie: x\n\0y")
    #expect(fields["a"] == "1set-cookie: xy")
    #expect(!fields.contains("set-cookie"))
    #expect(fields.withWireBytes { $0.count } == "a: 1set-cookie: xy\r\n".utf8.count)
  }

  @Test func valuesAreReadInPlaceWithoutTheSpaceAroundThem() {
    var fields = HeaderFields()
    fields.add("a", " \t x \t")
    #expect(fields.withValue(of: "a") { $0?.count } == 1)
    #expect(fields.withValue(of: "b") { $0 == nil })
    fields.add("empty", "")
    #expect(fields["empty"] == "")
  }
}

struct HTTPRequestHeadTests {
  @Test(arguments: [
    ("/a/b?c=d", "/a/b", "c=d" as String?, nil as String?), ("http://Host:80/x?y", "/x", "y", "host"),
    ("*", "", nil, nil),
    ("http://[2001:db8::1]:8080", "", nil, "[2001:db8::1]"), ("/", "/", nil, nil), ("/a?b?c", "/a", "b?c", nil),
    ("http://u:p@Host.:80/", "/", nil, "host"),
  ])
  func theTargetIsTakenApart(_ target: String, _ path: String, _ query: String?, _ host: String?) {
    let head = HTTPRequestHead(method: .get, target: target)
    #expect(head.path == path)
    #expect(head.query == query)
    #expect(head.host == host)
  }

  @Test func aRewrittenPathKeepsTheQueryAndTakesNoControlBytes() {
    var head = HTTPRequestHead(method: .get, target: "/a?b=c")
    head.path = "/v1/a b\r\nx"
    #expect(head.target == "/v1/abx?b=c")
  }

  @Test func connectNamesItsHostInTheTarget() {
    let head = HTTPRequestHead(method: .connect, target: "Example.org:443")
    #expect(head.host == "example.org")
    #expect(head.isForProxy)
    #expect(head.path == "")
  }
}

struct BasicCredentialsTests {
  private func credentials(_ value: String, field: HeaderName = "authorization") async throws -> PasswordCredentials? {
    var client = MockClient()
    client.request.fields.set(field, value)
    return try await MockHTTPExchange(client).credentials()
  }

  @Test func userAndPasswordAreBytesAroundTheFirstColon() async throws {
    let found = try await credentials("bAsIc  YW5uOnA6dw==")
    #expect(found?.user == Array("ann".utf8))
    #expect(found?.password.reveal() == Array("p:w".utf8))
  }

  @Test func anotherSchemeIsNoCredentials() async throws {
    #expect(try await credentials("Bearer x") == nil)
  }

  @Test(arguments: ["Basic !!!!", "Basic YW5u", "Basic YW5uO"])
  func whatCannotBeReadIsMalformed(_ value: String) async throws {
    let error = await #expect(throws: Rejection.self) { _ = try await credentials(value) }
    #expect(error?.kind == .malformed)
  }
}

struct HTTPRefusalTests {
  /// The whole table: a kind that is added has to be entered here.
  private static let table: [Rejection.Kind: Int] = [
    .credentialsRequired: 401, .credentialsInvalid: 401, .forbidden: 403, .rateLimited: 429, .quotaExhausted: 429,
    .overloaded: 503, .draining: 503, .internalError: 500, .malformed: 400, .handshakeTimeout: 408,
    .unsupportedCommand: 501, .unsupportedAddressType: 400, .noRoute: 404, .methodNotAllowed: 405,
    .requestLineTooLong: 414, .headTooLarge: 431, .bodyTooLarge: 413, .unsupportedVersion: 505, .loopDetected: 502,
    .nameNotFound: 502,
    .connectionRefused: 502, .networkUnreachable: 502, .hostUnreachable: 502, .connectTimeout: 504,
    .deadlineExceeded: 504, .idleTimeout: 504, .lifetimeExceeded: 504, .upstreamReset: 502, .upstreamProtocol: 502,
    .clientGone: 499,
  ]

  @Test(arguments: Rejection.Kind.allCases)
  func everyKindHasItsStatus(_ kind: Rejection.Kind) async throws {
    #expect(HTTPRefusal.status(of: kind) == Self.table[kind])
    let harness = try ChainHarness(.http) { Refuse(kind) }
    let run = await harness.start()
    #expect(run.response?.status == Self.table[kind])
    #expect(run.response?.fields["content-length"] == "0")
  }

  @Test func anErrorThatIsNoRejectionIsOurs() async throws {
    let harness = try ChainHarness(.http) { Break() }
    let run = await harness.start()
    #expect(run.response?.status == 500)
    #expect(run.response?.fields["connection"] == "close")
  }
}

struct DecodedPathTests {
  private func decoded(_ target: String) -> String? { HTTPRequestHead(method: .get, target: target).decodedPath }

  @Test func aPathIsDecodedWithoutItsQuery() {
    #expect(decoded("/a%20b/%C3%A4?x=%zz") == "/a b/ä")
    #expect(decoded("/a%2Fb") == "/a/b")
    #expect(decoded("/a+b") == "/a+b")
    #expect(decoded("/") == "/")
    #expect(decoded("http://host") == "/")
    #expect(decoded("http://host/x?y") == "/x")
  }

  @Test func whatCannotBeDecodedIsNoPath() {
    for target in ["/%", "/%4", "/%zz", "/%ff", "/%C3", "/a%C3/b"] { #expect(decoded(target) == nil, "\(target)") }
  }
}
