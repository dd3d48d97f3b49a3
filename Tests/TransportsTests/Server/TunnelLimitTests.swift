import Glibc
import Middlewares
import Pipeline
import Testing

@testable import Transports

/// Limits on tunnels over real sockets: what clients of SOCKS5 and of raw TCP see.
@Suite struct TunnelLimitTests {
  static let limit = 20
  static let clients = 60

  /// How many of many clients at once `isServed`.
  private func served(of count: Int, _ isServed: @escaping @Sendable (Int) throws -> Bool) async throws -> Int {
    try await withThrowingTaskGroup(of: Bool.self) { group in
      for number in 0..<count { group.addTask { try await onThread { try isServed(number) } } }
      return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
    }
  }

  @Test func aSOCKS5ConnectionTooManyIsAnsweredTwo() async throws {
    let origin = try TestOrigin.echo()
    try await withServer(options: { $0.workers = 2 }) {
      Listener(.socks5, on: "127.0.0.1:0") {
        TokenBucket(.perHour(Self.limit), per: .clientAddress)
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      let served = try await served(of: Self.clients) { _ in
        let (client, reply) = try SOCKS5Client.connect(through: proxy, to: origin.address)
        if reply?.code == 0 {
          try client.peer.send([7])
          return try client.peer.receive(exactly: 1) == [7]
        }
        // Not allowed by the ruleset (RFC 1928, 6), and an orderly end.
        #expect(reply?.code == 2)
        #expect(try client.peer.receiveToEnd() == [])
        return false
      }
      #expect(served == Self.limit)
    }
  }

  @Test func aLimitPerUserHoldsForEachOfThem() async throws {
    let origin = try TestOrigin.echo()
    try await withServer(options: { $0.workers = 2 }) {
      Listener(.socks5, on: "127.0.0.1:0") {
        EachUser()
        RateLimit(.perHour(5), per: .identity, algorithm: .gcra)
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      let served = try await served(of: 30) { number in
        let client = try SOCKS5Client(proxy)
        #expect(try client.greet(2) == 2)
        #expect(try client.logIn("user-\(number % 3)", "x") == 0)
        let reply = try client.request(ClientBytes.connect(origin.address))
        #expect(reply?.code == 0 || reply?.code == 2)
        return reply?.code == 0
      }
      #expect(served == 15)
    }
  }

  @Test func aTCPConnectionTooManyIsClosedWithoutAByte() async throws {
    let origin = try TestOrigin.echo()
    try await withServer(options: { $0.workers = 2 }) {
      Listener(.tcp, on: "127.0.0.1:0") {
        TokenBucket(.perHour(Self.limit), per: .clientAddress)
      } to: {
        Upstream("\(origin.address)")
      }
    } body: { server in
      let proxy = server.address()
      let served = try await served(of: Self.clients) { _ in
        do {
          let client = try BlockingPeer.connect(proxy)
          try client.send([7])
          return try client.receive(exactly: 1) == [7]
        } catch let error as SystemError where error.code == ECONNRESET || error.code == EPIPE {
          // The byte that nobody reads makes the kernel's close a reset.
          return false
        }
      }
      #expect(served == Self.limit)
    }
  }

  @Test func aConnectionThatMayWaitIsServedAfterTheOthers() async throws {
    let origin = try TestOrigin.echo()
    try await withServer(options: { $0.workers = 1 }) {
      Listener(.tcp, on: "127.0.0.1:0") {
        RateLimit(.perSecond(50, burst: 1), per: .clientAddress, when: .wait(max: .seconds(60)))
      } to: {
        Upstream("\(origin.address)")
      }
    } body: { server in
      let proxy = server.address()
      let served = try await served(of: 10) { _ in
        let client = try BlockingPeer.connect(proxy)
        try client.send([7])
        return try client.receive(exactly: 1) == [7]
      }
      #expect(served == 10)
    }
  }

  /// Takes every name, whatever the password.
  private struct EachUser: Authenticator {
    typealias Carrier = PasswordExchange

    var uses: Uses { .password }

    func authenticate(_ exchange: PasswordExchange) async throws -> Principal {
      guard let credentials = try await exchange.credentials() else { throw Rejection(.credentialsRequired) }
      return Principal(String(decoding: credentials.user, as: UTF8.self))
    }
  }
}
