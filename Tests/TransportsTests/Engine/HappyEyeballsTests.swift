import Pipeline
import Testing

@testable import Transports

@Suite struct HappyEyeballsTests {
  private let a6 = SocketAddress("[2001:db8::1]:80")!
  private let b6 = SocketAddress("[2001:db8::2]:80")!
  private let a4 = SocketAddress("192.0.2.1:80")!
  private let b4 = SocketAddress("192.0.2.2:80")!
  private let start = Instant(nanoseconds: 1_000_000_000)

  @Test func familiesAlternateBeginningWithTheFirst() {
    #expect(HappyEyeballs.interleaved([a6, b6, a4, b4]) == [a6, a4, b6, b4])
    #expect(HappyEyeballs.interleaved([a4, b4, a6]) == [a4, a6, b4])
    #expect(HappyEyeballs.interleaved([a4, b4]) == [a4, b4])
    #expect(HappyEyeballs.interleaved([a4, a4, a6, a4]) == [a4, a6])
  }

  @Test func theNextAttemptBeginsAfterTheDelay() {
    var race = HappyEyeballs([a6, a4], now: start)
    #expect(race.step(now: start) == .start(a6))
    #expect(race.step(now: start) == .wait(until: start + .milliseconds(250)))
    #expect(race.step(now: start + .milliseconds(249)) == .wait(until: start + .milliseconds(250)))
    #expect(race.step(now: start + .milliseconds(250)) == .start(a4))
    // Nothing is left to begin: until the first of the attempts takes too long.
    #expect(race.step(now: start + .milliseconds(250)) == .wait(until: start + .seconds(5)))
  }

  @Test func aFailureBeginsTheNextAttemptAtOnce() {
    var race = HappyEyeballs([a6, a4], now: start)
    #expect(race.step(now: start) == .start(a6))
    race.failed(a6, .networkUnreachable, now: start + .milliseconds(3))
    #expect(race.step(now: start + .milliseconds(3)) == .start(a4))
    race.failed(a4, .refused, now: start + .milliseconds(4))
    #expect(race.step(now: start + .milliseconds(4)) == .fail(.refused))
  }

  @Test func theFailureThatSaysMostIsReported() {
    let telling: [ConnectFailure] = [.networkUnreachable, .other(22), .timedOut, .hostUnreachable, .refused]
    for (index, less) in telling.enumerated() {
      for more in telling[index...] {
        for order in [[less, more], [more, less]] {
          var race = HappyEyeballs([a6, a4], now: start)
          #expect(race.step(now: start) == .start(a6))
          race.failed(a6, order[0], now: start)
          #expect(race.step(now: start) == .start(a4))
          race.failed(a4, order[1], now: start)
          #expect(race.step(now: start) == .fail(more))
        }
      }
    }
  }

  @Test func anAttemptThatTakesTooLongIsAbandoned() {
    let timing = HappyEyeballs.Timing(attemptTimeout: .seconds(1), totalTimeout: .seconds(10))
    var race = HappyEyeballs([a4], timing, now: start)
    #expect(race.step(now: start) == .start(a4))
    #expect(race.step(now: start) == .wait(until: start + .seconds(1)))
    #expect(race.step(now: start + .seconds(1)) == .abandon(a4))
    #expect(race.step(now: start + .seconds(1)) == .fail(.timedOut))
  }

  @Test func theTotalTimeEndsEverything() {
    let timing = HappyEyeballs.Timing(
      attemptDelay: .milliseconds(250), attemptTimeout: .seconds(5), totalTimeout: .milliseconds(400))
    var race = HappyEyeballs([a6, a4, b6], timing, now: start)
    #expect(race.step(now: start) == .start(a6))
    #expect(race.step(now: start + .milliseconds(250)) == .start(a4))
    #expect(race.step(now: start + .milliseconds(250)) == .wait(until: start + .milliseconds(400)))
    let end = start + .milliseconds(400)
    #expect(race.step(now: end) == .abandon(a6))
    #expect(race.step(now: end) == .abandon(a4))
    #expect(race.step(now: end) == .fail(.timedOut))
  }
}
