import Pipeline
import Testing

@testable import Transports

/// Builds answers as name servers send them.
struct DNSAnswer {
  var bytes: [UInt8]
  private var counts: (UInt16, UInt16, UInt16) = (0, 0, 0)

  init(to question: DNSQuestion, id: UInt16 = 7, flags: UInt16 = 0x8180) {
    bytes = [UInt8(id >> 8), UInt8(id & 0xff), UInt8(flags >> 8), UInt8(flags & 0xff), 0, 1, 0, 0, 0, 0, 0, 0]
    bytes += question.wire + [0, UInt8(question.type.rawValue), 0, 1]
  }

  static func word(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 0xff), UInt8(value & 0xff)] }

  /// A record whose owner is the question's name, by a pointer, unless another is given.
  mutating func add(
    _ type: Int, _ data: [UInt8], ttl: Int = 60, owner: [UInt8] = [0xc0, 12], section: Int = 0, length: Int? = nil
  ) {
    bytes +=
      owner + Self.word(type) + [0, 1] + Self.word(ttl >> 16) + Self.word(ttl) + Self.word(length ?? data.count) + data
    let place = 7 + 2 * section
    bytes[place] += 1
  }

  static func name(_ text: String) -> [UInt8] { DNSQuestion(DomainName(text)!, .a)!.wire }

  static func service(_ priority: Int, _ weight: Int, _ port: Int, _ target: String) -> [UInt8] {
    word(priority) + word(weight) + word(port) + (target == "." ? [0] : name(target))
  }
}

@Suite struct DNSMessageTests {
  private let question = DNSQuestion(DomainName("Web.Internal")!, .a)!

  @Test func aQueryAsksOneQuestionAndSaysHowMuchItTakes() {
    let wire: [UInt8] = [3] + Array("web".utf8) + [8] + Array("internal".utf8) + [0]
    #expect(
      question.query(id: 0x1234)
        == [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1] + wire + [0, 1, 0, 1] + [0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0])
  }

  @Test func whatDNSCannotCarryIsNoQuestion() {
    #expect(DNSQuestion(DomainName(String(repeating: "a", count: 64) + ".test")!, .a) == nil)
    #expect(DNSQuestion(DomainName("a..b")!, .a) == nil)
    #expect(DNSQuestion(DomainName(Array(repeating: "abcdefg", count: 32).joined(separator: "."))!, .a) == nil)
    #expect(DNSQuestion(DomainName(String(repeating: "a", count: 63) + ".test")!, .a) != nil)
  }

  @Test func addressesAreFoundThroughAliasesWithTheShortestTime() throws {
    var answer = DNSAnswer(to: question)
    answer.add(5, DNSAnswer.name("real.test"), ttl: 30)
    answer.add(1, [192, 0, 2, 1], ttl: 60, owner: DNSAnswer.name("REAL.test"))
    answer.add(1, [192, 0, 2, 2], ttl: 90, owner: DNSAnswer.name("real.test"))
    answer.add(1, [192, 0, 2, 9], ttl: 1, owner: DNSAnswer.name("other.test"))
    let response = try DNSResponse(answer.bytes)
    #expect(response.answers(question, id: 7))
    #expect(!response.answers(question, id: 8))
    #expect(!response.answers(DNSQuestion(DomainName("web.internal")!, .aaaa)!, id: 7))
    let found = try #require(response.addresses(of: question.wire))
    #expect(found.addresses == [IPAddress("192.0.2.1")!, IPAddress("192.0.2.2")!])
    #expect(found.timeToLive == 30)
  }

  @Test func aRingOfAliasesEnds() throws {
    var answer = DNSAnswer(to: question)
    answer.add(5, DNSAnswer.name("b.test"))
    answer.add(5, DNSAnswer.name("web.internal"), owner: DNSAnswer.name("b.test"))
    #expect(try DNSResponse(answer.bytes).addresses(of: question.wire) == nil)
  }

  @Test func aChainOfPointersIsFollowedAsFarAsANameHasLabels() throws {
    func read(_ pointers: Int) throws -> [UInt8]? {
      var answer = DNSAnswer(to: question)
      // Each points at the one before, the first at the question's name.
      let chain = answer.bytes.count + 12
      let data = (0..<pointers).flatMap { index -> [UInt8] in
        let target = index == 0 ? 12 : chain + 2 * (index - 1)
        return [0xc0 | UInt8(target >> 8), UInt8(target & 0xff)]
      }
      answer.add(16, data)
      let last = chain + 2 * (pointers - 1)
      answer.add(1, [192, 0, 2, 1], owner: [0xc0 | UInt8(last >> 8), UInt8(last & 0xff)])
      return try DNSResponse(answer.bytes).answers.first?.owner
    }
    #expect(try read(126) == question.wire)
    let refusal = DNSFault(description: "it has a name of more than 127 pointers")
    #expect(throws: refusal) { try read(127) }
    #expect(throws: refusal) { try read(4000) }
  }

  @Test func servicesAndSixAreRead() throws {
    let srv = DNSQuestion(DomainName("_http._tcp.web.test")!, .srv)!
    var answer = DNSAnswer(to: srv)
    answer.add(33, DNSAnswer.service(1, 5, 8080, "a.test"))
    answer.add(33, DNSAnswer.service(1, 0, 8081, "."))
    answer.add(
      28, [0x20, 1, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [1], owner: DNSAnswer.name("a.test"), section: 2)
    let response = try DNSResponse(answer.bytes)
    #expect(
      response.answers.map(\.data) == [
        .service(priority: 1, weight: 5, port: 8080, target: DomainName("a.test")),
        .service(priority: 1, weight: 0, port: 8081, target: nil),
      ])
    #expect(response.addresses(of: DNSAnswer.name("a.test"))?.addresses == [IPAddress("2001:db8::1")!])
  }

  @Test func whatIsNotThereHasItsTime() throws {
    let soa =
      DNSAnswer.name("ns.test") + DNSAnswer.name("admin.test") + [UInt8](repeating: 0, count: 16) + [0, 0, 0, 9]
    var answer = DNSAnswer(to: question, flags: 0x8183)
    answer.add(6, soa, ttl: 40, section: 1)
    let response = try DNSResponse(answer.bytes)
    #expect(response.code == .noName)
    #expect(response.negativeTimeToLive == 9)
    #expect(try DNSResponse(DNSAnswer(to: question, flags: 0x8182).bytes).code == .failed(2))
  }

  @Test func recordsThatAreNotUnderstoodArePassedOver() throws {
    var answer = DNSAnswer(to: question)
    answer.add(16, [3, 97, 98, 99])
    answer.add(65, [1, 2, 3])
    answer.add(1, [192, 0, 2, 1], ttl: 1 << 31)
    let found = try #require(try DNSResponse(answer.bytes).addresses(of: question.wire))
    // RFC 2181, 8: such a time is none.
    #expect(found.timeToLive == 0)
  }

  @Test func bytesThatAreNoAnswerAreRefusedAndNeverReadBeyond() throws {
    var answer = DNSAnswer(to: question)
    answer.add(5, DNSAnswer.name("real.test"))
    answer.add(1, [192, 0, 2, 1], owner: [0xc0, 40])
    for count in 0..<answer.bytes.count {
      #expect(throws: DNSFault.self, "\(count)") { try DNSResponse(Array(answer.bytes.prefix(count))) }
    }
    var looping = DNSAnswer(to: question)
    looping.add(1, [1, 2, 3, 4], owner: [0xc0, UInt8(looping.bytes.count)])
    var forward = DNSAnswer(to: question)
    forward.add(1, [1, 2, 3, 4], owner: [0xc0, 250])
    var short = DNSAnswer(to: question)
    short.add(1, [1, 2, 3])
    var beyond = DNSAnswer(to: question)
    beyond.add(5, [0xc0, 12], length: 1)
    var strange = DNSAnswer(to: question)
    strange.add(1, [1, 2, 3, 4], owner: [0x80, 1])
    for bytes in [
      looping.bytes, forward.bytes, short.bytes, beyond.bytes, strange.bytes, question.query(id: 7),
    ] { #expect(throws: DNSFault.self) { try DNSResponse(bytes) } }
  }

  @Test func randomBytesAreReadWithoutHarm() {
    var read = 0
    for seed in 0..<3000 as Range<UInt64> {
      var answer = DNSAnswer(to: question)
      answer.add(33, DNSAnswer.service(1, 5, 8080, "a.test"))
      answer.add(5, [0xc0, 12])
      // The generator's first words do not depend on such a seed.
      let dirt = Array(noise(128, seed: seed + 1)[64...])
      for index in 0..<3 { answer.bytes[12 + Int(dirt[index]) % (answer.bytes.count - 12)] = dirt[index + 3] }
      do {
        _ = try DNSResponse(answer.bytes)
        read += 1
      } catch {
        #expect(!error.description.isEmpty)
      }
    }
    #expect(read > 0)
  }

  @Test func aTruncatedAnswerSaysNothingElse() throws {
    var answer = DNSAnswer(to: question, flags: 0x8380)
    answer.add(1, [192, 0, 2, 1])
    let response = try DNSResponse(answer.bytes)
    #expect(response.isTruncated)
    #expect(response.answers == [])
  }

  // MARK: resolv.conf

  @Test func theServersOfResolvConfAreTakenInOrder() {
    let text = """
      # generated
      search example.com
      nameserver 10.0.0.53
      nameserver\t2001:db8::53   # second
      nameserver nonsense
      nameserver 10.0.0.54
      nameserver 10.0.0.55
      options timeout:1
      """
    #expect(
      ResolvConf(text).servers == [
        .ip(IPAddress("10.0.0.53")!, port: 53), .ip(IPAddress("2001:db8::53")!, port: 53),
        .ip(IPAddress("10.0.0.54")!, port: 53),
      ])
    #expect(ResolvConf("").servers == [.ip(.loopbackV4, port: 53)])
  }
}
