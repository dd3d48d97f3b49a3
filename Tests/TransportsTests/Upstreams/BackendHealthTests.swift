import Pipeline
import Testing

@testable import Transports

/// What checks and exchanges say of one backend, as a pure value.
@Suite struct BackendHealthTests {
  private let start = Instant(nanoseconds: 1_000_000_000_000)
  private let rules = PassiveHealth.standard

  private func at(_ seconds: Double) -> Instant { start + .seconds(seconds) }

  @Test func theFirstCheckDecidesAndThenItTakesFallAndRise() {
    var health = BackendHealth(at: start)
    #expect(health.standing == .open)
    var changed = health.checkFailed("connectionRefused", fall: 3, at: at(1))
    #expect(changed)
    #expect(health.standing == .down)
    #expect(health.reason == "connectionRefused")
    changed = health.checkPassed(rise: 2, at: at(2))
    #expect(!changed)
    changed = health.checkPassed(rise: 2, at: at(3))
    #expect(changed)
    #expect(health.standing == .open)
    #expect(health.reason == "2 checks passed in a row")
    for second in 4...5 {
      changed = health.checkFailed("status 503", fall: 3, at: at(Double(second)))
      #expect(!changed)
    }
    changed = health.checkFailed("status 503", fall: 3, at: at(6))
    #expect(changed)
    #expect(health.reason == "3 checks in a row failed, the last one: status 503")
  }

  @Test func aPassInBetweenBeginsTheCountOfFailuresAnew() {
    var health = BackendHealth(at: start)
    _ = health.checkPassed(rise: 2, at: at(1))
    for second in 2...9 {
      let changed =
        second % 3 == 0
        ? health.checkPassed(rise: 2, at: at(Double(second)))
        : health.checkFailed("no", fall: 3, at: at(Double(second)))
      #expect(!changed)
    }
    #expect(health.standing == .open)
  }

  @Test func failuresInARowEjectAndASuccessBetweenThemForgives() {
    var health = BackendHealth(at: start)
    for _ in 0..<4 { #expect(health.failed(.connect, began: start, rules, at: start) == nil) }
    _ = health.succeeded(rules, at: start)
    for _ in 0..<4 { #expect(health.failed(.connect, began: start, rules, at: start) == nil) }
    #expect(
      health.failed(.timeout, began: start, rules, at: start)
        == "5 exchanges in a row failed, the last one: no answer in time")
  }

  @Test func aRatioOfFailuresEjectsOnceThereAreEnoughAnswers() {
    var rules = PassiveHealth.standard
    rules.consecutiveFailures = nil
    rules.minimumAnswers = 10
    var health = BackendHealth(at: start)
    for number in 0..<4 {
      _ = health.succeeded(rules, at: at(Double(number) / 10))
      #expect(health.failed(.reset, began: at(Double(number) / 10), rules, at: at(Double(number) / 10)) == nil)
    }
    _ = health.succeeded(rules, at: at(1))
    #expect(
      health.failed(.reset, began: at(1), rules, at: at(1))?.hasPrefix("5 of 10 exchanges failed within 10.0 seconds")
        == true)
  }

  @Test func whatIsOlderThanTheWindowDoesNotCount() {
    var rules = PassiveHealth.standard
    rules.consecutiveFailures = nil
    rules.minimumAnswers = 10
    var health = BackendHealth(at: start)
    for _ in 0..<9 { #expect(health.failed(.reset, began: start, rules, at: start) == nil) }
    #expect(health.failed(.reset, began: at(11), rules, at: at(11)) == nil)
  }

  @Test func ejectionsGrowFromOneToTheNextAndEndInATrial() {
    var health = BackendHealth(at: start)
    var now = start
    for seconds in [10.0, 20, 40, 80, 160, 300, 300] {
      let changed = health.eject("why", rules, at: now)
      #expect(changed)
      #expect(health.ejectedUntil == now + .seconds(seconds))
      #expect(health.reason == "why; for \(Duration.seconds(seconds))")
      var ended = health.endEjection(at: now + .seconds(seconds - 0.001))
      #expect(!ended)
      now = now + .seconds(seconds)
      ended = health.endEjection(at: now)
      #expect(ended)
      #expect(health.standing == .trial)
      #expect(health.failed(.connect, began: now, rules, at: now) == "on trial: no connection")
    }
  }

  @Test func aSuccessOnTrialBringsItBackAndTimeMakesTheNextEjectionShortAgain() {
    var health = BackendHealth(at: start)
    _ = health.eject("why", rules, at: start)
    _ = health.endEjection(at: at(10))
    _ = health.eject("why", rules, at: at(10))
    _ = health.endEjection(at: at(30))
    let changed = health.succeeded(rules, at: at(30))
    #expect(changed)
    #expect(health.standing == .open)
    // It went well for ten times as long as the last ejection lasted.
    _ = health.eject("why", rules, at: at(230))
    #expect(health.ejectedUntil == at(240))
  }

  @Test func checksThatPassEndAnEjection() {
    var health = BackendHealth(at: start)
    _ = health.checkPassed(rise: 2, at: start)
    _ = health.checkPassed(rise: 2, at: start)
    _ = health.eject("why", rules, at: at(1))
    #expect(health.standing == .ejected)
    // Only those that begin after it count.
    var changed = health.checkPassed(rise: 2, at: at(2))
    #expect(!changed)
    changed = health.checkPassed(rise: 2, at: at(3))
    #expect(changed)
    #expect(health.standing == .open)
  }

  @Test func aBackendThatIsDownStaysSoWhileExchangesSucceed() {
    var health = BackendHealth(at: start)
    _ = health.checkFailed("no", fall: 3, at: start)
    let changed = health.succeeded(rules, at: at(1))
    #expect(!changed)
    #expect(health.standing == .down)
  }

  @Test func whatFailsLateSaysNothingOfABackendThatHasComeBack() {
    var health = BackendHealth(at: start)
    _ = health.checkFailed("no", fall: 1, at: at(1))
    _ = health.checkPassed(rise: 1, at: at(5))
    #expect(health.standing == .open)
    for _ in 0..<10 { #expect(health.failed(.timeout, began: at(2), rules, at: at(6)) == nil) }
    #expect(health.failuresInARow == 0)
  }
}
