import Foundation
import Pipeline
import RealPrograms
import Testing

@testable import Transports

/// Through far proxies that others wrote.
@Suite struct RealProxyTests {
  private func reaches(_ via: Via, _ origin: SocketAddress) async throws -> UInt8? {
    let codes = Mailbox<UInt8?>()
    try await withServer {
      Listener(.socks5, on: "127.0.0.1:0") {
      } to: {
        via
      }.connectTimeout(.seconds(30))
    } body: { server in
      let proxy = server.address()
      try await onThread {
        let (client, reply) = try SOCKS5Client.connect(through: proxy, to: origin)
        if reply?.code == 0 {
          // In pieces and without a half-close: these two proxies end both directions when one ends.
          for seed in 1...20 {
            let message = noise(10_000, seed: UInt64(seed))
            try client.peer.send(message)
            let isSame = try client.peer.receive(exactly: message.count) == message
            #expect(isSame)
          }
        }
        codes.put(reply?.code)
      }
    }
    return await codes.next() ?? nil
  }

  @Test(.enabled(if: RealProgram.exists("microsocks")))
  func microsocksTakesOurLoginAndRefusesAnother() async throws {
    let origin = try TestOrigin.echo()
    let port = try RealProgram.freePort()
    let program = try RealProgram(
      ["microsocks", "-i", "127.0.0.1", "-p", "\(port)", "-u", "ann", "-P", "secret"], ready: nil)
    try RealProgram.awaitListener(on: port)
    let place = "127.0.0.1:\(port)"
    #expect(try await reaches(Via(.socks5(place, user: "ann", password: "secret")), origin.address) == 0)
    #expect(try await reaches(Via(.socks5(place, user: "ann", password: "wrong")), origin.address) == 1)
    #expect(try await reaches(Via(.socks5(place)), origin.address) == 1)
    let closed = try BlockingOrigin().address
    #expect(try await reaches(Via(.socks5(place, user: "ann", password: "secret")), closed) == 5)
    withExtendedLifetime(program) {}
  }

  /// Configurations of tinyproxy are files.
  private func tinyproxy(_ lines: String) throws -> (program: RealProgram, port: UInt16, path: String) {
    let port = try RealProgram.freePort()
    let path = "/tmp/sluice-tinyproxy-\(getpid())-\(port)"
    try "Port \(port)\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nAllow 127.0.0.1\n\(lines)\n"
      .write(toFile: path, atomically: true, encoding: .utf8)
    let program = try RealProgram(["tinyproxy", "-d", "-c", path], ready: nil)
    try RealProgram.awaitListener(on: port)
    return (program, port, path)
  }

  @Test(.enabled(if: RealProgram.exists("tinyproxy")))
  func tinyproxyTakesOurLoginTunnelsAndRequestsInAbsoluteForm() async throws {
    let origin = try TestOrigin.echo()
    let (program, port, path) = try tinyproxy("BasicAuth ann secret\nViaProxyName \"tiny\"")
    defer { unlink(path) }
    let place = "127.0.0.1:\(port)"
    #expect(try await reaches(Via(.http(place, user: "ann", password: "secret")), origin.address) == 0)
    #expect(try await reaches(Via(.http(place, user: "ann", password: "wrong")), origin.address) == 1)

    let web = try ScriptedBackend.answering(response("far"))
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
      } to: {
        Via(.http(place, user: "ann", password: "secret", resolvesNames: true))
      }
    } body: { server in
      let address = server.address()
      let target = web.address.text
      try await onThread {
        let client = try HTTPPeer.connect(address)
        for _ in 0..<2 {
          let answer = try client.ask("GET http://\(target)/x HTTP/1.1\r\nHost: \(target)\r\n\r\n")
          #expect(answer?.status == 200)
          #expect(answer?.body == "far")
        }
      }
    }
    #expect(web.requests.allSatisfy { $0.head["via"].first?.contains("tiny") == true })
    #expect(web.requests.allSatisfy { $0.head["proxy-authorization"] == [] })
    withExtendedLifetime(program) {}
  }

  @Test(.enabled(if: RealProgram.exists("tinyproxy") && RealProgram.exists("microsocks")))
  func realProxiesOfBothKindsAreChained() async throws {
    let origin = try TestOrigin.echo()
    let (http, httpPort, path) = try tinyproxy("")
    defer { unlink(path) }
    let socksPort = try RealProgram.freePort()
    let socks = try RealProgram(["microsocks", "-i", "127.0.0.1", "-p", "\(socksPort)"], ready: nil)
    try RealProgram.awaitListener(on: socksPort)
    let (far, near) = (FarProxy.http("127.0.0.1:\(httpPort)"), FarProxy.socks5("127.0.0.1:\(socksPort)"))
    #expect(try await reaches(Via(far, near), origin.address) == 0)
    #expect(try await reaches(Via(near, far), origin.address) == 0)
    withExtendedLifetime((http, socks)) {}
  }
}
