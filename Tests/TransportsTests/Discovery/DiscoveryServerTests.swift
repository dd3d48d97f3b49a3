import Foundation
import Pipeline
import RealPrograms
import Synchronization
import Testing

@testable import Transports

/// Backends that come and go while a server serves.
@Suite struct DiscoveryServerTests {
  /// Origins on 127.0.0.1, 127.0.0.2, … and one port: each says its last number, and then is an echo.
  private func origins(_ count: UInt8) throws -> [TestOrigin] {
    var port: UInt16 = 0
    return try (1...count).map { number in
      let origin = try TestOrigin(.ip(IPAddress(v4: 0x7f00_0000 + UInt32(number)), port: port)) { peer in
        try peer.send([number])
        while case let bytes = try peer.receive(), !bytes.isEmpty { try peer.send(bytes) }
      }
      port = origin.address.port
      return origin
    }
  }

  /// A path that is free, and gone after the test.
  private final class TemporaryFile: Sendable {
    let path = "/tmp/sluice-discovery-\(getpid())-\(UInt64.random(in: 0 ... .max))"

    init(_ text: String) throws { try write(text) }

    /// By a rename.
    func write(_ text: String) throws { try text.write(toFile: path, atomically: true, encoding: .utf8) }

    deinit { unlink(path) }
  }

  private func withTCP(
    _ upstreams: Upstreams, body: (RunningServer, SocketAddress) async throws -> Void
  ) async throws {
    try await withServer {
      Listener(.tcp, on: "127.0.0.1:0", name: "in") {
      } to: {
        upstreams
      }.connectTimeout(.seconds(30))
    } body: { server in
      try await body(server, server.address())
    }
  }

  /// Who greets so many new connections.
  private func greetings(_ address: SocketAddress, _ count: Int) async throws -> [UInt8] {
    try await onThread {
      try (0..<count).flatMap { _ in try BlockingPeer.connect(address).receive(exactly: 1) }
    }
  }

  /// A tunnel to the origin with this number.
  private func tunnel(_ address: SocketAddress, to number: UInt8) async throws -> BlockingPeer {
    try await onThread {
      for _ in 0..<50 {
        let client = try BlockingPeer.connect(address)
        if try client.receive(exactly: 1) == [number] { return client }
      }
      throw ProgramFailure(description: "nobody greets with \(number)")
    }
  }

  private func isEcho(_ client: BlockingPeer) async throws -> Bool {
    try await onThread {
      try client.send([1, 2, 3])
      return try client.receive(exactly: 3) == [1, 2, 3]
    }
  }

  // MARK: A real name server

  private func dnsmasq(_ hosts: TemporaryFile, _ more: String...) throws -> (program: RealProgram, server: String) {
    let port = try RealProgram.freePort()
    chmod(hosts.path, 0o644)
    let words =
      [
        "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--addn-hosts=\(hosts.path)",
        "--port=\(port)", "--listen-address=127.0.0.1", "--bind-interfaces", "--local-ttl=0", "--local=/test/",
      ] + more
    return (try RealProgram(words, ready: "started, version"), "127.0.0.1:\(port)")
  }

  @Test(.enabled(if: RealProgram.exists("dnsmasq")))
  func addressesOfARealNameServerComeAndGoAndNoConnectionIsDropped() async throws {
    let origins = try origins(2)
    let port = origins[0].address.port
    let hosts = try TemporaryFile("127.0.0.1 web.test\n127.0.0.2 web.test\n")
    var dns = try Optional(dnsmasq(hosts))
    let server = try #require(dns?.server)
    let upstreams = Upstreams(
      .roundRobin, from: .dns("web.test:\(port)", atLeast: .milliseconds(50), servers: [server]), named: "web")
    try await withTCP(upstreams) { server, address in
      // The first one comes before anything is known, and waits.
      #expect(Set(try await greetings(address, 4)) == [1, 2])
      let tunnel = try await tunnel(address, to: 2)

      try hosts.write("127.0.0.1 web.test\n")
      chmod(hosts.path, 0o644)
      dns?.program.signal("HUP")
      #expect(
        await server.nextLine { $0 == "upstreams web: 127.0.0.2:\(port): removed: dns web.test:\(port)" } != nil)
      #expect(try await isEcho(tunnel))
      #expect(try await greetings(address, 4) == [1, 1, 1, 1])
      #expect(upstreams.group.report().backends.map(\.name) == ["127.0.0.1:\(port)"])

      try hosts.write("127.0.0.2 web.test\n127.0.0.1 web.test\n")
      chmod(hosts.path, 0o644)
      dns?.program.signal("HUP")
      #expect(await server.nextLine { $0 == "upstreams web: 127.0.0.2:\(port): added: dns web.test:\(port)" } != nil)
      #expect(Set(try await greetings(address, 4)) == [1, 2])

      // The name server dies: the last list stays.
      dns = nil
      #expect(await server.nextLine { $0.hasSuffix("; the last list stays") } != nil)
      #expect(Set(try await greetings(address, 4)) == [1, 2])
      #expect(try await isEcho(tunnel))
    }
  }

  @Test(.enabled(if: RealProgram.exists("dnsmasq")))
  func theServiceRecordsOfARealNameServerSayPortAndWeight() async throws {
    let origins = try origins(2)
    let port = origins[0].address.port
    let hosts = try TemporaryFile("127.0.0.1 a.test\n127.0.0.2 b.test\n")
    let dns = try dnsmasq(
      hosts, "--srv-host=_web._tcp.test,a.test,\(port),1,3", "--srv-host=_web._tcp.test,b.test,\(port),1,1",
      "--srv-host=_web._tcp.test,b.test,9,2,1")
    let source = BackendSource.srv("_web._tcp.test", servers: [dns.server]) { place in
      Backend(place.address, weight: place.weight, maxConnections: 7)
    }
    let upstreams = Upstreams(.weightedRoundRobin, from: source, named: "web")
    try await withTCP(upstreams) { _, address in
      let all = try await greetings(address, 8)
      #expect(all.sorted() == [1, 1, 1, 1, 1, 1, 2, 2])
    }
    let report = upstreams.group.report()
    // The last one is a reserve: nobody was sent there, where nobody listens.
    let names = ["127.0.0.1:\(port)", "127.0.0.2:\(port)", "127.0.0.2:9"]
    #expect(Set(report.backends.map(\.name)) == Set(names))
    let seats = try names.map { name in try #require(upstreams.group.seats.first { $0.backend.name == name }) }
    #expect(seats.map(\.backend.weight) == [3, 1, 1])
    #expect(seats.map(\.backend.priority) == [0, 0, 1])
    #expect(report.backends.map(\.maxConnections) == [7, 7, 7])
    #expect(report.backends.first { $0.name == names[2] }?.totals.tries == 0)
  }

  // MARK: A file

  @Test func aFileIsFollowedAndAMistakeInItChangesNothing() async throws {
    let origins = try origins(2)
    let (one, two) = (origins[0].address.text, origins[1].address.text)
    let file = try TemporaryFile("\(one)\n\(two) name=second\n")
    let upstreams = Upstreams(.roundRobin, from: .file(file.path, every: .milliseconds(20)), named: "web")
    try await withTCP(upstreams) { server, address in
      #expect(Set(try await greetings(address, 4)) == [1, 2])
      let tunnel = try await tunnel(address, to: 2)

      try file.write("\(one)\n\(two) wait=2\n")
      let line = await server.nextLine { $0.contains("wait=2") }
      #expect(
        line
          == LogLine(
            level: .warning,
            text:
              "\(file.path):2: \"wait=2\" is no option: weight=N, priority=N, name=TEXT, max=N and queue=N are allowed; "
              + "the last list stays"))
      unlink(file.path)
      #expect(
        await server.nextLine { $0 == "\(file.path): open: No such file or directory; the last list stays" } != nil)
      #expect(Set(try await greetings(address, 4)) == [1, 2])

      try file.write("\(one)\n")
      #expect(await server.nextLine { $0 == "upstreams web: second: removed: file \(file.path)" } != nil)
      #expect(try await greetings(address, 3) == [1, 1, 1])
      #expect(try await isEcho(tunnel))
    }
  }

  @Test func whatIsWrittenDownServesUntilTheSourceSaysSomething() async throws {
    let origins = try origins(2)
    let gate = Signal()
    let two = origins[1].address.text
    let source = BackendSource.custom("catalogue") { services, publish in
      while !gate.hasFired { try await services.sleep(for: .milliseconds(5)) }
      try publish([Backend(two)])
    }
    let upstreams = Upstreams(.roundRobin, from: source, named: "web") { Backend(origins[0].address.text) }
    try await withTCP(upstreams) { server, address in
      let before = try await greetings(address, 2)
      #expect(before == [1, 1])
      gate.fire()
      #expect(await server.nextLine { $0 == "upstreams web: \(two): added: catalogue" } != nil)
      #expect(try await greetings(address, 2) == [2, 2])
    }
  }

  // MARK: Before anything is known

  @Test func whoComesBeforeTheFirstListIsRefusedWhenItTakesTooLong() async throws {
    let silent = try ScriptedNameServer { _ in [] }
    let rejections = Rejections()
    try await withServer {
      Listener(.http, on: "127.0.0.1:0") {
        rejections
      } to: {
        Upstreams(from: .dns("web.test:80", servers: ["\(silent.address)"]), named: "web")
      }.connectTimeout(.milliseconds(100))
    } body: { server in
      let address = server.address()
      let answer = try await onThread { try address.get() }
      #expect(answer?.status == 503)
      #expect(answer?.head["retry-after"] == ["1"])
    }
    #expect(
      await rejections.seen.next()?.detail
        == "web: no backend is known yet: dns web.test:80 has said nothing for 0.1 seconds")
  }

  @Test func aSourceThatFailsIsStartedAgainAndAListThatCannotBeUsedChangesNothing() async throws {
    let origins = try origins(1)
    let one = origins[0].address.text
    struct Broken: Error {}
    let shared = Shared()
    let source = BackendSource.custom("catalogue") { services, publish in
      if shared.count() == 1 { throw Broken() }
      #expect(throws: UpstreamError.self) { try publish([Backend("nonsense")]) }
      try publish([Backend(one)])
    }
    try await withTCP(Upstreams(from: source, named: "web")) { server, address in
      #expect(await server.nextLine { $0 == "web: catalogue failed, and is started again: Broken()" } != nil)
      let all = try await greetings(address, 2)
      #expect(all == [1, 1])
    }
  }

  private final class Shared: Sendable {
    private let value = Atomic<Int>(0)
    func count() -> Int { value.add(1, ordering: .relaxed).newValue }
  }

  // MARK: A reload

  @Test func aReloadServesWithWhatWasFoundUntilTheSourceSaysMore() async throws {
    let origins = try origins(1)
    let one = origins[0].address.text
    let first = Upstreams(from: .custom("catalogue") { _, publish in try publish([Backend(one)]) }, named: "web")
    try await withTCP(first) { server, address in
      #expect(try await greetings(address, 1) == [1])
      let second = Upstreams(from: .custom("silent") { _, _ in }, named: "web")
      try await server.server.reload(
        Listener(.tcp, on: "127.0.0.1:0", name: "in") {
        } to: {
          second
        })
      #expect(try await greetings(address, 1) == [1])
      #expect(second.group.report().backends.map(\.totals.tries) == [2])
    }
  }
}
