import Glibc
import Pipeline
import Testing

@testable import Transports

/// Questions to name servers, over real sockets.
@Suite struct DNSClientTests {
  private let web = DNSQuestion(DomainName("web.test")!, .a)!

  private func ask(_ question: DNSQuestion, _ servers: [SocketAddress], timeout: Duration = .seconds(20))
    async throws -> Result<[IPAddress]?, any Error>
  {
    let counters = EngineCounters()
    var options = EngineOptions(loops: 1)
    options.counters = counters
    let engine = try Engine(options)
    let outcome = Mailbox<Result<[IPAddress]?, any Error>>()
    try await ServerBackground(engine).run(on: 0) { runtime in
      do {
        let response = try await DNSClient(servers: servers, timeout: timeout).ask(question, on: runtime)
        outcome.put(.success(response.addresses(of: question.wire)?.addresses))
      } catch {
        outcome.put(.failure(error))
      }
    }
    try await onThread { engine.stop() }
    #expect(counters.sockets.value == 0)
    return try #require(await outcome.next())
  }

  @Test func anAnswerIsTakenAndWhatIsNoneIsPassedOver() async throws {
    let server = try ScriptedNameServer { query in
      let forged = { (answer: inout DNSAnswer) in answer.add(1, [6, 6, 6, 6]) }
      let other = DNSAnswer(to: DNSQuestion(DomainName("other.test")!, .a)!, id: query.id).bytes
      return [
        [1, 2, 3], query.answer(id: query.id ^ 1, forged), other, query.question.query(id: query.id),
        query.answer { $0.add(1, [10, 0, 0, 1]) },
      ]
    }
    #expect(try await ask(web, [server.address]).get() == [IPAddress("10.0.0.1")!])
    #expect(server.seen.count == 1)
  }

  @Test func whatDoesNotFitIsAskedForOverTCP() async throws {
    let server = try ScriptedNameServer { query in
      guard query.isTCP else { return [query.answer(flags: 0x8380)] }
      return [query.answer { answer in for last in 1...200 { answer.add(1, [10, 0, 0, UInt8(last)]) } }]
    }
    #expect(try await ask(web, [server.address]).get()?.count == 200)
    #expect(server.seen.map(\.isTCP) == [false, true])
  }

  @Test func theNextServerIsAskedWhereOneFails() async throws {
    let failing = try ScriptedNameServer { [$0.answer(flags: 0x8182)] }
    let silent = try ScriptedNameServer { _ in [] }
    let closed = try BlockingOrigin().address
    let good = try ScriptedNameServer { [$0.answer { $0.add(1, [10, 0, 0, 2]) }] }
    let servers = [failing.address, closed, silent.address, good.address]
    #expect(try await ask(web, servers, timeout: .milliseconds(200)).get() == [IPAddress("10.0.0.2")!])
  }

  @Test func whenNobodyAnswersEachIsNamedOnce() async throws {
    let failing = try ScriptedNameServer { [$0.answer(flags: 0x8185)] }
    let silent = try ScriptedNameServer { _ in [] }
    let result = try await ask(web, [failing.address, silent.address], timeout: .milliseconds(50))
    let failure = #expect(throws: DNSFailure.self) { try result.get() }
    #expect(
      failure?.description
        == "a web.test: \(failing.address): code 5; \(silent.address): no answer within 0.05 seconds")
    #expect(failing.seen.count == 2)
  }

  @Test func thatThereIsNoSuchNameIsAnAnswer() async throws {
    let server = try ScriptedNameServer { [$0.answer(flags: 0x8183)] }
    #expect(try await ask(web, [server.address]).get() == nil)
    #expect(server.seen.count == 1)
  }
}
