import Middlewares
import Pipeline
import PipelineTesting
import Synchronization

/// A client that sends this request.
func client(
  _ method: HTTPMethod = .get, _ target: String = "/", ip: String = "192.0.2.1",
  _ fields: KeyValuePairs<HeaderName, String> = [:]
) -> MockClient {
  var client = MockClient(ip: ip, method: method, target: target)
  for (name, value) in fields { client.request.fields.add(name, value) }
  return client
}

/// Plays an upstream: notes what it is sent, and answers.
struct Origin: Destination {
  final class Notes: Sendable {
    let requests = Mutex<[HTTPRequestHead]>([])
  }

  let notes = Notes()
  var status = 200
  var fields: KeyValuePairs<HeaderName, String> = [:]
  var failures: [Rejection.Kind] = []

  var requests: [HTTPRequestHead] { notes.requests.withLock { $0 } }
  var targets: [String] { requests.map(\.target) }

  func serve(_ exchange: HTTPExchange) async throws -> Summary {
    let count = notes.requests.withLock { requests in
      requests.append(exchange.request)
      return requests.count
    }
    if count <= failures.count { throw Rejection(failures[count - 1]) }
    try await exchange.commit { head in
      head.status = status
      for (name, value) in fields { head.fields.add(name, value) }
    }
    return Summary()
  }
}

/// Refuses everybody.
struct Deny: Middleware {
  let rejection: Rejection
  init(_ kind: Rejection.Kind, _ detail: String = "", retryAfter: Duration? = nil) {
    rejection = Rejection(kind, retryAfter: retryAfter, detail: detail)
  }
  func handle(_ exchange: Exchange, next: Next) async throws -> Summary { throw rejection }
}

extension HTTPResponseHead {
  /// What stands under a name, all its fields together.
  subscript(_ name: HeaderName) -> String { fields.values(of: name).joined(separator: " | ") }
}

/// What a chain's validation says.
func problems<C: ChainElement>(@ChainBuilder<HTTPExchange> _ chain: () -> C) -> [String]
where C.Carrier == HTTPExchange, C.Needs: MetByNothing {
  do {
    _ = try ChainHarness(.http, chain: chain)
    return []
  } catch let error as ConfigurationError {
    return error.messages
  } catch {
    return ["\(error)"]
  }
}
