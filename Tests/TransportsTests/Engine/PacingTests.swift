import CShim
import Glibc
import Pipeline
import Testing

@testable import Transports

@Suite struct PacingTests {
  @Test(arguments: ["bbr", "bbr2", "bbr3"])
  func whatPacesIsReplacedOnLoopback(name: String) throws {
    #expect(try #require(Pacing.loopbackChoice(insteadOf: name)).description == "reno")
  }

  @Test(arguments: ["cubic", "reno", "dctcp", ""])
  func whatDoesNotPaceStays(name: String) {
    #expect(Pacing.loopbackChoice(insteadOf: name) == nil)
  }

  /// What this machine is set to, and what shall come of it on loopback.
  private func choices() throws -> (system: String, loopback: String) {
    // A socket that none of our code has touched.
    let untouched = shim_stream_socket(AF_INET)
    defer { close(untouched) }
    let system = try #require(Pacing.congestionControl(of: untouched))
    return (system, Pacing.loopbackChoice(insteadOf: system)?.description ?? system)
  }

  @Test(arguments: [IPAddress.loopbackV4, .loopbackV6])
  func bothSidesOfAConnectionWithinThisMachineAreNotPaced(host: IPAddress) async throws {
    let expected = try choices().loopback
    let origin = try BlockingOrigin(.ip(host, port: 0))
    let names = Mailbox<[String?]>()
    let fixture = try await EngineFixture(on: .ip(host, port: 0)) { connection in
      let upstream = try await connection.connect(
        to: AddressPolicy.anything.approve([origin.address]), timeout: .seconds(5))
      names.put(
        [connection.client, upstream].map { ($0 as? Socket).flatMap { Pacing.congestionControl(of: $0.descriptor) } })
      upstream.close()
    }
    let client = try BlockingPeer.connect(fixture.address)
    #expect(await names.next() == [expected, expected])
    _ = await fixture.ended.next()
    client.close()
    await fixture.stopAndExpectNothingLeft()
  }

  /// Their clients come from everywhere.
  @Test(arguments: [IPAddress.anyV4, .anyV6])
  func whatListensOnEveryAddressKeepsTheChoiceOfTheSystem(host: IPAddress) throws {
    let system = try choices().system
    let listening = try Listening.open(.ip(host, port: 0), count: 1)
    #expect(Pacing.congestionControl(of: listening.descriptors[0].number) == system)
  }
}
