import CShim
import Glibc
import Pipeline
import Testing

@testable import Transports

@Suite struct DialerTests {
  /// Dials once and says how it ended.
  private func dial(
    _ addresses: [SocketAddress], timeout: Duration = .seconds(5), options: DialOptions = DialOptions()
  ) async throws -> Result<SocketAddress?, any Error> {
    let outcome = Mailbox<Result<SocketAddress?, any Error>>()
    let fixture = try await EngineFixture(EngineOptions(loops: 1, dialing: options)) { connection in
      do {
        let destination = try AddressPolicy.anything.approve(addresses)
        let stream = try await connection.connect(to: destination, timeout: timeout)
        outcome.put(.success(stream.remoteAddress))
        stream.close()
      } catch {
        outcome.put(.failure(error))
      }
    }
    let client = try BlockingPeer.connect(fixture.address)
    let result = try #require(await outcome.next())
    _ = await fixture.ended.next()
    client.close()
    await fixture.stopAndExpectNothingLeft()
    return result
  }

  private func closedPort() throws -> SocketAddress {
    let origin = try BlockingOrigin()
    return origin.address
  }

  @Test func aRefusedConnectionIsReportedAsRefused() async throws {
    let result = try await dial([closedPort()])
    let rejection = #expect(throws: Rejection.self) { try result.get() }
    #expect(rejection?.kind == .connectionRefused)
    #expect(rejection?.retry == .safe)
  }

  @Test func aSilentDestinationEndsAtTheTimeout() async throws {
    let full = try FarSide.Full()
    let began = Loop.preciseNow
    let result = try await dial([full.address], timeout: .milliseconds(30))
    let rejection = #expect(throws: Rejection.self) { try result.get() }
    #expect(rejection?.kind == .connectTimeout)
    #expect(Loop.preciseNow - began >= .milliseconds(30))
  }

  @Test func theNextAddressIsTriedWhenTheFirstRefuses() async throws {
    let origin = try BlockingOrigin()
    let refusing = SocketAddress.ip(IPAddress(v4: 0x7f00_0009), port: origin.address.port)
    let result = try await dial([refusing, origin.address])
    #expect(try result.get() == origin.address)
  }

  @Test func theNextAddressIsTriedWhenTheFirstIsSilentForTheDelay() async throws {
    let full = try FarSide.Full()
    let port = full.address.port
    // Another listener on the same port of another loopback address.
    let answering = try BlockingOrigin(.ip(IPAddress(v4: 0x7f00_0007), port: port))
    let began = Loop.preciseNow
    let result = try await dial(
      [full.address, answering.address], options: DialOptions(attemptDelay: .milliseconds(25)))
    #expect(try result.get() == answering.address)
    #expect(Loop.preciseNow - began >= .milliseconds(25))
  }

  @Test func ofManyFailuresTheOneThatSaysMostIsReported() async throws {
    let full = try FarSide.Full()
    let refusing = SocketAddress.ip(IPAddress(v4: 0x7f00_0009), port: full.address.port)
    let result = try await dial([full.address, refusing], timeout: .milliseconds(400))
    let rejection = #expect(throws: Rejection.self) { try result.get() }
    #expect(rejection?.kind == .connectionRefused)
  }

  @Test func aMissingUnixSocketIsRefused() async throws {
    let result = try await dial([.unix("/tmp/sluice-nobody-\(getpid()).sock")])
    let rejection = #expect(throws: Rejection.self) { try result.get() }
    #expect(rejection?.kind == .connectionRefused)
  }

  @Test func theSourceAddressIsTheOneThatWasAskedFor() async throws {
    let origin = try BlockingOrigin()
    let source = IPAddress(v4: 0x7f00_0005)
    async let peer = onThread { try origin.accept() }
    let result = try await dial([origin.address], options: DialOptions(sourceAddress: source))
    #expect(try result.get() == origin.address)
    let seen = SocketAddress.ask(try await peer.fd) { getpeername($0, $1, $2) }
    // The peer may have closed already, when the kernel has forgotten the address.
    if case .ip(let address, _)? = seen { #expect(address == source) }
  }
}

extension AddressPolicy {
  /// Approves socket addresses that share one port, or one Unix socket.
  func approve(_ addresses: [SocketAddress]) throws -> ApprovedDestination {
    guard case .ip(let first, let port)? = addresses.first else { return .unixSocket(addresses[0].unixPath) }
    let hosts = addresses.compactMap { address in
      if case .ip(let host, _) = address { host } else { nil }
    }
    return try approve(Endpoint(.ip(first), port: port), resolved: hosts)
  }
}
