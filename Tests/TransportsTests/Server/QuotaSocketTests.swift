import Middlewares
import Pipeline
import Testing

@testable import Transports

/// Quotas over real sockets, on every transport.
@Suite struct QuotaSocketTests {
  private static let user = UsageAccount.identity(Principal("fierceRabbit"))
  private static let basic = "ZmllcmNlUmFiYml0OnNlY3JldFRoaWNrZXQ="
  /// What a quota may be exceeded by, for each live connection.
  private static let slack = 64 * 1024

  private static func used(_ store: QuotaStore, _ name: String, _ account: UsageAccount = user) -> Int {
    store.report(of: account)?.quotas.first { $0.name == name }?.used ?? 0
  }

  /// 1,000 connections ask at the same time: exactly as many as the quota has get through, whoever they are.
  @Test func aUserWithAHundredRequestsGetsExactlyAHundredOfAThousand() async throws {
    let store = QuotaStore()
    let origin = try TestOrigin { peer in _ = try peer.receive() }
    let usage = MemoryUsageStore()
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
        UsageTracking(usage)
        OneUser()
        UsageQuota(.requests(100, per: .forever), per: .identity, in: store)
      } to: {
        Direct()
      }
    } body: { server in
      let proxy = server.address()
      let target = origin.address
      let codes = try await withThrowingTaskGroup(of: [UInt8].self) { group in
        for _ in 0..<20 {
          group.addTask { try await onThread { try Self.ask(proxy, for: target, times: 50) } }
        }
        return try await group.reduce(into: [UInt8: Int]()) { counts, codes in
          for code in codes { counts[code, default: 0] += 1 }
        }
      }
      #expect(codes == [0: 100, 2: 900])
    }
    #expect(Self.used(store, "requests/ever") == 100)
    #expect(usage.totals(of: Self.user)?.usage.requests == 1000)
    #expect(usage.totals(of: Self.user)?.usage.refused == 900)
  }

  /// Opens so many connections at once, and says what each was told.
  private static func ask(_ proxy: SocketAddress, for target: SocketAddress, times: Int) throws -> [UInt8] {
    let clients = try (0..<times).map { _ in
      let client = try SOCKS5Client(proxy)
      try client.peer.send(
        [5, 1, 2] + ClientBytes.login("fierceRabbit", "secretThicket") + ClientBytes.connect(target))
      return client
    }
    return try clients.compactMap { client in
      guard try client.answer(5) == 2, try client.answer(1) == 0 else { return nil }
      return try client.reply()?.code
    }
  }

  // MARK: Bytes

  private static func flood(_ peer: BlockingPeer) throws {
    let piece = [UInt8](repeating: 7, count: 256 * 1024)
    // 1 GB.
    for _ in 0..<4096 { try peer.send(piece) }
  }

  /// Reads until the end, which a cut makes a reset.
  private static func drain(_ peer: BlockingPeer) -> Int {
    var count = 0
    while let bytes = try? peer.receive(upTo: 256 * 1024), !bytes.isEmpty { count += bytes.count }
    return count
  }

  /// Runs so many downloads at once and compares what came, and what was counted, with the quota.
  private func expectEnded(
    _ connections: Int, account: UsageAccount = user, @ProxyBuilder app: (QuotaStore) -> some Proxy,
    download: @escaping @Sendable (SocketAddress) throws -> Int
  ) async throws {
    let limit = 10_000_000
    let store = QuotaStore()
    try await withServer {
      app(store)
    } body: { server in
      let proxy = server.address()
      let received = try await withThrowingTaskGroup(of: Int.self) { group in
        for _ in 0..<connections { group.addTask { try await onThread { try download(proxy) } } }
        return try await group.reduce(0, +)
      }
      #expect(received > 0)
      #expect(received <= limit + connections * Self.slack, "\(received)")
    }
    let used = Self.used(store, "bytes/day", account)
    #expect(used >= limit && used <= limit + connections * Self.slack, "\(used)")
  }

  private static func quota(_ store: QuotaStore) -> UsageQuota<IdentityKey> {
    UsageQuota(.bytes(10_000_000, per: .day), per: .identity, in: store)
  }

  @Test(arguments: [1, 5]) func aDownloadOverSOCKS5EndsAtTheQuota(_ connections: Int) async throws {
    let origin = try TestOrigin { try Self.flood($0) }
    let target = origin.address
    try await expectEnded(connections) { store in
      Listener(.socks5, on: "127.0.0.1:0") {
        OneUser()
        Self.quota(store)
      } to: {
        Direct()
      }
    } download: { proxy in
      let client = try SOCKS5Client(proxy)
      #expect(try client.greet(2) == 2)
      #expect(try client.logIn("fierceRabbit", "secretThicket") == 0)
      // One that comes when the others have used it up is refused.
      guard try client.request(ClientBytes.connect(target))?.code == 0 else { return 0 }
      return Self.drain(client.peer)
    }
  }

  @Test(arguments: [1, 5]) func aDownloadOverTCPEndsAtTheQuota(_ connections: Int) async throws {
    let origin = try TestOrigin { try Self.flood($0) }
    try await expectEnded(connections, account: .identity(Principal("here"))) { store in
      Listener(.tcp, on: "127.0.0.1:0") {
        ClientAddressAuth(.block("127.0.0.0/8", as: "here"))
        Self.quota(store)
      } to: {
        Upstream(origin.address.text)
      }
    } download: { proxy in
      Self.drain(try BlockingPeer.connect(proxy))
    }
  }

  @Test(arguments: [1, 5]) func aDownloadOverCONNECTEndsAtTheQuota(_ connections: Int) async throws {
    let origin = try TestOrigin { try Self.flood($0) }
    let target = origin.address.text
    try await expectEnded(connections) { store in
      Listener(.http, on: "127.0.0.1:0") {
        OneUser()
        Self.quota(store)
      } to: {
        Direct()
      }
    } download: { proxy in
      let client = try HTTPPeer.connect(proxy)
      let fields = "Host: \(target)\r\nProxy-Authorization: Basic \(Self.basic)\r\n\r\n"
      try client.send("CONNECT \(target) HTTP/1.1\r\n\(fields)")
      guard try client.readHead()?.status == 200 else { return 0 }
      return Self.drain(client.peer)
    }
  }

  @Test(arguments: [1, 5]) func aDownloadOverHTTPEndsAtTheQuota(_ connections: Int) async throws {
    let web = try ScriptedBackend { session in
      _ = try session.readHead()
      try session.peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
      try Self.flood(session.peer.peer)
    }
    try await expectEnded(connections) { store in
      Listener(.http, on: "127.0.0.1:0") {
        OneUser()
        Self.quota(store)
      } to: {
        Upstream(web.address.text)
      }
    } download: { proxy in
      let client = try HTTPPeer.connect(proxy)
      try client.send("GET / HTTP/1.1\r\nHost: t\r\nAuthorization: Basic \(Self.basic)\r\n\r\n")
      return Self.drain(client.peer)
    }
  }

  /// Small requests on kept connections, which ask no meter for their first bytes while the limit is far.
  @Test func manySmallRequestsEndAtTheQuotaToo() async throws {
    let limit = 30_000_000
    let store = QuotaStore()
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
        OneUser()
        UsageQuota(.bytes(limit, per: .day), per: .identity, in: store)
      } to: {
        Respond(200, String(repeating: "x", count: 50_000))
      }
    } body: { server in
      let proxy = server.address()
      let served = try await withThrowingTaskGroup(of: Int.self) { group in
        for _ in 0..<4 {
          group.addTask {
            try await onThread {
              let client = try HTTPPeer.connect(proxy)
              var served = 0
              let request = "GET / HTTP/1.1\r\nHost: t\r\nAuthorization: Basic \(Self.basic)\r\n\r\n"
              while let answer = try? client.ask(request), answer.status == 200, answer.isWhole { served += 1 }
              return served
            }
          }
        }
        return try await group.reduce(0, +)
      }
      #expect(served * 50_000 <= limit)
      #expect(served >= 580, "\(served)")
    }
    let used = Self.used(store, "bytes/day")
    #expect(used >= limit && used <= limit + 4 * Self.slack, "\(used)")
  }
}
