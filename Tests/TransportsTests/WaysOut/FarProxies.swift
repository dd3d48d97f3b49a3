import Pipeline
import Synchronization

@testable import Transports

/// A far proxy that does what a test says, and keeps what it was asked.
final class ScriptedSOCKS5: Sendable {
  /// Requests, as they came.
  let requests = Mailbox<[UInt8]>()
  private let origin: TestOrigin
  var address: SocketAddress { origin.address }

  /// - Parameter answer: what follows the request, by the number of the connection (1 is the first); nil: close.
  init(_ answer: @escaping @Sendable (_ number: Int, _ request: [UInt8]) -> [UInt8]?) throws {
    let requests = self.requests
    let counter = Counter()
    origin = try TestOrigin { peer in
      let number = counter.next()
      let greeting = try peer.receive(exactly: 2)
      guard greeting.count == 2 else { return }
      _ = try peer.receive(exactly: Int(greeting[1]))
      try peer.send([5, 0])
      var request = try peer.receive(exactly: 5)
      guard request.count == 5 else { return }
      let rest =
        switch request[3] {
        case 1: 3 + 2
        case 4: 15 + 2
        default: Int(request[4]) + 2
        }
      request += try peer.receive(exactly: rest)
      requests.put(request)
      guard let bytes = answer(number, request) else { return }
      try peer.send(bytes)
      // What a tunnel would be.
      while case let more = try peer.receive(), !more.isEmpty { try peer.send(more) }
    }
  }

  static let succeeded: [UInt8] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]

  private final class Counter: Sendable {
    private let value = Atomic(0)
    func next() -> Int { value.add(1, ordering: .relaxed).newValue }
  }
}

/// Answers look-ups from a table, and counts them.
struct CountedNames: NameLookup {
  var table: [String: [IPAddress]]
  let asked = EngineCounters.Gauge()

  func addresses(of name: DomainName) throws(LookupFailure) -> LookupAnswer {
    asked.add(1)
    guard let addresses = table[name.text] else { throw .notFound }
    return LookupAnswer(addresses: addresses)
  }
}

/// Keeps with what exchanges were rejected.
struct Rejections: Middleware {
  let seen = Mailbox<Rejection>()

  func handle(_ exchange: Exchange, next: Next) async throws -> Summary {
    do {
      return try await next()
    } catch {
      seen.put(Rejection(error))
      throw error
    }
  }
}
