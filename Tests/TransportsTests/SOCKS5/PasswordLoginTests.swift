import Middlewares
import Pipeline
import Synchronization
import Testing

@testable import Transports

/// Passwords over real sockets and a real pool, with a hash that takes as long as a test wants.
@Suite struct PasswordLoginTests {
  @Test func threeHundredEqualLoginsAreOneVerificationAndStopNoLoop() async throws {
    let verifier = SlowVerifier()
    let users = try UserTable(verifier: verifier, [.init(name: "ann", password: "secret", hashedBy: verifier)])
    let origin = try TestOrigin.echo()
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0", name: "named") {
        PasswordAuth(users)
      } to: {
        Direct()
      }
      Listener(.socks5, on: "127.0.0.1:0", name: "open") {
      } to: {
        Direct()
      }
    } body: { server in
      let named = server.address("named")
      let open = server.address("open")
      try await onThread {
        let clients = try (0..<300).map { _ in try SOCKS5Client(named) }
        for client in clients {
          #expect(try client.greet(2) == 2)
          try client.peer.send(ClientBytes.login("ann", "secret"))
        }
        verifier.awaitBegun()
        // Both loops serve others while the password is being verified.
        for _ in 0..<8 {
          let (other, reply) = try SOCKS5Client.connect(through: open, to: origin.address)
          #expect(reply?.code == 0)
          other.peer.close()
        }
        verifier.release()
        for client in clients {
          #expect(try client.answer(1) == 0)
          client.peer.close()
        }
      }
    }
    #expect(verifier.verifications == 1)
  }

  @Test func aClientThatGoesAwayWhileAnotherIsVerifiedForItIsLetGoAtOnce() async throws {
    let verifier = SlowVerifier()
    let users = try UserTable(verifier: verifier, [.init(name: "ann", password: "secret", hashedBy: verifier)])
    let events = Mailbox<Witness.Event>()
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        Witness(events: events)
        PasswordAuth(users)
      } to: {
        Direct()
      }
    } body: { server in
      let address = server.address()
      let leader = try await onThread {
        let client = try SOCKS5Client(address)
        #expect(try client.greet(2) == 2)
        try client.peer.send(ClientBytes.login("ann", "secret"))
        verifier.awaitBegun()
        return client
      }
      try await onThread {
        let client = try SOCKS5Client(address)
        #expect(try client.greet(2) == 2)
        try client.peer.send(ClientBytes.login("ann", "secret"))
        client.peer.reset()
      }
      guard case .rejected(_, let kind, _) = await events.nextEnd() else {
        Issue.record("the client that went away was not let go")
        return
      }
      #expect(kind == .clientGone)
      verifier.release()
      let status = try await onThread { try leader.answer(1) }
      #expect(status == 0)
    }
    #expect(verifier.verifications == 1)
  }

  @Test func namesAreResolvedWhilePasswordsFillTheirPool() async throws {
    let verifier = SlowVerifier()
    let users = try UserTable(verifier: verifier, [.init(name: "ann", password: "secret", hashedBy: verifier)])
    let origin = try TestOrigin.echo()
    guard case .ip(_, let port) = origin.address else { return }
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0", name: "named") {
        PasswordAuth(users)
      } to: {
        Direct()
      }
      Listener(.socks5, on: "127.0.0.1:0", name: "open") {
      } to: {
        Direct()
      }
    } body: { server in
      let named = server.address("named")
      let open = server.address("open")
      try await onThread {
        // More guesses, each of them another, than the pool has threads.
        let guessers = try (0..<8).map { index in
          let client = try SOCKS5Client(named)
          #expect(try client.greet(2) == 2)
          try client.peer.send(ClientBytes.login("user\(index)", "guess"))
          return client
        }
        verifier.awaitBegun(4)
        let client = try SOCKS5Client(open)
        #expect(try client.greet(0) == 0)
        #expect(try client.request(ClientBytes.connect(name: "localhost", port: port))?.code == 0)
        verifier.release()
        for guesser in guessers { #expect(try guesser.answer(1) != 0) }
      }
    }
  }

  @Test func aWrongPasswordIsAnsweredAndTheConnectionClosed() async throws {
    let verifier = SlowVerifier()
    verifier.release()
    let users = try UserTable(verifier: verifier, [.init(name: "ann", password: "secret", hashedBy: verifier)])
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        PasswordAuth(users)
      } to: {
        Direct()
      }
    } body: { server in
      let address = server.address()
      try await onThread {
        for (user, password) in [
          ("ann", "Secret"), ("bob", "secret"), ("\0", "\0"), (String(repeating: "n", count: 255), "x"),
        ] {
          let client = try SOCKS5Client(address)
          #expect(try client.greet(2) == 2)
          #expect(try client.logIn(user, password) != 0)
          #expect(try client.peer.receiveToEnd().isEmpty)
        }
        users.block("ann")
        let client = try SOCKS5Client(address)
        #expect(try client.greet(2) == 2)
        #expect(try client.logIn("ann", "secret") != 0)
      }
    }
  }
}

/// Compares bytes, and waits on the pool's thread until the test says go.
private final class SlowVerifier: PasswordVerifier, @unchecked Sendable {
  // Sound as Sendable: everything that changes stands under the condition's mutex.
  private let condition = Condition()
  private var begun = 0
  private var isReleased = false

  var verifications: Int {
    condition.lock()
    defer { condition.unlock() }
    return begun
  }

  /// Returns when so many verifications are under way.
  func awaitBegun(_ count: Int = 1) {
    condition.lock()
    while begun < count { condition.wait() }
    condition.unlock()
  }

  /// Lets those that are under way, and all later ones, come to an end.
  func release() {
    condition.lock()
    isReleased = true
    condition.wakeAll()
    condition.unlock()
  }

  func check(_ hash: PasswordHash) throws {}

  func hash(_ password: [UInt8]) throws -> PasswordHash { PasswordHash("\(password)") }

  func verify(_ password: [UInt8], against hash: PasswordHash) throws -> Bool {
    condition.lock()
    begun += 1
    condition.wakeAll()
    while !isReleased { condition.wait() }
    condition.unlock()
    return hash == PasswordHash("\(password)")
  }

  func digest(user: [UInt8], password: [UInt8]) -> PasswordDigest {
    PasswordDigest((UInt64(user.count), UInt64(password.count), fold(user), fold(password)))
  }

  private func fold(_ bytes: [UInt8]) -> UInt64 { bytes.reduce(7) { $0 &* 1_099_511_628_211 ^ UInt64($1) } }
}
