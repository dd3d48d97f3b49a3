import Pipeline
import Testing

@testable import Transports

/// When a list changes and when it is asked for again, on a clock that the test moves.
@Suite struct NameWatchTests {
  private typealias Place = BackendSource.Place
  private let start = Instant(nanoseconds: 1_000_000_000)
  private let one = BackendSource.Place("10.0.0.1:80")
  private let two = BackendSource.Place("10.0.0.2:80")

  private func watch(hold: Duration = .seconds(30)) -> NameWatch {
    NameWatch(NamePacing(atLeast: .seconds(5), atMost: .seconds(300), hold: hold))
  }

  @Test func theTimeOfAnAnswerIsBroughtIntoItsBounds() {
    for (said, holds) in [(0, 5), (4, 5), (60, 60), (300, 300), (86400, 300)] as [(UInt32, Int)] {
      var watch = watch()
      let first = watch.take(.found([one], timeToLive: said), now: start, dice: 0)
      #expect(first.wait == .seconds(holds))
      // At most a tenth more, so that many processes do not ask at once.
      var other = self.watch()
      let late = other.take(.found([one], timeToLive: said), now: start, dice: .max).wait
      #expect(late > .seconds(holds) && late <= .seconds(holds) * 1.1)
    }
  }

  @Test func onlyWhatIsNewIsPublishedWhateverItsOrder() {
    var watch = watch()
    #expect(watch.take(.found([two, one], timeToLive: 9), now: start, dice: 0).publish == [one, two])
    #expect(watch.take(.found([one, two], timeToLive: 9), now: start, dice: 0).publish == nil)
    #expect(watch.take(.found([one], timeToLive: 9), now: start, dice: 0).publish == [one])
    let heavier = Place("10.0.0.1:80", weight: 3)
    #expect(watch.take(.found([heavier], timeToLive: 9), now: start, dice: 0).publish == [heavier])
  }

  @Test func aFailureChangesNothingHoweverLongItLasts() {
    var watch = watch()
    _ = watch.take(.found([one], timeToLive: 9), now: start, dice: 0)
    var waits: [Duration] = []
    var notes: [String] = []
    for number in 0..<8 {
      let step = watch.take(.failed("nobody answers"), now: start + .seconds(1000 * number), dice: 0)
      #expect(step.publish == nil)
      waits.append(step.wait)
      if let note = step.note { notes.append(note.text) }
    }
    #expect(waits == [1, 2, 4, 8, 16, 30, 30, 30].map { .seconds($0) })
    #expect(notes == ["nobody answers; the last list stays"])
    let back = watch.take(.found([one], timeToLive: 9), now: start, dice: 0)
    #expect(back.publish == nil)
    #expect(back.note == NameWatch.Note(level: .notice, text: "it is answered again: 1 backends"))
  }

  @Test func thatThereIsNoneMustLastUntilItIsBelieved() {
    var watch = watch()
    _ = watch.take(.found([one], timeToLive: 9), now: start, dice: 0)
    let first = watch.take(.none(timeToLive: 100), now: start + .seconds(10), dice: 0)
    #expect(first.publish == nil)
    // Not later than the time when it is believed.
    #expect(first.wait == .seconds(30))
    #expect(first.note?.text == "there is no such name, or it has no address; the last list stays for 30.0 seconds")
    #expect(watch.take(.none(timeToLive: 5), now: start + .seconds(39), dice: 0).publish == nil)
    let believed = watch.take(.none(timeToLive: 5), now: start + .seconds(40), dice: 0)
    #expect(believed.publish == [])
    #expect(believed.note?.text == "there is no such name any more: the list is empty")
    #expect(watch.take(.none(timeToLive: 5), now: start + .seconds(50), dice: 0).publish == nil)
    #expect(watch.take(.found([one], timeToLive: 5), now: start + .seconds(60), dice: 0).publish == [one])
  }

  @Test func aNameThatComesBackInTimeHasLostNothing() {
    var watch = watch()
    _ = watch.take(.found([one], timeToLive: 9), now: start, dice: 0)
    _ = watch.take(.none(timeToLive: 5), now: start + .seconds(10), dice: 0)
    #expect(watch.take(.found([one], timeToLive: 9), now: start + .seconds(20), dice: 0).publish == nil)
    // The time begins anew.
    #expect(watch.take(.none(timeToLive: 5), now: start + .seconds(41), dice: 0).publish == nil)
  }

  @Test func anEmptyBeginningIsSaidAtOnce() {
    var missing = watch()
    #expect(missing.take(.none(timeToLive: nil), now: start, dice: 0).publish == [])
    var hasty = watch(hold: .zero)
    _ = hasty.take(.found([one], timeToLive: 9), now: start, dice: 0)
    #expect(hasty.take(.none(timeToLive: nil), now: start, dice: 0).publish == [])
    var failing = watch()
    let step = failing.take(.failed("nobody answers"), now: start, dice: 0)
    #expect(step.publish == nil)
    #expect(step.note?.text == "nobody answers; no backend is known yet")
  }

  // MARK: What several answers say together

  private let a = DNSQuestion(DomainName("web.test")!, .a)!
  private let aaaa = DNSQuestion(DomainName("web.test")!, .aaaa)!

  private func response(to question: DNSQuestion, _ addresses: [UInt8]..., ttl: Int = 60) throws -> DNSResponse {
    var answer = DNSAnswer(to: question)
    for address in addresses { answer.add(address.count == 4 ? 1 : 28, address, ttl: ttl) }
    return try DNSResponse(answer.bytes)
  }

  @Test func aFamilyThatCannotBeAskedForIsWhatItWas() throws {
    var memory = AddressMemory()
    let failure = DNSFailure(description: "a web.test: no answer")
    let v6 = [0x20, 1, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [1]
    var first = NameAddresses()
    first.add(memory.learn(try response(to: a, [10, 0, 0, 1]), a))
    first.add(memory.learn(try response(to: aaaa, v6), aaaa))
    let both = [one, Place("[2001:db8::1]:80")]
    #expect(first.places(port: 80, weight: 1) == .found(both, timeToLive: 60))
    var second = NameAddresses()
    second.addStale(memory.recall(a, failure), failure)
    second.add(memory.learn(try response(to: aaaa, v6), aaaa))
    #expect(second.places(port: 80, weight: 1) == .found(both, timeToLive: 0))
    // Nothing is known of it: then the other family alone counts; where that has none, it is a failure.
    var fresh = AddressMemory()
    var third = NameAddresses()
    third.addStale(fresh.recall(a, failure), failure)
    third.add(fresh.learn(try response(to: aaaa), aaaa))
    #expect(third.places(port: 80, weight: 1) == .failed("a web.test: no answer"))
    // Nobody answers at all: what is known is no answer.
    var fourth = NameAddresses()
    fourth.addStale(memory.recall(a, failure), failure)
    fourth.addStale(memory.recall(aaaa, failure), failure)
    #expect(fourth.places(port: 80, weight: 1) == .failed("a web.test: no answer"))
  }

  /// An answer without an SOA record says nothing of how long it holds (RFC 2308, 5).
  @Test func thatThereIsNoneWithoutAWordOfItsTimeHoldsAsShortAsCanBe() throws {
    for first in [a, aaaa] {
      var memory = AddressMemory()
      var found = NameAddresses()
      found.add(memory.learn(try DNSResponse(DNSAnswer(to: first, flags: 0x8183).bytes), first))
      found.add(.none(timeToLive: 300))
      #expect(found.places(port: 80, weight: 1) == .none(timeToLive: 0))
      var watch = watch()
      #expect(watch.take(found.places(port: 80, weight: 1), now: start, dice: 0).wait == .seconds(5))
    }
  }

  @Test func ofAServiceTheBestPriorityComesFirstAndTheOthersAreItsReserve() throws {
    let question = DNSQuestion(DomainName("_http._tcp.web.test")!, .srv)!
    func targets(_ records: (Int, Int, Int, String)...) throws -> [String] {
      var answer = DNSAnswer(to: question)
      for (priority, weight, port, name) in records { answer.add(33, DNSAnswer.service(priority, weight, port, name)) }
      return ServiceRecords(try DNSResponse(answer.bytes), question).targets.map {
        "\($0.name):\($0.port) \($0.weight) \($0.priority)"
      }
    }
    #expect(
      try targets((2, 1, 80, "c.test"), (1, 30, 80, "a.test"), (1, 10, 81, "b.test"))
        == ["a.test:80 30 0", "b.test:81 10 0", "c.test:80 1 1"])
    #expect(try targets((1, 0, 80, "a.test"), (1, 65535, 80, "b.test")) == ["a.test:80 1 0", "b.test:80 10000 0"])
    // Weights are in the proportion of those of the same priority.
    #expect(
      try targets((65535, 7, 80, "a.test"), (0, 65535, 80, "b.test"))
        == ["b.test:80 10000 0", "a.test:80 7 65535"])
    #expect(try targets((0, 0, 0, ".")) == [])
  }

  // MARK: What cannot be used

  @Test func aSourceThatCannotWorkIsSaidInASentence() {
    let cases: [(BackendSource, String)] = [
      (.dns("web.internal"), "dns web.internal: write host:port, with a port of 1...65535"),
      (.dns("10.0.0.1:80"), #"dns 10.0.0.1:80: an address needs no discovery: write Backend("10.0.0.1:80")"#),
      (.dns("a..b:80"), "dns a..b:80: no name of DNS: labels of 1...63 bytes"),
      (.srv("http tcp"), "srv http tcp: write the whole name of a service: _http._tcp.web.internal"),
      (
        .dns("a.test:80", atLeast: .seconds(9), atMost: .seconds(5)),
        "dns a.test:80: answers are kept at least 9.0 seconds and at most 5.0 seconds: "
          + "more than 0 seconds is allowed, and at most no less than at least"
      ),
      (.dns("a.test:80", hold: .seconds(-1)), "dns a.test:80: a hold of -1.0 seconds: 0 seconds or more is allowed"),
      (
        .dns("a.test:80", servers: ["ns.test"]),
        #"dns a.test:80: "ns.test" is no name server: write 1.2.3.4 or 1.2.3.4:53"#
      ),
      (.file(""), "file: an empty path"),
      (
        .file("/nowhere/list", every: .zero),
        "file /nowhere/list: an interval of 0.0 seconds: more than 0 seconds is allowed"
      ),
      (.file("/nowhere/list"), "/nowhere/list: open: No such file or directory"),
      (.file("/dev/null"), "/dev/null: it is no regular file"),
    ]
    for (source, sentence) in cases { #expect(source.problems == [sentence]) }
    #expect(BackendSource.dns("a.test:80", servers: ["10.0.0.53", "[::1]:5353"]).problems == [])
    #expect(BackendSource.srv("_http._tcp.web.internal").problems == [])
  }
}
