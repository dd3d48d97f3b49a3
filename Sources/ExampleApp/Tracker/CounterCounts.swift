import Pipeline

/// Counts at `counter` processes, each token at the one that the rendezvous hash of the token says.
///
/// They are asked over plain HTTP on kept connections: `PUT /token` makes a token known, `POST /count?path=…` counts; the token
/// stands in `authorization`. The client's own GET is not passed on: a GET may be sent a second time when a kept connection
/// turns out to be dead, and would then count twice. A POST is not.
final class CounterCounts: TokenCounts {
  private let counters: [any HTTPClient]
  private let rendezvous: Rendezvous
  private let limit: Duration

  /// - Parameters:
  ///   - counters: one or more, each once, named the same by every front end: the name decides which tokens it gets.
  ///   - limit: how long one may take to answer.
  init(_ counters: [any HTTPClient], limit: Duration = .milliseconds(1500)) {
    self.counters = counters
    self.limit = limit
    rendezvous = Rendezvous(counters.map { Rendezvous.Node($0.description) })
  }

  var description: String { "counter " + counters.map(\.description).joined(separator: ", ") }

  func admit(_ token: Token, on exchange: Exchange) async throws {
    let response = try await ask(.put, "/token", token, exchange)
    guard response.status == 204 else { throw Self.unavailable("a counter answered PUT with \(response.status)") }
  }

  func count(_ token: Token, at path: String, on exchange: Exchange) async throws -> Int? {
    let response = try await ask(.post, "/count?path=\(Self.encoded(path))", token, exchange)
    switch response.status {
    case 200:
      guard let count = Int(String(decoding: response.body, as: UTF8.self)) else {
        throw Self.unavailable("a counter answered with no number")
      }
      return count
    case 401: return nil
    default: throw Self.unavailable("a counter answered POST with \(response.status)")
    }
  }

  private func ask(
    _ method: HTTPMethod, _ target: String, _ token: Token, _ exchange: Exchange
  ) async throws -> HTTPClientResponse {
    var fields = HeaderFields()
    fields.set("authorization", "Bearer \(token.text)")
    let outer = exchange.deadline
    let mine = exchange.now + limit
    if mine < outer { exchange.deadline = mine }
    defer { exchange.deadline = outer }
    do {
      return try await counters[rendezvous.index(for: token.text)].send(
        method, target, fields, on: exchange, atMost: 64)
    } catch let exceeded as DeadlineExceeded where exceeded.deadline == mine {
      throw Self.unavailable("a counter did not answer within \(limit)")
    } catch let rejection as Rejection where rejection.kind != .clientGone && rejection.kind != .draining {
      throw Self.unavailable("\(rejection)")
    }
  }

  private static func unavailable(_ detail: String) -> Rejection {
    Rejection(.overloaded, source: .upstream, retry: .pointless, retryAfter: .seconds(1), detail: detail)
  }

  /// As the value of a query (RFC 3986, 2.3): everything but unreserved characters.
  private static func encoded(_ path: String) -> String {
    var out = ""
    for byte in path.utf8 {
      switch byte {
      case 48...57, 65...90, 97...122, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"),
        UInt8(ascii: "/"):
        out.unicodeScalars.append(Unicode.Scalar(byte))
      default: out += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
      }
    }
    return out
  }

  /// The connections are the loops'.
  func run(_ services: any BackgroundServices) async throws {}
}
