import Glibc
import Pipeline
import Testing

@testable import Transports

@Suite struct OpenExchangesTests {
  @Test func pagesTogetherNameEveryTunnelOnce() async throws {
    let origin = try TestOrigin { connection in _ = try connection.receive(exactly: 1) }
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0", name: "relay") {
      } to: {
        Upstream("\(origin.address)")
      }
    } body: { server in
      let peers = try (0..<25).map { _ in try BlockingPeer.connect(server.address()) }
      defer { for peer in peers { peer.close() } }
      var all: [ExchangeReport] = []
      while all.count < 25 || all.contains(where: { $0.upstream == nil }) {
        all = await server.server.openExchanges()
        await Task.yield()
      }
      #expect(all.map(\.id) == all.map(\.id).sorted() && Set(all.map(\.id)).count == 25)
      var paged: [UInt64] = []
      while true {
        let page = await server.server.openExchanges(after: paged.last ?? 0, limit: 7)
        #expect(page.count <= 7)
        if page.isEmpty { break }
        paged += page.map(\.id)
      }
      #expect(paged == all.map(\.id))
      let chosen = all[20].id
      let found = await server.server.openExchanges(limit: 7) { $0.id == chosen }
      #expect(found.map(\.id) == [chosen])
    }
  }

  @Test func aUnixSocketIsForWhomItsModeNames() async throws {
    let path = "/tmp/sluice-mode-\(getpid())"
    // A mask that takes nothing away shows that the mode is not left to it.
    let mask = umask(0)
    defer { umask(mask) }
    try await withServer {
      Listener(.tcp, on: "unix:\(path)") {
      } to: {
        Upstream("127.0.0.1:1")
      }.unixSocketMode(0o600)
    } body: { _ in
      var status = stat()
      #expect(lstat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    }
  }
}
