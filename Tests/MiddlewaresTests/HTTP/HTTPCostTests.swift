import CMallocCount
import Middlewares
import Pipeline
import PipelineTesting
import Testing

/// What a request on a kept connection allocates. An optimised build allocates nothing; a debug build boxes what an
/// optimised one keeps on the stack, so it only sees that the number is small and does not grow with the request.
struct HTTPCostTests {
  /// The fewest allocations of a hundred requests; a task may move to another thread, whose count is another one.
  private func allocations(
    _ client: MockClient, of harness: ChainHarness<HTTPExchange>
  ) async throws -> UInt {
    let exchange = Unwritten(client)
    func serve() async throws {
      exchange.recycle(id: exchange.id + 1)
      _ = try await harness.service.serve(exchange)
      guard exchange.status == 200 else { throw Rejection(.internalError, detail: "\(exchange.status ?? 0)") }
    }
    for _ in 0..<20 { try await serve() }
    var fewest = UInt.max
    for _ in 0..<10 {
      let before = malloc_count_of_this_thread()
      for _ in 0..<100 { try await serve() }
      fewest = min(fewest, malloc_count_of_this_thread() &- before)
    }
    return fewest
  }

  private var isDebugBuild: Bool {
    #if DEBUG
      true
    #else
      false
    #endif
  }

  private func client(_ target: String, _ fields: KeyValuePairs<HeaderName, String>) -> MockClient {
    var client = MockClient(target: target)
    for (name, value) in fields { client.request.fields.add(name, value) }
    return client
  }

  @Test(.enabled(if: malloc_is_counted() != 0)) func theBareChainIsTheMeasure() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Plain()
      })
    let count = try await allocations(client("/a", ["host": "example.org"]), of: harness)
    #expect(count <= (isDebugBuild ? 3000 : 1), "\(count) for 100 requests")
  }

  @Test(.enabled(if: malloc_is_counted() != 0)) func trackingAndQuotasAllocateNothing() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        UsageTracking()
        UsageQuota(.requests(1_000_000_000, per: .day), per: .optionalIdentity())
        UsageQuota(.bytes(1_000_000_000_000, per: .month), per: .optionalIdentity())
      } to: {
        Plain()
      })
    let count = try await allocations(client("/a", ["host": "example.org"]), of: harness)
    #expect(count <= (isDebugBuild ? 6000 : 1), "\(count) for 100 requests")
  }

  @Test(.enabled(if: malloc_is_counted() != 0)) func metricsAllocateNothing() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        Metrics()
      } to: {
        Plain()
      })
    let count = try await allocations(client("/a", ["host": "example.org"]), of: harness)
    #expect(count <= (isDebugBuild ? 4000 : 1), "\(count) for 100 requests")
  }

  @Test(.enabled(if: malloc_is_counted() != 0)) func routesAllocateNothing() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
      } to: {
        Route("/x", to: { Plain() })
        Route("/a", host: "*.example.org", methods: [.post, "PURGE"], to: { Plain() })
        Route("/a/:name/*rest", host: "www.example.org", methods: [.get]) {
        } to: {
          Route("/a/:again", to: { Plain() })
        }
      })
    let count = try await allocations(client("/a/b/c?d=e", ["host": "www.example.org"]), of: harness)
    #expect(count <= (isDebugBuild ? 12_000 : 1), "\(count) for 100 requests")
  }

  @Test(.enabled(if: malloc_is_counted() != 0)) func fixedHeadersRewritesIdsAndOriginsAllocateNothing() async throws {
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        ErrorPages()
        RequestID()
        CORS(allow: .origins("https://app.example.org"), credentials: true)
        Headers(
          request: .set("x-by", "a value that is longer than fifteen bytes"), .remove("cookie"), .add("x-a", "b"),
          response: .set("x-frame-options", "DENY"), .remove("server"), .setIfMissing("x-c", "d"))
        RewritePath(.strip("/api"))
        RewritePath(.add("/v2"))
      } to: {
        Plain()
      })
    let request = client(
      "/api/x?y=z",
      [
        "host": "example.org", "origin": "https://app.example.org", "cookie": "a=b", "user-agent": "test",
        "accept": "*/*",
      ])
    let count = try await allocations(request, of: harness)
    #expect(count <= (isDebugBuild ? 60_000 : 1), "\(count) for 100 requests")
  }

  @Test(.enabled(if: malloc_is_counted() != 0)) func basicOnAKeptConnectionAllocatesAndHashesNothing() async throws {
    let verifier = CountingVerifier()
    let users = try UserTable.testing(verifier, "a-user-with-a-long-name:secret")
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        BasicAuth(users)
      } to: {
        Plain()
      })
    let login = "Basic YS11c2VyLXdpdGgtYS1sb25nLW5hbWU6c2VjcmV0"
    let count = try await allocations(client("/a", ["authorization": login]), of: harness)
    #expect(count <= (isDebugBuild ? 6000 : 1), "\(count) for 100 requests")
    #expect(verifier.verifications == 1 && verifier.digests == 1)
  }

  @Test(.enabled(if: malloc_is_counted() != 0)) func bearerOnAKeptConnectionAllocatesNothing() async throws {
    let token = "a-token-that-is-longer-than-sixteen-bytes"
    let tokens = try TokenTable([TokenTable.Token(token, user: "a-user-with-a-long-name", roles: ["api"])])
    let harness = try ChainHarness(
      Listener(.http, on: ":1") {
        BearerAuth(tokens)
        Authorize(role: "api")
      } to: {
        Plain()
      })
    let count = try await allocations(client("/a", ["authorization": "Bearer " + token]), of: harness)
    #expect(count <= (isDebugBuild ? 6000 : 1), "\(count) for 100 requests")
  }
}

/// A connection that keeps nothing of what it writes, as a socket does.
private final class Unwritten: HTTPExchange {
  init(_ client: MockClient) {
    let listener = ListenerInfo(name: "http", transport: "http", address: .ip(.loopbackV4, port: 1))
    super.init(id: 1, client: client.address, listener: listener, runtime: TestRuntime(), request: client.request)
  }
}

/// Answers without a body, as an upstream would.
private struct Plain: Destination {
  func serve(_ exchange: HTTPExchange) async throws -> Summary {
    try await exchange.commit { head in
      head.status = 200
      head.fields.set("server", "test")
    }
    return Summary()
  }
}
