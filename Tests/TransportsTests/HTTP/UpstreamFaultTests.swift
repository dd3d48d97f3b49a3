import Glibc
import Middlewares
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// Upstreams that go wrong in every way, each with what the client sees.
@Suite struct UpstreamFaultTests {
  /// What an upstream does with a connection, after it has read the request's head.
  struct Fault: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let act: @Sendable (ScriptedBackend.Session) throws -> Void

    init(_ name: String, _ act: @escaping @Sendable (ScriptedBackend.Session) throws -> Void) {
      testDescription = name
      self.act = act
    }
  }

  private func withFault(
    _ act: @escaping @Sendable (ScriptedBackend.Session) throws -> Void,
    options edit: @escaping (inout ListenerOptions) -> Void = { _ in },
    body: @escaping @Sendable (HTTPPeer) throws -> Void
  ) async throws {
    let backend = try ScriptedBackend { session in
      guard try session.readHead() != nil else { return }
      try act(session)
    }
    try await withReverseProxy(to: backend, edit) { proxy in try body(try HTTPPeer.connect(proxy)) }
    // It was let go of, whatever it did.
    _ = await backend.ended.next()
    #expect(backend.requests.count == 1)
  }

  /// One byte at a time, as long as anybody takes them.
  private static func drip(_ text: String, _ session: ScriptedBackend.Session) throws {
    for byte in text {
      try session.peer.send(String(byte))
      session.peer.dawdle(milliseconds: 10)
    }
  }

  // MARK: Before the head is complete

  @Test func whoAcceptsAndNeverAnswersIsA504() async throws {
    try await withFault { session in
      _ = try session.peer.hasEnded()
    } options: {
      $0.http.responseTimeout = .milliseconds(100)
    } body: { client in
      let found = try client.get()?.status
      #expect(found == 504)
    }
  }

  /// Each byte comes in time, and the head never does.
  @Test func aHeadThatComesByteByByteIsA504() async throws {
    try await withFault { session in
      // Ends with the connection.
      try? Self.drip("HTTP/1.1 200 OK\r\nX-Slow: " + String(repeating: "x", count: 20_000), session)
    } options: {
      $0.http.responseTimeout = .milliseconds(200)
    } body: { client in
      let found = try client.get()?.status
      #expect(found == 504)
    }
  }

  @Test(arguments: ["", "HTTP/1.1 200 OK\r\nContent-Le"]) func aResetInTheHeadIsA502(part: String) async throws {
    try await withFault { session in
      try session.peer.send(part)
      session.peer.peer.reset()
    } body: { client in
      let found = try client.get()?.status
      #expect(found == 502)
    }
  }

  @Test(arguments: ["", "HTTP/1.1 200 OK\r\nContent-Le"]) func anEndInTheHeadIsA502(part: String) async throws {
    try await withFault { session in
      try session.peer.send(part)
    } body: { client in
      let found = try client.get()?.status
      #expect(found == 502)
    }
  }

  @Test(arguments: ["SSH-2.0-OpenSSH_9.6\r\n", "\u{16}\u{3}\u{1}\u{0}\u{5}hello\r\n\r\n", "HTTP/9 200\r\n\r\n"])
  func anotherProtocolIsA502(greeting: String) async throws {
    try await withFault { session in
      try session.peer.send(greeting)
      _ = try session.peer.hasEnded()
    } body: { client in
      let found = try client.get()?.status
      #expect(found == 502)
    }
  }

  @Test func aHeadOfAGigabyteIsA502AndIsNotRead() async throws {
    let shared = Box(Atomic<Int>(0))
    try await withFault { session in
      try session.peer.send("HTTP/1.1 200 OK\r\n")
      let fields = String(repeating: "X-Large: \(String(repeating: "y", count: 1000))\r\n", count: 1000)
      do {
        while shared.value.load(ordering: .relaxed) < 1 << 30 {
          try session.peer.send(fields)
          shared.value.add(fields.utf8.count, ordering: .relaxed)
        }
      } catch {
        // The proxy has had enough.
      }
    } body: { client in
      let found = try client.get()?.status
      #expect(found == 502)
    }
    // What the kernel's buffers take, and no more.
    #expect(shared.value.load(ordering: .relaxed) < 64 << 20)
  }

  @Test func oneFieldOfAGigabyteIsA502() async throws {
    try await withFault { session in
      try session.peer.send("HTTP/1.1 200 OK\r\nX-Large: ")
      let piece = String(repeating: "y", count: 1 << 20)
      for _ in 0..<1024 {
        // Ends with the connection.
        do { try session.peer.send(piece) } catch { return }
      }
    } body: { client in
      let found = try client.get()?.status
      #expect(found == 502)
    }
  }

  // MARK: Wrong lengths

  @Test(arguments: [
    "Content-Length: -1", "Content-Length: abc", "Content-Length: 5\r\nContent-Length: 6", "Content-Length: 0x5",
    "Content-Length: 99999999999999999999999",
  ]) func aLengthThatIsNoneIsA502(field: String) async throws {
    try await withFault { session in
      try session.peer.send("HTTP/1.1 200 OK\r\n\(field)\r\n\r\nhello")
      _ = try session.peer.hasEnded()
    } body: { client in
      let found = try client.get()?.status
      #expect(found == 502)
    }
  }

  @Test func aBodyThatIsShorterThanItsLengthIsCut() async throws {
    try await withFault { session in
      try session.peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    } body: { client in
      let answer = try client.get()
      #expect(answer?.status == 200 && answer?.body == "hello" && answer?.isWhole == false)
      #expect(try client.hasEnded())
    }
  }

  /// What comes behind the declared end is nobody's answer: neither this client's nor the next one's.
  @Test func aBodyThatIsLongerThanItsLengthEndsThereAndTheConnectionIsNotUsedAgain() async throws {
    let backend = try ScriptedBackend { session in
      while try session.readHead() != nil {
        try session.peer.send(response("hello") + response("poison"))
      }
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      for _ in 1...3 { #expect(try client.get()?.body == "hello") }
    }
    #expect(backend.connections == 3)
  }

  // MARK: In the body

  @Test func aBodyThatComesByteByByteArrivesWhole() async throws {
    try await withFault { session in
      try session.peer.send("HTTP/1.1 200 OK\r\nContent-Length: 120\r\n\r\n")
      try Self.drip(String(repeating: "x", count: 120), session)
    } options: {
      $0.http.bodyIdleTimeout = .seconds(20)
      $0.http.responseTimeout = .seconds(1)
    } body: { client in
      let answer = try client.get()
      #expect(answer?.isWhole == true && answer?.body.utf8.count == 120)
    }
  }

  @Test func aBodyThatStopsIsCut() async throws {
    try await withFault { session in
      try session.peer.send("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")
      _ = try session.peer.hasEnded()
    } options: {
      $0.http.bodyIdleTimeout = .milliseconds(100)
    } body: { client in
      let answer = try client.get()
      #expect(answer?.status == 200 && answer?.isWhole == false)
    }
  }

  /// The client must be able to tell: a missing end where there is a length or chunks, a reset where the end is the close.
  @Test(arguments: ["Content-Length: 50\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"])
  func aResetInTheBodyIsACut(rest: String) async throws {
    let goOn = Mailbox<Void>()
    try await withFault { session in
      try session.peer.send("HTTP/1.1 200 OK\r\n\(rest)")
      // A reset takes with it what has not been read.
      _ = blockingWait { await goOn.next() }
      session.peer.peer.reset()
    } body: { client in
      try client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
      #expect(try client.read(through: "hello") != nil)
      goOn.put(())
      let end = try client.readToEnd()
      #expect(!end.hasSuffix("0\r\n\r\n"))
    }
  }

  @Test func anEndInAChunkedBodyIsACut() async throws {
    try await withFault { session in
      try session.peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwo")
    } body: { client in
      let found = try client.get()?.isWhole
      #expect(found == false)
    }
  }

  @Test func aResetInABodyThatTheCloseEndsIsAReset() async throws {
    let goOn = Mailbox<Void>()
    try await withFault { session in
      try session.peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")
      _ = blockingWait { await goOn.next() }
      session.peer.peer.reset()
    } body: { client in
      try client.send("GET / HTTP/1.0\r\nHost: t\r\n\r\n")
      #expect(try client.read(through: "hello") != nil)
      goOn.put(())
      #expect(throws: SystemError.self) { try client.readToEnd() }
    }
  }

  @Test(arguments: ["zz\r\nhello", "5\r\nhello world", "-5\r\nhello", "ffffffffffffffffff\r\n"])
  func brokenChunksAreA502WhereNothingWasSentYet(chunk: String) async throws {
    try await withFault { session in
      try session.peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
      _ = try session.peer.hasEnded()
    } body: { client in
      let found = try client.get()?.status
      #expect(found == 502)
    }
  }

  // MARK: The client's side

  @Test func aClientsHeadOfAGigabyteIsA431() async throws {
    let backend = try ScriptedBackend.answering(response("no"))
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("GET / HTTP/1.1\r\nHost: t\r\n")
      let fields = String(repeating: "X-Large: \(String(repeating: "y", count: 1000))\r\n", count: 1000)
      var sent = 0
      do {
        while sent < 1 << 30 {
          try client.send(fields)
          sent += fields.utf8.count
        }
      } catch {
        // The proxy has had enough.
      }
      #expect(sent < 64 << 20)
    }
    try await withReverseProxy(to: backend) { proxy in
      let client = try HTTPPeer.connect(proxy)
      let fields = String(repeating: "X-Large: yyyyyyyyy\r\n", count: 4000)
      let answer = try client.ask("GET / HTTP/1.1\r\nHost: t\r\n" + fields)
      #expect(answer?.status == 431)
    }
    #expect(backend.requests.isEmpty)
  }

  // MARK: With a retry

  private static let faultsOfTheHead: [Fault] = [
    Fault("accepts and never answers") { _ = try $0.peer.hasEnded() },
    Fault("closes without a word") { _ in },
    Fault("resets") { $0.peer.peer.reset() },
    Fault("closes in the head") { try $0.peer.send("HTTP/1.1 200 OK\r\nContent-Le") },
    Fault("speaks something else") {
      try $0.peer.send("SSH-2.0-OpenSSH_9.6\r\n\r\n")
      _ = try $0.peer.hasEnded()
    },
    Fault("wrong length") {
      try $0.peer.send("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")
      _ = try $0.peer.hasEnded()
    },
    Fault("broken chunks") {
      try $0.peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
      _ = try $0.peer.hasEnded()
    },
    Fault("a 503") { try $0.peer.send(response("busy", status: "503 Busy", "Connection: close\r\n")) },
    Fault("a huge head") {
      try? $0.peer.send("HTTP/1.1 200 OK\r\nX: " + String(repeating: "y", count: 1 << 20))
    },
  ]

  @Test(arguments: faultsOfTheHead) func aGetGetsItsAnswerInTheNextAttemptAndAPostDoesNot(_ fault: Fault) async throws {
    let backend = try ScriptedBackend { session in
      guard let head = try session.readHead() else { return }
      if head.method == "POST" { _ = try session.peer.read(3) }
      if session.number == 1 || head.method == "POST" { return try fault.act(session) }
      try session.peer.send(response("good", "Connection: close\r\n"))
    }
    let upstream = backend.address.text
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.http, on: "127.0.0.1:0") {
        Retry(attempts: 2, perTry: .seconds(2), backoff: .none)
      } to: {
        Upstream(upstream)
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        let client = try HTTPPeer.connect(address)
        #expect(try client.get()?.body == "good")
        let post = try client.ask("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc")
        #expect([502, 503, 504].contains(post?.status))
      }
    }
    #expect(backend.requests.map(\.head.method) == ["GET", "GET", "POST"])
  }

  // MARK: Many

  /// Two backends that fail in every way, asked by several clients: what comes to them is counted there.
  @Test func withAllBackendsFailingRetriesAddAtMostTheBudget() async throws {
    let backends = try (0..<2).map { _ in
      try ScriptedBackend { session in
        while try session.readHead() != nil {
          if session.number % 3 == 0 { return session.peer.peer.reset() }
          if session.number % 3 == 1 { return }
          try session.peer.send(response("busy", status: "503 Busy"))
        }
      }
    }
    let upstreams = backends.map(\.address.text)
    let retry = Retry(attempts: 3, on: [503], backoff: .none)
    try await withServer(options: { $0.workers = 2 }) {
      Listener(.http, on: "127.0.0.1:0") {
        retry
      } to: {
        Upstreams(.roundRobin, backends: upstreams.map { Backend($0) })
      }
    } body: { server in
      let address = server.address()
      let start = ContinuousClock.now
      let (clients, requests) = (4, 300)
      let box = Box(Mutex<[Int]>([]))
      try await withThrowingTaskGroup { group in
        for _ in 0..<clients {
          group.addTask {
            try await onThread {
              let client = try HTTPPeer.connect(address)
              for _ in 0..<requests {
                let status = try client.get()?.status ?? 0
                box.value.withLock { $0.append(status) }
              }
            }
          }
        }
        try await group.waitForAll()
      }
      let seconds = (ContinuousClock.now - start) / Duration.seconds(1)
      let seen = backends.map(\.requests.count).reduce(0, +)
      let sent = clients * requests
      #expect(box.value.withLock { $0.count { $0 == 502 || $0 == 503 } } == sent)
      // One second's worth of the reserve may be used at once.
      #expect(Double(seen - sent) <= 0.2 * Double(sent) + 10 * (seconds + 1))
      // And retries there were.
      #expect(Double(seen - sent) >= 0.2 * Double(sent) * 0.9)
      #expect(retry.report().withoutBudget > 0)
    }
  }
}

/// What several threads look at.
private final class Box<Value: ~Copyable & Sendable>: Sendable {
  let value: Value
  init(_ value: consuming Value) { self.value = value }
}
