import Middlewares
import Pipeline
import PipelineTesting
import Synchronization
import Testing

/// A chain with a cache in front of an origin that a test scripts, and the requests that reached it.
final class CachedOrigin: Sendable {
  typealias Answer = @Sendable (MockHTTPExchange) async throws -> Summary

  let store: CacheStore
  let harness: ChainHarness<HTTPExchange>
  private let state: Mutex<(answer: Answer, requests: [HTTPRequestHead])>

  /// 2024-01-01T00:00:00Z at the beginning of the manual clock's second 1.
  static let epoch: Int64 = 1_704_067_199

  init(
    store: CacheStore = CacheStore(),
    _ makeCache: (CacheStore, WallClock) -> ResponseCache = { ResponseCache($0, clock: $1) }
  ) throws {
    let clock = ManualClock()
    let wall = WallClock { UnixTime(seconds: Self.epoch + Int64(clock.now.nanoseconds / 1_000_000_000)) }
    let cache = makeCache(store, wall)
    self.store = store
    harness = try ChainHarness(.http, clock: clock) { cache }
    state = Mutex(({ try await $0.relay(200) }, []))
  }

  var clock: ManualClock { harness.clock }
  var requests: [HTTPRequestHead] { state.withLock { $0.requests } }
  var calls: Int { requests.count }

  func answers(_ answer: @escaping Answer) { state.withLock { $0.answer = answer } }

  func answers(
    _ status: Int = 200, _ fields: KeyValuePairs<HeaderName, String> = ["cache-control": "max-age=60"],
    body: String = "hello"
  ) {
    answers { try await $0.relay(status, fields, body: Array(body.utf8)) }
  }

  func get(_ target: String = "/", _ fields: KeyValuePairs<HeaderName, String> = [:]) async -> CachedResult {
    await send(.get, target, fields)
  }

  func send(
    _ method: HTTPMethod, _ target: String = "/", _ fields: KeyValuePairs<HeaderName, String> = [:]
  ) async -> CachedResult {
    CachedResult(run: await harness.send(client(method, target, fields)) { try await self.serve($0) })
  }

  func client(_ method: HTTPMethod, _ target: String, _ fields: KeyValuePairs<HeaderName, String>) -> MockClient {
    var client = MockClient(destination: nil, method: method, target: target)
    if !fields.contains(where: { "\($0.key)" == "host" }) { client.request.fields.add("host", "example.org") }
    for (name, value) in fields { client.request.fields.add(name, value) }
    return client
  }

  func serve(_ exchange: Exchange) async throws -> Summary {
    let exchange = try #require(exchange as? MockHTTPExchange)
    let answer = state.withLock { state in
      state.requests.append(exchange.request)
      return state.answer
    }
    return try await answer(exchange)
  }
}

struct CachedResult {
  let run: ExchangeRun
  var status: Int? { run.response?.status }
  var cache: String? { self["x-cache-status"] }
  var body: String { String(decoding: run.responseBody, as: UTF8.self) }
  subscript(_ name: HeaderName) -> String? { run.response?.fields[name] }
}
