import Pipeline
import Synchronization

/// Sends every byte back: the built-in upstream of the raw TCP demo.
struct Echo: Destination {
  func serve(_ exchange: Exchange) async throws -> Summary {
    let client = exchange.clientStream
    var bytes: [UInt8] = []
    while try await exchange.read(from: client, into: &bytes) {
      exchange.traffic.up += UInt64(bytes.count)
      exchange.isCommitted = true
      try await exchange.write(bytes, to: client)
      exchange.traffic.down += UInt64(bytes.count)
      bytes.removeAll(keepingCapacity: true)
    }
    try client.finishWriting()
    return Summary(traffic: exchange.traffic, endedBy: .client)
  }
}

/// Answers every HTTP request with a greeting and the answer's number, so that one from a cache can be told: the built-in
/// origin of the demo.
struct Hello: Destination {
  private final class Answers: Sendable {
    let count = Atomic<Int>(0)
  }

  private let answers = Answers()

  func serve(_ exchange: HTTPExchange) async throws -> Summary {
    let number = answers.count.add(1, ordering: .relaxed).newValue
    // The target may hold anything: only visible ASCII is repeated.
    let target = exchange.request.target.unicodeScalars.filter { (0x21...0x7e).contains($0.value) }
    let path = String(String.UnicodeScalarView(target))
    let text = "Hello from Sluice's built-in origin. You asked for \(path). This is answer \(number).\n"
    return try await exchange.respond(200, body: Array(text.utf8)) { head in
      head.fields.set("content-type", "text/plain; charset=utf-8")
      // No two answers are equal.
      head.fields.set("etag", "\"\(number)\"")
    }
  }
}
