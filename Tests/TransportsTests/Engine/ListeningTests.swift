import CShim
import Glibc
import Pipeline
import Synchronization
import Testing

@testable import Transports

@Suite struct ListeningTests {
  @Test(arguments: [IPAddress.loopbackV4, .loopbackV6])
  func aSecondStartIsRefused(host: IPAddress) throws {
    let first = try Listening.open(.ip(host, port: 0), count: 2)
    let error = #expect(throws: ListenError.self) { try Listening.open(first.address, count: 2) }
    #expect(error?.description == "address in use: \(first.address)")
  }

  @Test func allLoopsShareAnEphemeralPort() throws {
    let listening = try Listening.open(.ip(.loopbackV4, port: 0), count: 4)
    #expect(listening.descriptors.count == 4)
    let addresses = listening.descriptors.map { SocketAddress.ask($0.number) { getsockname($0, $1, $2) } }
    #expect(Set(addresses) == [listening.address])
    #expect(listening.address.port != 0)
  }

  @Test func ipv6IsIPv6Only() throws {
    // The same port of IPv4 is free, unless another program has just that one: not of twenty.
    let isFree = try (0..<20).contains { _ in
      let v6 = try Listening.open(.ip(.anyV6, port: 0), count: 1)
      do {
        _ = try Listening.open(.ip(.loopbackV4, port: v6.address.port), count: 1)
        return true
      } catch is ListenError {
        return false
      }
    }
    #expect(isFree)
  }

  @Test func theFileOfADeadUnixSocketIsReplacedAndOursIsRemoved() throws {
    let path = "/tmp/sluice-\(getpid())-dead.sock"
    do {
      let dead = try Listening.open(.unix(path), count: 1)
      // Closed without the file being removed, as after a crash.
      _ = dead.descriptors
    }
    #expect(access(path, F_OK) == 0)
    let alive = try Listening.open(.unix(path), count: 2, mode: 0o600)
    var information = stat()
    #expect(stat(path, &information) == 0)
    #expect(information.st_mode & 0o777 == 0o600)
    let error = #expect(throws: ListenError.self) { try Listening.open(.unix(path), count: 1) }
    #expect(error?.description == "address in use: unix:\(path)")
    alive.removeFile()
    #expect(access(path, F_OK) != 0)
  }

  @Test func aFileThatIsNoSocketIsNeverTouched() throws {
    let path = "/tmp/sluice-\(getpid())-plain"
    let file = open(path, O_CREAT | O_WRONLY, 0o600)
    close(file)
    defer { unlink(path) }
    #expect(throws: ListenError.self) { try Listening.open(.unix(path), count: 1) }
    #expect(access(path, F_OK) == 0)
  }

  @Test func aUnixClientIsKnownByItsUser() async throws {
    let path = "/tmp/sluice-\(getpid())-uid.sock"
    let seen = Mailbox<ClientAddress?>()
    let fixture = try await EngineFixture(EngineOptions(loops: 2), on: .unix(path)) { connection in
      seen.put(connection.client.clientAddress)
      _ = try await connection.client.readByte(connection)
    }
    for _ in 0..<8 {
      let client = try BlockingPeer.connect(.unix(path))
      #expect(await seen.next() == ClientAddress(.unix(uid: getuid())))
      client.close()
      _ = await fixture.ended.next()
    }
    await fixture.stopAndExpectNothingLeft()
    #expect(access(path, F_OK) != 0)
  }

  @Test func aShortageOfDescriptorsPausesAcceptingAndIsSaidOnce() async throws {
    let engine = try Engine(EngineOptions(loops: 1, counters: EngineCounters()))
    let listening = try Listening.open(.ip(.loopbackV4, port: 0), count: 1)
    let lines = Mailbox<LogLine>()
    let sockets = Mailbox<Void>()
    let shortage = Mutex([EMFILE, ENFILE, EMFILE])
    let acceptor = await engine.loops[0].run { loop in
      let acceptor = Acceptor(
        listening.descriptors[0], at: listening.address, on: loop, log: { lines.put(LogLine(level: $0, text: $1)) },
        accept: { fd in
          if let code = shortage.withLock({ $0.popLast() }) { return .failed(code) }
          return Acceptor.accept(fd)
        },
        accepted: { socket in
          socket.close()
          sockets.put(())
        })
      acceptor.start()
      return acceptor
    }
    let began = Loop.preciseNow
    let client = try BlockingPeer.connect(listening.address)
    await sockets.next()
    // Three failures, each with its pause; one line for all of them, and one when it goes on.
    #expect(Loop.preciseNow - began >= Acceptor.shortageDelay * 3)
    #expect(
      await lines.next()
        == LogLine(level: .error, text: "accepting on \(listening.address) is paused: Too many open files"))
    #expect(await lines.next() == LogLine(level: .notice, text: "accepting on \(listening.address) goes on"))
    client.close()
    await engine.loops[0].run { _ in acceptor.close() }
    #expect(engine.counters.timers.value == 0)
    try await onThread { engine.stop() }
  }

  @Test func realExhaustionOfDescriptorsIsSurvived() async {
    await #expect(processExitsWith: .success) {
      let fixture = try await EngineFixture(EngineOptions(loops: 1)) { connection in
        while try await connection.client.readByte(connection) != nil {}
      }
      // The clients exist before the limit: only the proxy's side runs out.
      var clients: [BlockingPeer] = []
      for _ in 0..<8 { clients.append(try BlockingPeer.connect(fixture.address)) }
      while await fixture.connectionCount() < 8 { await Task.yield() }
      var limit = rlimit()
      getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      let fd = dup(0)
      close(fd)
      let spare = shim_stream_socket(AF_INET)
      limit.rlim_cur = rlim_t(max(fd, spare) + 1)
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      clients.append(BlockingPeer(spare))
      _ = fixture.address.withSockaddr { connect(spare, $0, $1) }
      guard await fixture.nextLine({ $0.contains("is paused") }) != nil else { fatalError() }
      // One client leaves, and with it two descriptors.
      clients.removeFirst()
      guard await fixture.nextLine({ $0.contains("goes on") }) != nil else { fatalError() }
      clients.removeAll()
      for _ in 0..<9 { _ = await fixture.ended.next() }
    }
  }
}
