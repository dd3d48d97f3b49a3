import Pipeline
import Testing

@testable import Transports

/// What keeps a server from starting is said before anything listens, in one sentence each.
@Suite struct StartingTests {
  private func start(
    options: ServerOptions = ServerOptions(), @ProxyBuilder _ app: () -> some Proxy
  ) -> String {
    do {
      _ = try Server(app(), options: options)
      return "started"
    } catch {
      return "\(error)"
    }
  }

  @Test(arguments: ["127.0.0.1:0", "[::1]:0"]) func aSecondStartFindsTheAddressInUse(listen: String) async throws {
    try await withServer {
      Listener(.socks5, on: listen) {
      } to: {
        Direct()
      }
    } body: { server in
      let address = server.address()
      let second = start {
        Listener(.socks5, on: "\(address)", name: "second") {
        } to: {
          Direct()
        }
      }
      #expect(second == "second: address in use: \(address)")
    }
  }

  @Test func aUnixSocketThatAnswersIsInUse() async throws {
    let path = "unix:/tmp/sluice-\(UInt64.random(in: 0 ... .max)).sock"
    try await withServer {
      Listener(.socks5, on: path) {
      } to: {
        Direct()
      }
    } body: { _ in
      #expect(
        start {
          Listener(.socks5, on: path) {
          } to: {
            Direct()
          }
        } == "socks5: address in use: \(path)")
    }
    #expect(
      start {
        Listener(.socks5, on: path) {
        } to: {
          Direct()
        }
      } == "started")
  }

  @Test func eitherEveryAddressIsBoundOrNone() throws {
    let taken = try BlockingOrigin()
    let free = try BlockingOrigin().address
    let failure = start {
      Listener(.socks5, on: "\(free)", name: "first") {
      } to: {
        Direct()
      }
      Listener(.tcp, on: "\(taken.address)", name: "second") {
      } to: {
        Upstream("127.0.0.1:9")
      }
    }
    #expect(failure == "second: address in use: \(taken.address)")
    #expect(
      start {
        Listener(.socks5, on: "\(free)") {
        } to: {
          Direct()
        }
      } == "started")
  }

  @Test func everyMistakeIsSaidAtOnce() {
    let failure = start {
      Listener(.socks5, on: "8001", name: "a") {
      } to: {
        Direct()
      }
      Listener(.tcp, on: "127.0.0.1:0", name: "b") {
      } to: {
        Direct()
      }
      Listener(.tcp, on: "127.0.0.1:0") {
      } to: {
        Upstream("nowhere")
      }.maxConnections(0)
      Listener(.tcp, on: "127.0.0.1:0") {
      } to: {
        Upstream("127.0.0.1:0")
      }
    }
    #expect(
      failure == """
        a: "8001" is no address to listen on: write 127.0.0.1:1080, [::1]:1080, :1080 or unix:/path
        b: direct: a TCP client names no destination: write Upstream("host:port") instead of Direct()
        tcp: maxConnections 0; allowed is 1 or more
        tcp: upstream: "nowhere" is no address: write host:port, 1.2.3.4:port, [::1]:port or unix:/path
        tcp: upstream: 127.0.0.1:0: port 0 cannot be dialled; allowed are 1...65535
        """)
  }

  @Test func optionsOutsideTheirRangeAreRefused() {
    var options = ServerOptions()
    options.workers = 0
    options.maxConnections = 0
    options.grace = .seconds(-1)
    let failure = start(options: options) {
      Listener(.socks5, on: "127.0.0.1:0") {
      } to: {
        Direct()
      }
    }
    #expect(
      failure == """
        workers: 0; allowed are 1...1024
        maxConnections: 0; allowed is 1 or more
        grace: -1.0 seconds; allowed is 0 or more
        """)
  }

  @Test func aTransportThatNobodyServesIsRefused() {
    let failure = start {
      Listener(TransportKind<TCPExchange>("tcp"), on: "127.0.0.1:0") {
      } to: {
        Upstream("127.0.0.1:9")
      }
      Listener(TransportKind<Telegraph>("telegraph"), on: "127.0.0.1:0", name: "wire") {
      } to: {
        Silence()
      }
    }
    #expect(failure == "wire: the transport \"telegraph\" is not served here: use .tcp, .socks5 or .http")
  }

  final class Telegraph: Exchange, TransportExchange {
    override class var transport: String { "telegraph" }
  }

  struct Silence: Destination {
    func serve(_ exchange: Telegraph) async throws -> Summary { Summary() }
  }

  @Test func listenersWithoutANameAreToldApart() async throws {
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0") {
      } to: {
        Upstream("127.0.0.1:9")
      }
      Listener(.tcp, on: "127.0.0.1:0") {
      } to: {
        Upstream("127.0.0.1:9")
      }
      Listener(.socks5, on: "127.0.0.1:0", name: "front") {
      } to: {
        Direct()
      }
    } body: { server in
      #expect(server.server.listeners.map(\.name) == ["tcp", "tcp-2", "front"])
      #expect(server.server.listeners.map(\.transport) == ["tcp", "tcp", "socks5"])
      #expect(Set(server.server.listeners.map(\.address)).count == 3)
    }
  }
}
